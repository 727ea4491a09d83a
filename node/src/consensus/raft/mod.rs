//! The Raft tier, over openraft.
mod append_stream;
mod commit_hold;
pub mod hearing;
mod log_read;
pub(crate) mod log_record;
pub mod log_store;
#[cfg(test)]
mod log_store_tests;
mod log_tail;
pub mod network;
pub mod shared_log;
#[cfg(test)]
mod shared_log_tests;
#[cfg(test)]
mod suite_tests;
pub mod types;
