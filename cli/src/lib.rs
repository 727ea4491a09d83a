//! The command line of Isobar. Noun, then verb; data on stdout, talk on stderr.
//!
//! One file per command under `commands/`. A command gets its arguments and a `Screen`,
//! asks a node or the controller, and shows what it learned as text or as one JSON document.

pub mod args;
mod bench;
mod commands;
mod config;
mod demo;
mod failure;
pub mod processes;
mod program;
mod reach;
mod screen;
mod similar;
mod soak;
mod units;
mod up;

pub use program::main;
