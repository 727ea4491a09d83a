//! A sync that failed once has failed for good.

use super::EngineError;
use std::sync::{Mutex, MutexGuard};

/// Lets one sync run at a time, and none after one that failed.
///
/// The kernel tells of pages that it could not write once, to one caller, and may drop them: the next fsync then
/// succeeds over lost data. So a later one, or one beside it, must not get to say "durable".
#[derive(Default)]
pub(super) struct SyncLatch(Mutex<Option<EngineError>>);

impl SyncLatch {
    /// Runs `sync`, or answers with the first failure.
    pub(super) fn run(
        &self,
        sync: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut failure = self.failure();
        if let Some(error) = &*failure {
            return Err(error.clone());
        }
        sync().inspect_err(|error| *failure = Some(error.clone()))
    }

    /// Whether a sync failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    fn failure(&self) -> MutexGuard<'_, Option<EngineError>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}
