//! A shard on this node: its log's commands, its replicated state, its snapshots.
//!
//! ```text
//! command ──► consensus group ──► ShardStateMachine::apply ──► one write batch in the state engine
//!                                        └─ split applied ──► registry starts the child's group
//! ```

mod apply;
pub mod command;
pub mod keys;
pub mod row;
mod session;
mod snapshot;
mod state;
mod state_machine;
#[cfg(test)]
pub(crate) mod tests;

pub use command::{
    Command, CommandResult, Mutation, SplitCommand, StepNote, WriteCommand, WriteGroup,
    WriteOutcome,
};
pub(crate) use session::any_silent;
pub use snapshot::{Cursor, LocalSnapshot, ShardSnapshot, Staging};
pub use state::{AppliedState, LocalReplica, RowsHeld, ShardEvent, ShardState};
pub use state_machine::{Seed, ShardStateMachine};
