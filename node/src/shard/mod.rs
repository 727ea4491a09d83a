//! A shard on this node: its log's commands, its replicated state, its snapshots.
//!
//! ```text
//! command ──► consensus group ──► ShardStateMachine::apply ──► one write batch in the state engine
//!                                        └─ split applied ──► registry starts the child's group
//! ```

mod apply;
pub mod command;
#[cfg(test)]
pub(crate) mod fuzz_tests;
pub mod keys;
mod merge;
#[cfg(test)]
mod merge_tests;
pub mod row;
mod session;
mod snapshot;
mod state;
mod state_machine;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use apply::{decode_applied, decode_descriptor};
pub use command::{
    Command, CommandResult, FreezeCommand, Mutation, SplitCommand, StepNote, SubsumeCommand,
    WriteCommand, WriteGroup, WriteOutcome,
};
pub(crate) use session::any_silent;
pub use snapshot::{Cursor, LocalSnapshot, ShardSnapshot, Staging, finish_interrupted};
pub use state::{AppliedState, Host, LocalReplica, RowsHeld, ShardEvent, ShardState};
pub use state_machine::{Seed, ShardStateMachine};
