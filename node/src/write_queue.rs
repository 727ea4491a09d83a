//! Writes that wait for the log of a shard. What has gathered while earlier entries were under way goes into one entry.
//!
//! ```text
//! write ─┐
//! write ─┼─► queue ─► one entry ─► log, followers, apply ─► an answer for each
//! write ─┘
//! ```
//! Alone, a write waits for nobody. Under load the entry, its way to the followers, its fsync and its batch in the state
//! engine are shared by everything that came meanwhile, so the cost of a write falls as the load grows.

use crate::{
    consensus::raft::types::LogId,
    replica::Replica,
    shard::{Command, CommandResult, WriteCommand, WriteOutcome},
};
use isobar_api::{ApiError, ErrorCode};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Entries of one shard under way at once: while one is being made durable the next is already being written.
const ENTRIES_AT_ONCE: usize = 2;
/// Writes in one entry at most.
const GROUP_WRITES_MAX: usize = 512;
/// Bytes in one entry after which nothing more joins it.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Writes that may wait for the log of one shard, and their bytes: a shard without a quorum must not take up the room of
/// the node's other shards.
const WAITING_MAX: usize = 2 * GROUP_WRITES_MAX;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What the next entry can take may always wait. More than that is refused while it would wait longer than this.
const WAIT_MAX: Duration = Duration::from_millis(100);
const RETRY_MS_MIN: u64 = 5;
const RETRY_MS_MAX: u64 = 1_000;

/// Where the write is in the log, and what became of it.
type Answer = Result<(LogId, WriteOutcome), ApiError>;

struct Waiting {
    write: WriteCommand,
    answer: oneshot::Sender<Answer>,
    bytes: usize,
    since: Instant,
}

/// Why a queue takes no further write, and when it may.
#[derive(Debug, PartialEq)]
pub(crate) struct QueueFull {
    pub(crate) why: &'static str,
    pub(crate) retry_after_ms: u64,
}

/// What waits in a queue, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct QueueDepth {
    /// Writes that wait.
    pub(crate) writes: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// The longest that one waited for its entry to begin, since this was asked last.
    pub(crate) wait_max: Duration,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    under_way: usize,
    /// How long entries took of late, from their beginning to their answers.
    entry: Duration,
    /// When the last entry began.
    begun: Option<Instant>,
    wait_max: Duration,
}

/// The queue of one shard.
#[derive(Default)]
pub(crate) struct WriteQueue {
    state: Mutex<State>,
}

impl WriteQueue {
    /// Whether a write of so many bytes, to be done by a deadline, may join the queue.
    pub(crate) fn room_for(&self, bytes: usize, deadline: Duration) -> Result<(), QueueFull> {
        let state = self.lock();
        let (wait, next) = state.wait_of(bytes);
        let why = if state.waiting.len() >= WAITING_MAX {
            "as many writes as may wait for its log"
        } else if state.waiting_bytes + bytes > WAITING_BYTES_MAX {
            "as many bytes as may wait for its log"
        } else if state.under_way >= ENTRIES_AT_ONCE && state.entry > deadline {
            // By what was seen, not by what is still to come: where nothing ends, another replica may lead by now, and
            // only silence makes clients look for it.
            "its log is too slow for the deadline"
        } else if wait > WAIT_MAX && !next {
            "its log is slower than writes come"
        } else {
            return Ok(());
        };
        let retry_after_ms = (wait.as_millis() as u64 / 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        Err(QueueFull { why, retry_after_ms })
    }

    /// What waits now.
    pub(crate) fn depth(&self) -> QueueDepth {
        let mut state = self.lock();
        QueueDepth {
            writes: state.waiting.len(),
            bytes: state.waiting_bytes,
            wait_max: std::mem::take(&mut state.wait_max),
        }
    }

    /// An entry has been answered that began then.
    fn ended(&self, began: Instant) {
        let mut state = self.lock();
        state.entry = (state.entry + began.elapsed()) / 2;
    }

    /// Adds a write; whether the caller must begin an entry.
    fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.lock();
        state.waiting_bytes += waiting.bytes;
        state.waiting.push_back(waiting);
        let begin = state.under_way < ENTRIES_AT_ONCE;
        state.under_way += usize::from(begin);
        begin
    }

