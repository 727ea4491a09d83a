//! A whole cluster in one thread, in virtual time, from one seed; and whether it kept its promises.
//!
//! ```text
//! seed ─► world: network, disks, clocks ◄─ faults
//!           └─ nodes: the parts of real ones ◄─ clients, controllers
//!                └─ invariants, every few milliseconds; at the end, faults off: healed? history explained?
//! ```
//! A [`history::History`] records every operation with the time of its call and of its answers. [`linearizability`] says
//! whether one order of all operations explains the answers, whether bounded reads kept their bounds, and whether a
//! write that was sent many times took effect once.

pub mod clients;
pub mod controller;
pub mod disk;
pub mod faults;
pub mod heal;
pub mod history;
pub mod invariants;
pub mod linearizability;
pub mod network;
pub mod node;
pub mod run;
pub mod seeds;
pub mod world;
