//! An engine in memory, for tests and simulation. It loses what a real disk would lose.
//!
//! [`MemoryDisk`] is the platter: it outlives engines. Batches stay *pending* until a sync; [`MemoryDisk::crash`] drops a
//! random suffix of the pending ones and shuts out every engine opened before, as a dead process would be.

use super::{
    Engine, EngineError, EngineErrorKind, EngineRead, EngineSnapshot, Op, RowVisitor, Scan, Space,
    WriteBatch, count_bytes, sync_latch::SyncLatch,
};
use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    ops::{Bound, ControlFlow},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

const CHECKPOINT_FILE: &str = "memory.checkpoint";

type Map = BTreeMap<Vec<u8>, Bytes>;

/// All spaces. Maps are shared with snapshots and copied when written while shared.
#[derive(Clone, Default)]
struct Maps([Arc<Map>; Space::ALL.len()]);

impl Maps {
    fn of(&self, space: Space) -> &Map {
        &self.0[space.slot()]
    }

    fn apply(&mut self, batch: &WriteBatch) {
        for op in batch.ops() {
            match op {
                Op::Put(space, key, value) => {
                    self.change(*space).insert(key.clone(), Bytes::copy_from_slice(value));
                }
                Op::Delete(space, key) => {
                    self.change(*space).remove(key);
                }
                Op::DeleteRange(space, start, end) => {
                    let map = self.change(*space);
                    let gone: Vec<_> =
                        map.range::<Vec<u8>, _>(start..end).map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        map.remove(&key);
                    }
                }
            }
        }
    }

    fn change(&mut self, space: Space) -> &mut Map {
        Arc::make_mut(&mut self.0[space.slot()])
    }
}

impl EngineRead for Maps {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.of(space).get(key).map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        if scan.is_empty() {
            return Ok(());
        }
        let end = scan.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(&scan.start), end);
        let mut range = self.of(space).range::<Vec<u8>, _>(bounds);
        while let Some((key, value)) = if scan.reverse { range.next_back() } else { range.next() } {
            if row(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl EngineSnapshot for Maps {}

#[derive(Default)]
struct DiskState {
    current: Maps,
    durable: Maps,
    /// Written and readable, but not synced; oldest first.
    pending: VecDeque<WriteBatch>,
    incarnation: u64,
    syncs: u64,
    failing_syncs: Option<EngineErrorKind>,
    failing_writes: Option<EngineErrorKind>,
    /// How many writes succeed before one fails, and how.
    failing_write: Option<(usize, EngineErrorKind)>,
    syncs_held: bool,
}

/// The platter below a [`MemoryEngine`]. Clones are the same platter.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<(Mutex<DiskState>, Condvar)>,
}

impl MemoryDisk {
    /// An empty platter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an engine on it. Engines opened earlier are shut out; unsynced writes stay, as after a clean close.
    pub fn open(&self) -> MemoryEngine {
        let mut state = self.state();
        state.incarnation += 1;
        self.shared.1.notify_all();
        MemoryEngine {
            disk: self.clone(),
            incarnation: state.incarnation,
            syncs: SyncLatch::default(),
        }
    }

    /// The machine dies: a random suffix of the unsynced batches is gone, each batch whole, and every open engine is
    /// shut out. Returns how many batches were lost.
    pub fn crash(&self, seed: u64) -> usize {
        let mut state = self.state();
        let unsynced = state.pending.len();
        let survive = StdRng::seed_from_u64(seed).random_range(0..=unsynced);
        for batch in std::mem::take(&mut state.pending).iter().take(survive) {
            state.durable.apply(batch);
        }
        state.current = state.durable.clone();
        state.incarnation += 1;
        state.syncs_held = false;
        self.shared.1.notify_all();
        unsynced - survive
    }

    /// From now on every sync fails in this way; none: those of an engine opened later work again.
    pub fn fail_syncs(&self, kind: Option<EngineErrorKind>) {
        self.state().failing_syncs = kind;
    }

    /// From now on every write fails in this way; none: they work again.
    pub fn fail_writes(&self, kind: Option<EngineErrorKind>) {
        self.state().failing_writes = kind;
    }

    /// After this many more writes one write fails in this way.
    pub fn fail_write_after(&self, writes: usize, kind: EngineErrorKind) {
        self.state().failing_write = Some((writes, kind));
    }

    /// While held, syncs wait, as on a slow disk. Writes go on.
    pub fn hold_syncs(&self, held: bool) {
        self.state().syncs_held = held;
        self.shared.1.notify_all();
    }

    /// How many syncs succeeded.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.shared.0.lock().expect("no code panics while it holds this lock")
    }
}

