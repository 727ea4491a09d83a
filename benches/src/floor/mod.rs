//! What the machine could do at most: the disk alone, the storage engine alone, gRPC alone.

mod disk;
mod echo;

use crate::{load::Samples, report::Round, usage::process_cpu};
pub use disk::{append, group_commit};
pub use echo::echo;
use std::time::Duration;

/// Requests that the floors have in flight, or in one fsync.
pub const IN_FLIGHT: usize = 64;

/// A floor has no servers: all that this process used counts as theirs.
fn round(samples: Samples, cpu_before: Duration) -> Round {
    let used = own_cpu().saturating_sub(cpu_before);
    Round { samples, server_cpu: used, client_cpu: Duration::ZERO, rss_bytes: 0 }
}

fn own_cpu() -> Duration {
    process_cpu(std::process::id()).unwrap_or_default()
}
