//! Work that waits for a disk, beside the tasks of the runtime.

use super::Engine;
use std::sync::Arc;
use tokio::task::JoinError;

/// Runs work that waits for the disk of `engine` on a thread for such work. On a simulated disk it takes the time that
/// the disk says, and is done in place: there one thread does everything, in one order.
pub async fn offload<T: Send + 'static>(
    engine: &Arc<dyn Engine>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match engine.simulated_wait() {
        None => tokio::task::spawn_blocking(work).await,
        Some(wait) => {
            tokio::time::sleep(wait).await;
            Ok(work())
        }
    }
}
