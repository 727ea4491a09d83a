//! Observation: the controller pulls. From a few seed addresses it learns the members and tables,
//! subscribes to every member's reports, and folds them into one immutable view per tick.

mod fold;
mod health;
mod subscribe;
mod windows;

pub(crate) use fold::{Fold, Ingest, KnownNode};
pub(crate) use subscribe::Observer;
pub(crate) use windows::ClosedWindow;
