//! YCSB workloads: the property files, and a generator of operations that follows them.

mod generator;
mod properties;

pub use generator::{Operation, OperationKind, Operations, key_name};
pub use properties::{Distribution, Mix, Workload, read_workload};
