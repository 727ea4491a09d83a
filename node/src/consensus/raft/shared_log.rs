//! One log for all groups of a node, and the one thread that makes it durable.
//!
//! A group writes its records itself, so they are readable at once, and queues a job. The *flusher* takes whatever has
//! queued, does one fsync for all of it, and then tells each job, in order. While it syncs the next jobs queue up: under
//! load many groups share one fsync, alone a group waits for nobody. Nothing else may tell a group that its log is
//! durable. After a failed write or fsync the log refuses everything: what the disk holds is then unknown, and a retried
//! fsync that "succeeds" would be a lie.

use super::{log_record::group_bounds, log_tail::TailBudget};
use crate::engine::{Engine, EngineError, EngineErrorKind, Space, WriteBatch};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Fsync durations remembered for [`FlusherStats::sync_us_p99`].
const REMEMBERED_SYNCS: usize = 1024;

/// Limits of the log and its flusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlusherConfig {
    /// Jobs that may wait; groups that come later wait for a place.
    pub queue_jobs: usize,
    /// Jobs that share one fsync at most.
    pub batch_jobs: usize,
    /// Memory for the newest entries of all groups together, estimated bytes.
    pub tails_bytes: usize,
    /// A planted bug: acknowledge before the fsync, and sync only now and then. Shows that crash tests can fail.
    #[cfg(any(test, feature = "planted-bugs"))]
    #[doc(hidden)]
    pub acknowledge_before_sync: bool,
}

impl Default for FlusherConfig {
    fn default() -> Self {
        Self {
            queue_jobs: 8192,
            batch_jobs: 1024,
            tails_bytes: 16 << 20,
            #[cfg(any(test, feature = "planted-bugs"))]
            acknowledge_before_sync: cfg!(feature = "planted-bugs")
                && std::env::var_os("ISOBAR_PLANT_ACK_BEFORE_FSYNC").is_some(),
        }
    }
}

impl FlusherConfig {
    fn acknowledges_before_sync(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.acknowledge_before_sync;
        #[cfg(not(any(test, feature = "planted-bugs")))]
        return false;
    }
}

/// What the flusher did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlusherStats {
    /// Fsyncs of the log.
    pub syncs: u64,
    /// Jobs told that they are durable.
    pub jobs: u64,
    /// Jobs that shared an fsync, on average.
    pub jobs_per_sync: f64,
    /// Of the latest fsyncs (1024 at most), 99 of 100 took no longer, in microseconds.
    pub sync_us_p99: u64,
    /// Jobs waiting now.
    pub queued_jobs: usize,
    /// Entries in memory, of all groups together, estimated bytes.
    pub tails_bytes: usize,
}

/// Told once the job is durable, or why it is not.
pub(super) type Completion = Box<dyn FnOnce(Result<(), EngineError>) + Send>;

/// Work for the flusher. Dropped untold, with its queue, it says that the log is closed: nobody waits in vain.
struct Job {
    /// Written by the flusher itself, after the state below was synced. Only purges have this.
    purge: Option<WriteBatch>,
    done: Option<Completion>,
}

impl Job {
    fn new(purge: Option<WriteBatch>, done: Completion) -> Self {
        Self { purge, done: Some(done) }
    }

    fn tell(mut self, result: Result<(), EngineError>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(closed()));
        }
    }
}

/// A place in the queue, taken before writing, so that what is written is also flushed.
pub(super) struct Place {
    permit: mpsc::OwnedPermit<Job>,
    purges: Arc<AtomicU64>,
}

impl Place {
    /// Queues a job for what the caller wrote before this call.
    pub(super) fn written(self, done: Completion) {
        self.permit.send(Job::new(None, done));
    }

    /// Queues the removal of entries that the state machine no longer needs.
    pub(super) fn purge(self, batch: WriteBatch, done: Completion) {
        let purges = self.purges;
        purges.fetch_add(1, Ordering::AcqRel);
        let done = Box::new(move |result| {
            purges.fetch_sub(1, Ordering::AcqRel);
            done(result);
        });
        self.permit.send(Job::new(Some(batch), done));
    }

