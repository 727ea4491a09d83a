//! Tests of the planner as a whole.

mod cases;
mod converge;
mod merge;
mod messy;
mod properties;
mod restraint;
mod world;
