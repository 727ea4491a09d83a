//! Load generation and timings. Benchmarks report figures; they assert nothing.

pub mod cpu;
pub mod load;
pub mod planner;