    /// The same as [`Place::written`], and waits until it is durable.
    pub(super) async fn written_durably(self) -> Result<(), EngineError> {
        let (done, told) = completion();
        self.written(done);
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The same as [`Place::purge`], and waits until it is durable.
    pub(super) async fn purge_durably(self, batch: WriteBatch) -> Result<(), EngineError> {
        let (done, told) = completion();
        self.purge(batch, done);
        told.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn completion() -> (Completion, oneshot::Receiver<Result<(), EngineError>>) {
    let (tell, told) = oneshot::channel();
    // The waiter may have gone away; then nobody needs to know.
    (Box::new(move |result| drop(tell.send(result))), told)
}

fn closed() -> EngineError {
    EngineError::new(EngineErrorKind::Closed, "the shared log is closed")
}

/// What handles and the flusher both see.
#[derive(Default)]
struct Shared {
    /// The first failure. Once there, nothing is accepted or acknowledged any more.
    failure: OnceLock<EngineError>,
    /// Groups whose own records are damaged, with what was found first.
    faults: Mutex<BTreeMap<u64, EngineError>>,
    /// Purges queued and not yet done.
    purges: Arc<AtomicU64>,
    closing: AtomicBool,
    syncs: AtomicU64,
    jobs: AtomicU64,
    sync_us: Mutex<VecDeque<u64>>,
}

impl Shared {
    fn fail(&self, error: &EngineError) {
        if self.failure.set(error.clone()).is_ok() {
            tracing::error!(error = %error.message(), "the shared log stops: storage failed");
        }
    }
}

struct Inner {
    engine: Arc<dyn Engine>,
    shared: Arc<Shared>,
    tails: Arc<TailBudget>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    /// None: it is closed, or the flusher is a task, which ends by itself.
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// The shared log of a node. Clones are handles of the same log; the flusher ends with the last of them.
#[derive(Clone)]
pub struct SharedLog {
    inner: Arc<Inner>,
}

impl SharedLog {
    /// Opens the log over `engine` and starts its flusher. `state` is the engine that holds what the log's entries were
    /// applied to: it is synced before entries are purged, since from then on only it has their effect.
    pub fn open(
        engine: Arc<dyn Engine>,
        state: Option<Arc<dyn Engine>>,
        config: FlusherConfig,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = mpsc::channel(config.queue_jobs.max(1));
        let shared = Arc::new(Shared::default());
        let tails = TailBudget::new(config.tails_bytes);
        let flusher = Flusher {
            engine: engine.clone(),
            state,
            config,
            jobs,
            shared: shared.clone(),
            unsynced_batches: 0,
        };
        let thread = if engine.simulated_wait().is_some() {
            tokio::spawn(flusher.run_as_task());
            None
        } else {
            let thread = std::thread::Builder::new().name("log-flusher".into());
            let started = thread.spawn(move || flusher.run());
            let failed = |error| EngineError::from_file("start the flusher thread", error);
            Some(started.map_err(failed)?)
        };
        let (queue, flusher) = (Mutex::new(Some(queue)), Mutex::new(thread));
        let inner = Inner { engine, shared, tails, queue, flusher };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes everything a group has in the log, durably. No replica of it may be running.
    pub async fn destroy(&self, shard_id: u64) -> Result<(), EngineError> {
        let mut batch = WriteBatch::new();
        let (start, end) = group_bounds(shard_id);
        batch.delete_range(Space::Log, start.clone(), end.clone());
        batch.delete_range(Space::LogMeta, start, end);
        // Through the flusher, so that it comes after a purge of this group that may still be waiting.
        self.place().await?.purge_durably(batch).await?;
        self.inner.shared.faults.lock().expect("nothing panics under this lock").remove(&shard_id);
        Ok(())
    }

    /// What the flusher did so far.
    pub fn stats(&self) -> FlusherStats {
        let shared = &self.inner.shared;
        let (syncs, jobs) =
            (shared.syncs.load(Ordering::Relaxed), shared.jobs.load(Ordering::Relaxed));
        let mut durations: Vec<u64> = shared
            .sync_us
            .lock()
            .expect("nothing panics under this lock")
            .iter()
            .copied()
            .collect();
        durations.sort_unstable();
        let p99 = (durations.len() * 99).div_ceil(100).saturating_sub(1);
        let queue = self.inner.queue.lock().expect("nothing panics under this lock");
        FlusherStats {
            syncs,
            jobs,
            jobs_per_sync: if syncs == 0 { 0.0 } else { jobs as f64 / syncs as f64 },
            sync_us_p99: durations.get(p99).copied().unwrap_or(0),
            queued_jobs: queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity()),
            tails_bytes: self.inner.tails.used_bytes(),
        }
    }

    /// Why the log stopped, if it did. It does not start again: the node must be restarted.
    pub fn failure(&self) -> Option<EngineError> {
        self.inner.shared.failure.get().cloned()
    }

    /// What is wrong with the log of one group: its own damage, or the failure of the whole log. openraft keeps only the
    /// text of a storage error; this keeps the code.
    pub fn fault_of(&self, shard_id: u64) -> Option<EngineError> {
        let faults = self.inner.shared.faults.lock().expect("nothing panics under this lock");
        faults.get(&shard_id).cloned().or_else(|| self.failure())
    }

    /// Takes no more jobs, finishes those it has, and waits for the flusher to end.
    pub fn close(&self) {
        self.inner.close();
    }

    pub(super) fn note_fault(&self, shard_id: u64, error: &EngineError) {
        let mut faults = self.inner.shared.faults.lock().expect("nothing panics under this lock");
        faults.entry(shard_id).or_insert_with(|| error.clone());
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// What the groups' newest entries in memory may take together.
    pub(super) fn tails(&self) -> &Arc<TailBudget> {
        &self.inner.tails
    }

    /// Waits for a place in the queue.
    pub(super) async fn place(&self) -> Result<Place, EngineError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let queue = self.inner.queue.lock().expect("nothing panics under this lock").clone();
        let permit = queue.ok_or_else(closed)?.reserve_owned().await;
        let permit = permit.map_err(|_| self.failure().unwrap_or_else(closed))?;
        Ok(Place { permit, purges: self.inner.shared.purges.clone() })
    }

    /// Waits until no purge queued before this call is still to be done: what a group loads must not change below it.
    pub(super) async fn settle(&self) -> Result<(), EngineError> {
        if self.inner.shared.purges.load(Ordering::Acquire) > 0 {
            self.place().await?.written_durably().await?;
        }
        Ok(())
    }

    /// Writes a batch, readable at once. A failure is the failure of the whole log.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.inner.engine.write(batch).inspect_err(|error| self.inner.shared.fail(error))
    }
}

impl Inner {
    fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(queue) = self.queue.lock().expect("nothing panics under this lock").take() {
            // An empty job, so that the flusher looks up. If there is no place for it, it is awake already.
            let _ = queue.try_send(Job::new(None, Box::new(drop)));
        }
        let flusher = self.flusher.lock().expect("nothing panics under this lock").take();
        // The last handle may be dropped by a completion, on the flusher's own thread: it cannot wait for itself.
        if let Some(flusher) =
            flusher.filter(|flusher| flusher.thread().id() != std::thread::current().id())
        {
            // A panic there was already reported by the panic hook, and there is nobody left to tell.
            let _ = flusher.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

struct Flusher {
    engine: Arc<dyn Engine>,
    state: Option<Arc<dyn Engine>>,
    config: FlusherConfig,
    jobs: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
    unsynced_batches: u32,
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "the flusher of the shared log panicked";
            self.shared.fail(&EngineError::new(EngineErrorKind::Internal, why));
        }
    }
}

impl Flusher {
    fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let batch = self.batch_from(first);
            self.flush_one(batch);
        }
    }

    /// The same where the disk is a simulated one: what queues while it waits joins the next batch.
    async fn run_as_task(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let batch = self.batch_from(first);
            tokio::time::sleep(self.engine.simulated_wait().unwrap_or_default()).await;
            self.flush_one(batch);
        }
    }

