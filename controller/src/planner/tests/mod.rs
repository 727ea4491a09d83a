//! Tests of the planner as a whole.

mod cases;
mod converge;
mod messy;
mod properties;
mod restraint;
mod world;
