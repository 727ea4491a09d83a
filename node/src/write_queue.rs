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
};
use tokio::sync::oneshot;

/// Entries of one shard under way at once: while one is being made durable the next is already being written.
const ENTRIES_AT_ONCE: usize = 2;
/// Writes in one entry at most.
const GROUP_WRITES_MAX: usize = 512;
/// Bytes in one entry after which nothing more joins it.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Length of the queue from which on those who have gone are looked for.
const SWEEP_FROM: usize = 1_024;

/// Where the write is in the log, and what became of it.
type Answer = Result<(LogId, WriteOutcome), ApiError>;

struct Waiting {
    write: WriteCommand,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
    /// Length at which to look again for those who have gone.
    sweep_at: usize,
}

/// The queue of one shard.
#[derive(Default)]
pub(crate) struct WriteQueue {
    state: Mutex<State>,
}

impl WriteQueue {
    /// Adds a write; whether the caller must begin an entry.
    fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= state.sweep_at.max(SWEEP_FROM) {
            // Without a quorum no entry ends, while deadlines pass and new writes come.
            state.waiting.retain(|waiting| !waiting.answer.is_closed());
            state.sweep_at = 2 * state.waiting.len();
        }
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
            let Some(Waiting { write, answer }) = state.waiting.pop_front() else { break };
            if !answer.is_closed() {
                bytes += write.size_bytes();
                writes.push(write);
                answers.push(answer);
            }
        }
        if writes.is_empty() {
            state.under_way -= 1;
            return None;
        }
        Some((writes, answers))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Replica {
    /// Puts a write through the log together with others, and waits until it is committed and applied here.
    pub(crate) async fn submit(self: &Arc<Self>, write: WriteCommand) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.writes.push(Waiting { write, answer }) {
            let replica = self.clone();
            tokio::spawn(async move {
                while let Some((writes, answers)) = replica.writes.next_group() {
                    replica.propose_group(writes, answers).await;
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
        (queue.push(Waiting { write, answer }), answered)
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

    #[test]
    fn the_queue_does_not_keep_those_who_have_gone() {
        let queue = WriteQueue::default();
        let stays = push(&queue, 10);
        for _ in 0..3 * SWEEP_FROM {
            drop(push(&queue, 10));
        }
        assert!(queue.lock().waiting.len() <= SWEEP_FROM);
        assert_eq!(size(&queue), Some(1));
        drop(stays);
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
