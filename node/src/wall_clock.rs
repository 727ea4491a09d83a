//! The time of day, which versions of rows and deadlines of directives are made of. Nothing is measured with it: it may
//! jump, and differs from node to node.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A clock that tells the time of day. Cheap to clone.
#[derive(Clone)]
pub struct WallClock {
    /// None: the machine's own.
    simulated: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl WallClock {
    /// The machine's clock.
    pub fn of_the_machine() -> Self {
        Self { simulated: None }
    }

    /// A clock that shows what `read` says, in Unix milliseconds.
    pub fn simulated(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { simulated: Some(Arc::new(read)) }
    }

    /// Unix milliseconds.
    pub fn now_unix_ms(&self) -> u64 {
        match &self.simulated {
            Some(read) => read(),
            None => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
            }
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WallClock({} ms)", self.now_unix_ms())
    }
}
