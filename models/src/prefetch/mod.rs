//! What is read next: a cache at the edge that fetches before it is asked, and stops where that does not pay.
//!
//! [`EdgeCache`] is the whole: it takes requests one after the other and says which keys to fetch. Proposals come from
//! sequential and stride streams, successors of order 1 and 2 and sporadic associations ([`Source`]); each is issued
//! only while proposals of its class come true often enough; prefetched keys wait in a probation pool beside an adaptive
//! replacement cache; and a guard falls back to plain LRU where that would have done better. Everything is bounded,
//! strictly causal, and repeatable: no clock, no randomness.

mod cache;
mod class;
mod edge;
mod guard;
mod history;
mod index;
mod lists;
mod precision;
mod settings;
mod shadow;
mod sources;

pub use class::{Class, Source};
pub use edge::{Counts, EdgeCache, Outcome, Request};
pub use precision::SourceCount;
pub use settings::{InvalidSettings, Settings};
pub use shadow::{Lru, ReadAhead};
