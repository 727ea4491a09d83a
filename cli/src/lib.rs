//! The command line of Isobar. Noun, then verb; data on stdout, talk on stderr.
//!
//! One file per command under `commands/`. A command gets its arguments and a [`screen::Screen`],
//! asks a node or the controller, and shows what it learned as text or as one JSON document.

pub mod args;
mod bench;
pub mod commands;
pub mod config;
pub mod demo;
pub mod failure;
pub mod processes;
mod program;
pub mod reach;
pub mod screen;
mod similar;
pub mod units;
pub mod up;

pub use program::{main, run};
