//! Requests come at moments drawn beforehand, whatever became of the ones before.
//!
//! ```text
//! pacing thread: draws moments and requests ─► inbox of a sender ─► sender task: all its requests under way
//! ```
//! What a request costs here is taken from the processors that the servers share. So there is no task, no timer and no
//! lock for each: what is due together is handed over together, and one task of each sender drives all of its requests.

use super::{REQUEST_WITHIN, Samples, ask, too_late};
use crate::{
    drivers::Handle,
    work::{Request, Stream},
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use isobar_api::ApiError;
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
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep_until, timeout},
};

/// Between two hand-overs at least. A request may be sent so much late, which counts in its time; requests that are
/// further apart go each at its moment.
const TICK: Duration = Duration::from_micros(300);

/// When requests come.
pub(super) struct Arrivals {
    pub(super) per_s: f64,
    pub(super) in_flight_max: u32,
    pub(super) seed: u64,
    pub(super) length: Duration,
}

/// A request whose moment has come.
struct Due {
    handle: usize,
    request: Request,
    at: Instant,
}

/// What waits for one sender.
#[derive(Default)]
struct Inbox {
    due: Mutex<Vec<Due>>,
    bell: Notify,
}

/// What the pacing thread and the senders share.
struct Run {
    handles: Vec<Handle>,
    inboxes: Vec<Inbox>,
    /// Requests that may still be sent. Senders give back what the pacing thread took.
    permits: Semaphore,
    end: Instant,
    /// Nobody waits for the run any more.
    stopped: AtomicBool,
    /// Nothing more comes.
    ended: AtomicBool,
}

/// Tells the pacing thread that nobody waits for the run any more.
struct StopOnDrop(Arc<Run>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn run(handles: &[Handle], streams: Vec<Stream>, arrivals: Arrivals) -> Samples {
    let length = arrivals.length;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let senders = handles.len().max(cores).min(streams.len());
    let run = Arc::new(Run {
        handles: handles.to_vec(),
        inboxes: (0..senders).map(|_| Inbox::default()).collect(),
        permits: Semaphore::new(arrivals.in_flight_max as usize),
        end: Instant::now() + length,
        stopped: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    });
    let _stop = StopOnDrop(run.clone());
    let mut sending = JoinSet::new();
    for sender in 0..senders {
        sending.spawn(send_all(run.clone(), sender, length));
    }
    // A thread of its own sleeps to within tens of microseconds; the runtime's timers know milliseconds only.
    let pacing = tokio::task::spawn_blocking({
        let (run, runtime) = (run.clone(), Runtime::current());
        move || pace(&run, streams, &arrivals, &runtime)
    });
    let mut total = pacing.await.expect("the pacing thread does not panic");
    while let Some(samples) = sending.join_next().await {
        total.merge(&samples.expect("a sender neither panics nor is stopped"));
    }
    total
}

/// Hands over each request when it is due, until the end. The samples are of those that could not be sent.
fn pace(run: &Run, mut streams: Vec<Stream>, arrivals: &Arrivals, runtime: &Runtime) -> Samples {
    let mut unsent = Samples::new(arrivals.length);
    let mut rng = SmallRng::seed_from_u64(arrivals.seed);
    let mut batches: Vec<Vec<Due>> = run.inboxes.iter().map(|_| Vec::new()).collect();
    let mut at = run.end - arrivals.length;
    let (mut now, mut handed_over) = (at, at);
    for client in (0..streams.len()).cycle() {
        let gap: f64 = -(1.0 - rng.random::<f64>()).ln() / arrivals.per_s;
        at += Duration::from_secs_f64(gap);
        if at >= run.end || run.stopped.load(Ordering::Relaxed) {
            break;
        }
        if at > now {
            run.hand_over(&mut batches);
            let next = at.max(handed_over + TICK);
            if let Some(early) = next.checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            now = Instant::now();
            handed_over = now;
        }
        let request = streams[client].draw();
        if !run.take_room(&mut batches, runtime) {
            // The end came first, for this one and for all that are still due.
            unsent.record_unsent(run.end.saturating_duration_since(at), request.reads());
            continue;
        }
        let (sender, handle) = (client % batches.len(), client % run.handles.len());
        batches[sender].push(Due { handle, request, at });
    }
    run.hand_over(&mut batches);
    run.ended.store(true, Ordering::Release);
    run.inboxes.iter().for_each(|inbox| inbox.bell.notify_one());
    unsent
}

impl Run {
    fn hand_over(&self, batches: &mut [Vec<Due>]) {
        for (inbox, batch) in self.inboxes.iter().zip(batches).filter(|(_, b)| !b.is_empty()) {
            inbox.due.lock().expect("no code panics while it holds this lock").append(batch);
            inbox.bell.notify_one();
        }
    }

    /// Takes room for one more request; waits for it until the end of the run.
    fn take_room(&self, batches: &mut [Vec<Due>], runtime: &Runtime) -> bool {
        if let Ok(permit) = self.permits.try_acquire() {
            permit.forget();
            return true;
        }
        // What takes the room must be sent, or it never comes back.
        self.hand_over(batches);
        let Some(left) = self.end.checked_duration_since(Instant::now()) else { return false };
        let waiting = async { timeout(left, self.permits.acquire()).await };
        let Ok(Ok(permit)) = runtime.block_on(waiting) else { return false };
        permit.forget();
        true
    }
}

/// A request's result, whether it only read, and when it was due.
type Done = (Result<(), ApiError>, bool, Instant);

async fn one(driver: Handle, due: Due) -> Done {
    let reads = due.request.reads();
    (ask(&*driver, due.request).await, reads, due.at)
}

/// Sends what comes into one inbox, until nothing comes and all is answered.
async fn send_all(run: Arc<Run>, sender: usize, length: Duration) -> Samples {
    let inbox = &run.inboxes[sender];
    let mut samples = Samples::new(length);
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::new();
    let given_up = sleep_until((run.end + REQUEST_WITHIN).into());
    tokio::pin!(given_up);
    loop {
        // Before the look into the inbox: whoever says so has put everything there.
        let ended = run.ended.load(Ordering::Acquire);
        std::mem::swap(
            &mut *inbox.due.lock().expect("no code panics while it holds this lock"),
            &mut batch,
        );
        if ended && batch.is_empty() && under_way.is_empty() {
            return samples;
        }
        for due in batch.drain(..) {
            under_way.push(one(run.handles[due.handle].clone(), due));
        }
        tokio::select! {
            biased;
            Some(first) = under_way.next(), if !under_way.is_empty() => {
                let mut done = vec![first];
                // Whatever else is there by now is taken with it; what is not wakes this task as before.
                while let Some(Some(next)) = under_way.next().now_or_never() {
                    done.push(next);
                }
                run.permits.add_permits(done.len());
                let now = Instant::now();
                done.into_iter().for_each(|done| record(&mut samples, done, now, run.end));
            }
            () = inbox.bell.notified() => {}
            () = &mut given_up => {
                run.permits.add_permits(under_way.len());
                (0..under_way.len()).for_each(|_| samples.record(Err(too_late()), REQUEST_WITHIN, false, false));
                return samples;
            }
        }
    }
}

fn record(samples: &mut Samples, (result, reads, at): Done, now: Instant, end: Instant) {
    let took = now - at;
    let result = if took > REQUEST_WITHIN && result.is_ok() { Err(too_late()) } else { result };
    samples.record(result, took, reads, now <= end);
}
