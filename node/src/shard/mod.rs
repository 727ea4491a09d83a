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

pub(crate) use apply::{decode_applied, decode_descriptor};
pub use command::{
    Command, CommandResult, Mutation, SplitCommand, StepNote, WriteCommand, WriteGroup,
    WriteOutcome,
};
pub use snapshot::{Cursor, LocalSnapshot, ShardSnapshot, Staging};
pub use state::{AppliedState, LocalReplica, RowsHeld, ShardEvent, ShardState};
pub use state_machine::{Seed, ShardStateMachine};
