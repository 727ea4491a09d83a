//! Load generation and timings. Benchmarks report figures; they assert nothing.
//!
//! [`work`] makes requests, [`load`] sends them through a [`drivers::Driver`] and takes the times, [`floor`] measures
//! what the machine could do at most, [`report`] turns rounds into figures and ratios.

pub mod drivers;
pub mod floor;
pub mod load;
pub mod planner;
pub mod report;
pub mod usage;
pub mod work;

/// Generated types and stubs of the protocols in `proto/`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod proto {
    pub mod etcd {
        tonic::include_proto!("etcdserverpb");
    }
    pub mod echo {
        tonic::include_proto!("isobar.bench");
    }
}