/// An engine over a [`MemoryDisk`].
pub struct MemoryEngine {
    disk: MemoryDisk,
    incarnation: u64,
    syncs: SyncLatch,
}

impl MemoryEngine {
    /// An engine on a platter of its own.
    pub fn new() -> Self {
        MemoryDisk::new().open()
    }

    /// Opens a copy made by [`Engine::checkpoint`].
    pub fn open_checkpoint(dir: &Path) -> Result<Self, EngineError> {
        let file = dir.join(CHECKPOINT_FILE);
        let bytes = fs::read(&file)
            .map_err(|error| EngineError::from_file(format!("read {}", file.display()), error))?;
        let rows: Vec<Vec<(Vec<u8>, Vec<u8>)>> = postcard::from_bytes(&bytes).map_err(|error| {
            EngineError::corruption(format!("{} cannot be read", file.display())).caused_by(error)
        })?;
        let disk = MemoryDisk::new();
        let mut state = disk.state();
        for (space, rows) in Space::ALL.into_iter().zip(rows) {
            state
                .durable
                .change(space)
                .extend(rows.into_iter().map(|(key, value)| (key, value.into())));
        }
        state.current = state.durable.clone();
        drop(state);
        Ok(disk.open())
    }

    fn state(&self) -> Result<MutexGuard<'_, DiskState>, EngineError> {
        let state = self.disk.state();
        self.alive(&state)?;
        Ok(state)
    }

    fn alive(&self, state: &DiskState) -> Result<(), EngineError> {
        if state.incarnation == self.incarnation {
            Ok(())
        } else {
            Err(EngineError::new(
                EngineErrorKind::Closed,
                "this engine crashed or was opened again",
            ))
        }
    }

    fn maps(&self) -> Result<Maps, EngineError> {
        Ok(self.state()?.current.clone())
    }

    fn sync_once(&self) -> Result<(), EngineError> {
        let mut state = self.state()?;
        let covered = state.pending.len();
        while state.syncs_held && state.incarnation == self.incarnation {
            state =
                self.disk.shared.1.wait(state).expect("no code panics while it holds this lock");
        }
        self.alive(&state)?;
        if let Some(kind) = state.failing_syncs {
            return Err(injected(kind, "the sync"));
        }
        // Batches written while it was held stay pending. No other sync took any: one runs at a time.
        for batch in state.pending.drain(..covered).collect::<Vec<_>>() {
            state.durable.apply(&batch);
        }
        state.syncs += 1;
        Ok(())
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

fn injected(kind: EngineErrorKind, what: &str) -> EngineError {
    EngineError::new(kind, format!("{what} fails because a test asked for it"))
}

impl EngineRead for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.state()?.current.get(space, key)
    }

    fn visit(
        &self,
        space: Space,
        scan: &Scan,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.maps()?.visit(space, scan, row)
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut state = self.state()?;
        let failing = match state.failing_write.take() {
            Some((0, kind)) => Some(kind),
            Some((left, kind)) => {
                state.failing_write = Some((left - 1, kind));
                None
            }
            None => state.failing_writes,
        };
        if let Some(kind) = failing {
            return Err(injected(kind, "the write"));
        }
        state.current.apply(&batch);
        state.pending.push_back(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.syncs.run(|| self.sync_once())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        Ok(Box::new(self.maps()?))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let maps = self.maps()?;
        let rows: Vec<Vec<(&Vec<u8>, &[u8])>> = Space::ALL
            .into_iter()
            .map(|space| maps.of(space).iter().map(|(key, value)| (key, value.as_ref())).collect())
            .collect();
        let bytes = postcard::to_stdvec(&rows).map_err(|error| {
            EngineError::new(EngineErrorKind::Internal, "encode a checkpoint").caused_by(error)
        })?;
        fs::create_dir(dir).and_then(|()| fs::write(dir.join(CHECKPOINT_FILE), bytes)).map_err(
            |error| {
                EngineError::from_file(format!("write a checkpoint to {}", dir.display()), error)
            },
        )
    }

    fn approximate_size_bytes(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, EngineError> {
        count_bytes(self, space, &Scan::range(start, end.map(<[u8]>::to_vec)), u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(engine: &MemoryEngine, n: u8) {
        let mut batch = WriteBatch::new();
        batch.put(Space::Data, vec![n], vec![n]);
        batch.put(Space::Meta, vec![n], vec![n]);
        engine.write(batch).unwrap();
    }

    #[test]
    fn conforms() {
        super::super::conformance::run_all(|| {
            let disk = MemoryDisk::new();
            move || Arc::new(disk.open()) as Arc<dyn Engine>
        });
    }

    #[test]
    fn a_crash_takes_a_suffix_of_the_unsynced_batches_and_nothing_else() {
        let mut losses = Vec::new();
        for seed in 0..100 {
            let disk = MemoryDisk::new();
            let engine = disk.open();
            (0..5).for_each(|n| put(&engine, n));
            engine.sync().unwrap();
            (5..10).for_each(|n| put(&engine, n));
            let lost = disk.crash(seed);
            losses.push(lost);
            let engine = disk.open();
            let left = 10 - lost as u8;
            for n in 0..10 {
                let there = engine.get(Space::Data, &[n]).unwrap().is_some();
                assert_eq!(there, n < left, "seed {seed}: batch {n} of {left}");
                assert_eq!(
                    there,
                    engine.get(Space::Meta, &[n]).unwrap().is_some(),
                    "seed {seed}: half a batch"
                );
            }
        }
        assert!(
            losses.contains(&0) && losses.contains(&5),
            "the seeds do not reach both ends: {losses:?}"
        );
    }

    #[test]
    fn an_engine_from_before_the_crash_can_do_nothing() {
        let disk = MemoryDisk::new();
        let engine = disk.open();
        disk.crash(1);
        assert_eq!(engine.write(WriteBatch::new()).unwrap_err().kind(), EngineErrorKind::Closed);
        assert_eq!(engine.sync().unwrap_err().kind(), EngineErrorKind::Closed);
        assert_eq!(engine.get(Space::Data, b"k").unwrap_err().kind(), EngineErrorKind::Closed);
    }

    #[test]
    fn a_sync_covers_only_what_was_written_before_it() {
        let disk = MemoryDisk::new();
        let engine = Arc::new(disk.open());
        put(&engine, 1);
        disk.hold_syncs(true);
        let syncing = std::thread::spawn({
            let engine = engine.clone();
            move || engine.sync()
        });
        // The write may come before or after the sync begins; either way its own batch is never lost by the sync.
        put(&engine, 2);
        disk.hold_syncs(false);
        syncing.join().unwrap().unwrap();
        disk.crash(3);
        assert!(disk.open().get(Space::Data, &[1]).unwrap().is_some());
    }

    #[test]
    fn after_a_failed_sync_the_engine_never_says_durable_again() {
        let disk = MemoryDisk::new();
        let engine = disk.open();
        put(&engine, 1);
        disk.fail_syncs(Some(EngineErrorKind::Io));
        assert_eq!(engine.sync().unwrap_err().kind(), EngineErrorKind::Io);
        disk.fail_syncs(None);
        assert_eq!(engine.sync().unwrap_err().kind(), EngineErrorKind::Io);
        assert_eq!(disk.syncs(), 0);
        disk.open().sync().unwrap();
    }

    #[test]
    fn a_checkpoint_opens_with_the_same_rows() {
        let engine = MemoryEngine::new();
        put(&engine, 7);
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        engine.checkpoint(&copy).unwrap();
        put(&engine, 8);
        let copy = MemoryEngine::open_checkpoint(&copy).unwrap();
        assert_eq!(copy.get(Space::Meta, &[7]).unwrap(), Some(vec![7]));
        assert_eq!(copy.get(Space::Meta, &[8]).unwrap(), None);
    }
}
