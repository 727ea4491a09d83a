//! Ctrl-C and SIGTERM.

use isobar_api::{ApiError, ErrorCode};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A second Ctrl-C this long after the first one is a second wish; sooner, it is the same one told twice.
const IMPATIENT_AFTER: Duration = Duration::from_secs(1);
/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

/// Cancelled by SIGINT (Ctrl-C) or SIGTERM. A second Ctrl-C ends the process where it stands; its children see their
/// stdin end and stop by themselves.
pub fn stop_on_signal() -> Result<CancellationToken, ApiError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("no signal handler: {error}"))
        })?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
            let first = Instant::now();
            while kind == SignalKind::interrupt() && signals.recv().await.is_some() {
                if first.elapsed() >= IMPATIENT_AFTER {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    }
    Ok(stop)
}