    fn batch_from(&mut self, first: Job) -> Vec<Job> {
        let mut batch = vec![first];
        while batch.len() < self.config.batch_jobs.max(1) {
            match self.jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        batch
    }

    fn flush_one(&mut self, batch: Vec<Job>) {
        self.flush(batch);
        if self.shared.closing.load(Ordering::Acquire) {
            // Those who wait for a place are turned away; jobs that have one are still done.
            self.jobs.close();
        }
    }

    fn flush(&mut self, mut batch: Vec<Job>) {
        if self.config.acknowledges_before_sync() {
            return self.flush_wrongly(batch);
        }
        let result = self.make_durable(&mut batch);
        if let Err(error) = &result {
            self.shared.fail(error);
        } else {
            self.shared.jobs.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        for job in batch {
            job.tell(result.clone());
        }
    }

    fn make_durable(&self, batch: &mut [Job]) -> Result<(), EngineError> {
        if let Some(failure) = self.shared.failure.get() {
            return Err(failure.clone());
        }
        let mut purges = WriteBatch::new();
        for job in batch {
            purges.append(job.purge.take().unwrap_or_default());
        }
        if !purges.is_empty() {
            if let Some(state) = &self.state {
                state.sync()?;
            }
            self.engine.write(purges)?;
        }
        let begun = Instant::now();
        self.engine.sync()?;
        self.note_sync(begun.elapsed().as_micros() as u64);
        Ok(())
    }

    fn note_sync(&self, took_us: u64) {
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        let mut durations = self.shared.sync_us.lock().expect("nothing panics under this lock");
        if durations.len() == REMEMBERED_SYNCS {
            durations.pop_front();
        }
        durations.push_back(took_us);
    }

    /// The planted bug: everyone is told at once, and most of it is synced much later.
    fn flush_wrongly(&mut self, mut batch: Vec<Job>) {
        let mut purges = Vec::new();
        for job in &mut batch {
            purges.extend(job.purge.take());
        }
        for job in batch {
            job.tell(Ok(()));
        }
        self.unsynced_batches += 1;
        if !purges.is_empty() || self.unsynced_batches >= 256 {
            self.unsynced_batches = 0;
            let mut late: Vec<_> =
                purges.into_iter().map(|batch| Job::new(Some(batch), Box::new(drop))).collect();
            if let Err(error) = self.make_durable(&mut late) {
                self.shared.fail(&error);
            }
        }
    }
}
