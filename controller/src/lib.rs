//! The controller of Isobar: observe → forecast → plan → check → journal → execute → learn.
//!
//! The data plane never needs it. It pulls reports from the nodes, folds them into an immutable view,
//! forecasts arrivals, makes a plan (pure), checks it, makes it durable, and sends small reversible
//! steps that every node checks again by its own guards. [`service::ControllerService`] runs it all.

mod check;
mod clock;
pub mod config;
mod error;
mod executor;
mod forecast;
mod freeze;
mod grpc;
mod journal;
mod lease;
mod ledger;
mod metrics;
mod nodes;
mod observe;
pub mod planner;
pub mod registry;
mod rest;
pub mod service;
mod store;
pub mod view;

pub use config::ControllerConfig;
pub use error::Error;
pub use service::{ControllerHandle, ControllerService};