    /// The writes of the next entry; none ends what [`Self::push`] began. Nobody waits any more for the ones left out.
    fn next_group(&self) -> Option<(Vec<WriteCommand>, Vec<oneshot::Sender<Answer>>)> {
        let mut state = self.lock();
        let (mut writes, mut answers) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while writes.len() < GROUP_WRITES_MAX && bytes < GROUP_BYTES_MAX {
            let Some(Waiting { write, answer, bytes: own, since }) = state.waiting.pop_front()
            else {
                break;
            };
            state.waiting_bytes -= own;
            if !answer.is_closed() {
                // The first of an entry has waited longest.
                if writes.is_empty() {
                    state.wait_max = state.wait_max.max(since.elapsed());
                }
                bytes += own;
                writes.push(write);
                answers.push(answer);
            }
        }
        if writes.is_empty() {
            state.under_way -= 1;
            return None;
        }
        state.begun = Some(Instant::now());
        Some((writes, answers))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// How long a write of so many bytes would wait for its entry to begin, and whether that is the next one. Entries
    /// take along what waits, so it is their number that counts and not the number of writes.
    fn wait_of(&self, bytes: usize) -> (Duration, bool) {
        if self.under_way < ENTRIES_AT_ONCE {
            return (Duration::ZERO, true);
        }
        let by_writes = self.waiting.len() / GROUP_WRITES_MAX;
        let ahead = by_writes.max((self.waiting_bytes + bytes) / GROUP_BYTES_MAX);
        // One that takes longer than the last ones did has at least that long behind it.
        let entry = self.entry.max(self.begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
        (entry * (ahead + 1) as u32 / ENTRIES_AT_ONCE as u32, ahead == 0)
    }
}

impl Replica {
    /// Puts a write through the log together with others, and waits until it is committed and applied here.
    pub(crate) async fn submit(self: &Arc<Self>, write: WriteCommand) -> Answer {
        let (answer, answered) = oneshot::channel();
        let (bytes, since) = (write.size_bytes(), Instant::now());
        if self.writes.push(Waiting { write, answer, bytes, since }) {
            let replica = self.clone();
            tokio::spawn(async move {
                while let Some((writes, answers)) = replica.writes.next_group() {
                    let began = Instant::now();
                    replica.propose_group(writes, answers).await;
                    replica.writes.ended(began);
                }
            });
        }
        let stopped = |_| Err(self.error(ErrorCode::Unavailable, "the node is stopping"));
        answered.await.unwrap_or_else(stopped)
    }

    async fn propose_group(
        self: &Arc<Self>,
        writes: Vec<WriteCommand>,
        answers: Vec<oneshot::Sender<Answer>>,
    ) {
        let proposed = self.propose_when_led(Command::Write(writes.into())).await;
        let outcomes = proposed.and_then(|(log_id, result)| match result {
            CommandResult::Write(outcomes) if outcomes.len() == answers.len() => {
                Ok((log_id, outcomes))
            }
            other => {
                Err(self.error(ErrorCode::Internal, format!("writes were answered by {other}")))
            }
        });
        // A closed receiver is a request that has met its deadline.
        match outcomes {
            Ok((log_id, outcomes)) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok((log_id, outcome)));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Mutation;

    fn push(queue: &WriteQueue, value_bytes: usize) -> (bool, oneshot::Receiver<Answer>) {
        let mutation = Mutation {
            key: b"k".to_vec(),
            value: Some(vec![0; value_bytes]),
            expected: None,
            schema_version: 0,
        };
        let write = WriteCommand {
            client_id: [0; 16],
            sequence: 1,
            first_unacknowledged: 1,
            hlc: 1,
            origin: 1,
            mutations: vec![mutation],
        };
        let (answer, answered) = oneshot::channel();
        let (bytes, since) = (write.size_bytes(), Instant::now());
        (queue.push(Waiting { write, answer, bytes, since }), answered)
    }

    fn size(queue: &WriteQueue) -> Option<usize> {
        queue.next_group().map(|(writes, _)| writes.len())
    }

    #[test]
    fn entries_begin_at_once_until_enough_are_under_way_and_then_gather() {
        let queue = WriteQueue::default();
        let pushed: Vec<_> = (0..ENTRIES_AT_ONCE + 3).map(|_| push(&queue, 10)).collect();
        let begun = pushed.iter().filter(|(begun, _)| *begun).count();
        assert_eq!(begun, ENTRIES_AT_ONCE);
        assert_eq!(size(&queue), Some(ENTRIES_AT_ONCE + 3));
        assert_eq!((size(&queue), size(&queue)), (None, None));
        assert!(push(&queue, 10).0, "both have ended, so the next one begins at once");
    }

    const LONG: Duration = Duration::from_secs(10);

    /// A queue whose entries take so long, both under way, and what waits in it.
    fn busy(entry: Duration, waiting: usize) -> (WriteQueue, Vec<oneshot::Receiver<Answer>>) {
        let queue = WriteQueue::default();
        let waiting = (0..waiting).map(|_| push(&queue, 10).1).collect();
        let mut state = queue.lock();
        (state.under_way, state.entry) = (ENTRIES_AT_ONCE, entry);
        drop(state);
        (queue, waiting)
    }

    #[test]
    fn what_fits_into_the_next_entry_may_wait_and_more_only_if_it_is_soon_its_turn() {
        let ms = Duration::from_millis;
        let (slow, _waiting) = busy(ms(300), GROUP_WRITES_MAX - 1);
        slow.room_for(10, LONG).expect("the next entry takes it");
        let _last = push(&slow, 10);
        let full = slow.room_for(10, LONG).expect_err("300 ms");
        assert_eq!(full.retry_after_ms, 150);
        let (quick, _waiting) = busy(ms(30), GROUP_WRITES_MAX);
        quick.room_for(10, LONG).expect("30 ms");
        let (large, _waiting) = busy(ms(300), 0);
        assert!(large.room_for(GROUP_BYTES_MAX, LONG).is_err(), "bytes count as writes do");
    }

    #[test]
    fn a_queue_is_bounded_however_quick_it_is() {
        let (queue, _waiting) = busy(Duration::ZERO, WAITING_MAX);
        assert!(queue.room_for(10, LONG).is_err());
        let (queue, _waiting) = busy(Duration::ZERO, 0);
        assert!(queue.room_for(WAITING_BYTES_MAX + 1, LONG).is_err());
        let wait = queue.depth();
        assert_eq!((wait.writes, wait.bytes), (0, 0));
    }

    #[test]
    fn what_cannot_make_its_deadline_is_refused_at_once_and_an_idle_log_refuses_nothing() {
        let (queue, _waiting) = busy(Duration::from_secs(4), 0);
        let deadline = Duration::from_secs(1);
        assert!(queue.room_for(10, deadline).is_err());
        queue.lock().under_way = ENTRIES_AT_ONCE - 1;
        queue.room_for(10, deadline).expect("its entry begins at once");
    }

    #[test]
    fn a_group_is_bounded_in_writes_and_bytes_and_leaves_out_who_has_gone() {
        let queue = WriteQueue::default();
        let _small: Vec<_> = (0..GROUP_WRITES_MAX + 1).map(|_| push(&queue, 10)).collect();
        assert_eq!((size(&queue), size(&queue)), (Some(GROUP_WRITES_MAX), Some(1)));
        let _large: Vec<_> = (0..3).map(|_| push(&queue, GROUP_BYTES_MAX / 2)).collect();
        assert_eq!((size(&queue), size(&queue)), (Some(2), Some(1)));
        drop(push(&queue, 10));
        let _waits = push(&queue, 10);
        assert_eq!(size(&queue), Some(1));
    }
}
