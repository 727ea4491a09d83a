//! Requests come at moments drawn beforehand, whatever became of the ones before.

use super::{Samples, perform};
use crate::{
    drivers::Handle,
    work::{Request, Stream},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle as Runtime,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// When requests come.
pub(super) struct Arrivals {
    pub(super) per_s: f64,
    pub(super) in_flight_max: u32,
    pub(super) seed: u64,
    pub(super) length: Duration,
}

/// What the requests under way share.
struct Run {
    handles: Vec<Handle>,
    /// One for each client, so that they seldom wait for one another.
    samples: Vec<Mutex<Samples>>,
    permits: Arc<Semaphore>,
    end: Instant,
    stopped: AtomicBool,
}

/// Tells the pacing thread that nobody waits for the run any more.
struct StopOnDrop(Arc<Run>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn run(handles: &[Handle], streams: Vec<Stream>, arrivals: Arrivals) -> Samples {
    let (length, in_flight_max) = (arrivals.length, arrivals.in_flight_max);
    let run = Arc::new(Run {
        handles: handles.to_vec(),
        samples: streams.iter().map(|_| Mutex::new(Samples::new(length))).collect(),
        permits: Arc::new(Semaphore::new(in_flight_max as usize)),
        end: Instant::now() + length,
        stopped: AtomicBool::new(false),
    });
    let _stop = StopOnDrop(run.clone());
    // A thread of its own sleeps to within tens of microseconds; the runtime's timers know milliseconds only.
    let pacing = tokio::task::spawn_blocking({
        let (run, runtime) = (run.clone(), Runtime::current());
        move || pace(&run, streams, &arrivals, &runtime)
    });
    pacing.await.expect("the pacing thread does not panic");
    // Every request has a time limit, so the permits come back.
    let all = run.permits.acquire_many(in_flight_max).await;
    drop(all.expect("the semaphore is never closed"));
    let mut total = Samples::new(length);
    for samples in &run.samples {
        total.merge(&samples.lock().expect("no code panics while it holds this lock"));
    }
    total
}

/// Sends each request when it is due, until the end.
fn pace(run: &Arc<Run>, mut streams: Vec<Stream>, arrivals: &Arrivals, runtime: &Runtime) {
    let mut rng = SmallRng::seed_from_u64(arrivals.seed);
    let mut due = run.end - arrivals.length;
    for client in (0..streams.len()).cycle() {
        let gap: f64 = -(1.0 - rng.random::<f64>()).ln() / arrivals.per_s;
        due += Duration::from_secs_f64(gap);
        if due >= run.end || run.stopped.load(Ordering::Relaxed) {
            return;
        }
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let request = streams[client].draw();
        let Some(permit) = permit(run, runtime) else {
            // The end came first, for this one and for all that are still due.
            run.record(client, |all| all.record_unsent(run.end - due, request.reads()));
            continue;
        };
        runtime.spawn(one_request(run.clone(), client, request, due, permit));
    }
}

/// Waits for room until the end of the run.
fn permit(run: &Run, runtime: &Runtime) -> Option<OwnedSemaphorePermit> {
    let left = run.end.checked_duration_since(Instant::now())?;
    let permits = run.permits.clone();
    if let Ok(permit) = permits.clone().try_acquire_owned() {
        return Some(permit);
    }
    let waiting = async { timeout(left, permits.acquire_owned()).await };
    runtime.block_on(waiting).ok()?.ok()
}

async fn one_request(
    run: Arc<Run>,
    client: usize,
    request: Request,
    due: Instant,
    permit: OwnedSemaphorePermit,
) {
    let handle = &run.handles[client % run.handles.len()];
    let reads = request.reads();
    let result = perform(&**handle, request).await;
    let now = Instant::now();
    run.record(client, |all| all.record(result, now - due, reads, now <= run.end));
    drop(permit);
}

impl Run {
    fn record(&self, client: usize, add: impl FnOnce(&mut Samples)) {
        add(&mut self.samples[client].lock().expect("no code panics while it holds this lock"));
    }
}
