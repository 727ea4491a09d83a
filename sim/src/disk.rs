//! A disk that takes virtual time and loses what was not synced.

use isobar_node::engine::{
    Engine, EngineError, EngineRead, EngineSnapshot, MemoryDisk, MemoryEngine, RowVisitor, Scan,
    Space, WriteBatch,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a wait for the disk takes; shared by all engines on it.
#[derive(Clone, Debug)]
pub struct DiskSpeed(Arc<AtomicU64>);

impl DiskSpeed {
    /// A disk that takes so many microseconds.
    pub fn of_micros(micros: u64) -> Self {
        Self(Arc::new(AtomicU64::new(micros)))
    }

    /// Changes it.
    pub fn set_micros(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

/// A memory engine whose waits are waits of virtual time.
pub struct SimEngine {
    inner: MemoryEngine,
    speed: DiskSpeed,
}

impl SimEngine {
    /// Opens an engine on a disk; engines opened before are shut out.
    pub fn open(disk: &MemoryDisk, speed: &DiskSpeed) -> Arc<dyn Engine> {
        Arc::new(Self { inner: disk.open(), speed: speed.clone() })
    }
}

impl EngineRead for SimEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.inner.get(space, key)
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.inner.visit(space, scan, row)
    }
}

impl Engine for SimEngine {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.inner.write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.inner.sync()
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        self.inner.snapshot()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.inner.checkpoint(dir)
    }

    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError> {
        self.inner.approximate_size_bytes(space, start, end)
    }

    fn simulated_wait(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.speed.0.load(Ordering::Relaxed)))
    }
}
