//! What clients of a cluster saw, and whether the cluster kept its promises.
//!
//! A [`history::History`] records every operation with the time of its call and of its answers. [`linearizability`] says
//! whether one order of all operations explains the answers, whether bounded reads kept their bounds, and whether a
//! write that was sent many times took effect once.

pub mod history;
pub mod linearizability;
