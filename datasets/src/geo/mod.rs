//! The reader model: which region reads a key now.
//!
//! A trace says which keys are read in which order, but not from where. The model adds that, from real populations:
//! the key space is cut into contiguous *neighbourhoods* (shards are ranges, so audiences must differ by range), and
//! the share of a neighbourhood's reads that come from region r at time t is
//!
//! `people(r)^exponent × awake(local time in r) × affinity(home of the neighbourhood, r)`
//!
//! People of one region live by several clocks, so `awake` is their weighted mean. A homed neighbourhood's affinity is
//! chosen so that its home has `home_share` of the reads when everybody is equally awake; a roaming neighbourhood is
//! read world-wide and simply follows the sun. Homes are drawn by `people(r)^exponent`.

mod awake;
mod clock;
mod model;

pub use clock::CompressedDay;
pub(crate) use model::crowds;
pub use model::{ReaderConfig, ReaderModel};
