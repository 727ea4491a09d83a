//! Append requests sent ahead of the answers to earlier ones, and which answer may be handed out when.
//!
//! openraft takes an answer for every request up to the position that it names, and counts the *latest* of them as
//! heard: by that it renews the leader's lease. A request without entries names the position of the one before it. So if
//! one was made while that was under way, the answer to the earlier would vouch for the later: a leader that was stopped
//! and wakes up would take an old answer for a new one, and serve reads that are out of date. Therefore an answer waits
//! until the empty requests right behind it are answered as well.

use super::{commit_hold::CommitHold, types::TypeConfig};
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    AnyError,
    errors::{NetworkError, RPCError},
    raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult},
};
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

/// Requests of one group on their way to one replica at once.
const AHEAD_MAX: usize = 8;

/// What an append request came to.
pub(super) type Appended = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// The same, and whether all of the request was taken.
pub(super) type Outcome = (Appended, bool);

/// A request under way.
struct UnderWay<'s> {
    empty: bool,
    /// Others were under way when it was sent.
    behind: bool,
    state: State<'s>,
}

enum State<'s> {
    Sent(BoxFuture<'s, Outcome>),
    Answered(Outcome),
}

struct Pipeline<'s, S, F> {
    requests: S,
    hold: CommitHold,
    send: F,
    /// In the order in which they were made.
    under_way: VecDeque<UnderWay<'s>>,
    /// No more requests come, or none counts any more.
    ended: bool,
}

/// Sends requests as they come, in order; their answers, in the same order. `send` must put its request on the way when
/// it is first polled. After an answer that is not a full success nothing behind it counts, and the stream ends.
pub(super) fn pipelined<'s, S, F>(requests: S, hold: CommitHold, send: F) -> BoxStream<'s, Appended>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 's,
    F: Fn(AppendEntriesRequest<TypeConfig>) -> BoxFuture<'s, Outcome> + Send + Unpin + 's,
{
    let under_way = VecDeque::new();
    let mut pipeline = Pipeline { requests, hold, send, under_way, ended: false };
    futures::stream::poll_fn(move |context| pipeline.poll(context)).boxed()
}

impl<'s, S, F> Pipeline<'s, S, F>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    F: Fn(AppendEntriesRequest<TypeConfig>) -> BoxFuture<'s, Outcome>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Appended>> {
        loop {
            for request in &mut self.under_way {
                request.poll(context);
            }
            // What may go out goes before more is asked for: who takes it must not find a request behind it that it
            // does not answer.
            if let Some((answer, full)) = self.next_answer() {
                if !full {
                    self.ended = true;
                    self.under_way.clear();
                }
                return Poll::Ready(Some(answer));
            }
            if self.ended
                || self.under_way.len() >= AHEAD_MAX
                || self.hold.poll_next(context).is_pending()
            {
                break;
            }
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(request)) => {
                    let empty = request.entries.is_empty();
                    let last = request.entries.last().map(|entry| entry.log_id);
                    self.hold.made(last.or(request.prev_log_id).map_or(0, |last| last.index()));
                    let behind = !self.under_way.is_empty();
                    let state = State::Sent((self.send)(request));
                    self.under_way.push_back(UnderWay { empty, behind, state });
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        if self.ended && self.under_way.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The first answer, if it and those to the empty requests right behind it are there.
    fn next_answer(&mut self) -> Option<Outcome> {
        let mut behind = self.under_way.iter();
        let first = behind.next()?;
        let vouched = behind.take_while(|request| request.empty).all(UnderWay::is_answered);
        if !first.is_answered() || !vouched {
            return None;
        }
        let UnderWay { behind, state, .. } = self.under_way.pop_front()?;
        match state {
            State::Answered((Ok(Err(StreamAppendError::Conflict(_))), _)) if behind => {
                Some((Err(overtook()), false))
            }
            State::Answered(outcome) => Some(outcome),
            State::Sent(_) => None,
        }
    }
}

/// A conflict with a request that was sent before the answers to those ahead of it. They were all taken, or the stream had
/// ended there: so it arrived before them, and says nothing of the log as it is. openraft would take it for a log that
/// has lost what it confirmed, and panic. As an error it only has the request sent again, now alone; where entries are
/// really gone, that one meets the conflict and it counts.
fn overtook() -> RPCError<TypeConfig> {
    let why = AnyError::error("a request overtook those before it");
    RPCError::Network(NetworkError::new(&why))
}

impl UnderWay<'_> {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let State::Sent(sent) = &mut self.state
            && let Poll::Ready(outcome) = sent.as_mut().poll(context)
        {
            self.state = State::Answered(outcome);
        }
    }

    fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        consensus::raft::types::{LogId, Vote},
        shard::Command,
    };
    use futures::FutureExt;
    use openraft::EntryPayload;
    use std::sync::{Arc, Mutex};
    use tokio::sync::{mpsc, oneshot};

    /// What a request is answered with.
    #[derive(Debug)]
    enum Reply {
        Taken,
        InPart,
        Conflict,
    }

    type Sent = Arc<Mutex<Vec<Option<oneshot::Sender<Reply>>>>>;

    struct Rig {
        requests: mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig>>,
        sent: Sent,
        answers: BoxStream<'static, Appended>,
    }

    #[allow(clippy::disallowed_methods, reason = "a test makes few requests")]
    fn rig() -> Rig {
        let (requests, coming) = mpsc::unbounded_channel();
        let sent = Sent::default();
        let answer = sent.clone();
        let send = move |request: AppendEntriesRequest<TypeConfig>| {
            let (tell, told) = oneshot::channel();
            answer.lock().expect("no test panics here").push(Some(tell));
            let last = request.entries.last().map_or(request.prev_log_id, |e| Some(e.log_id));
            async move {
                match told.await.expect("each request is answered") {
                    Reply::Conflict => {
                        let before = request.prev_log_id.expect("these requests have one");
                        (Ok(Err(StreamAppendError::Conflict(before))), false)
                    }
                    reply => (Ok(Ok(last)), matches!(reply, Reply::Taken)),
                }
            }
            .boxed()
        };
        let coming = tokio_stream::wrappers::UnboundedReceiverStream::new(coming);
        let hold = CommitHold::new(tokio::sync::watch::channel(u64::MAX).1);
        Rig { requests, sent, answers: pipelined(coming, hold, send) }
    }

    impl Rig {
        /// A request with as many entries behind `prev`.
        fn request(&self, prev: u64, entries: u64) {
            let entries = (prev + 1..=prev + entries).map(|index| openraft::Entry {
                log_id: LogId::new_term_index(1, index),
                payload: EntryPayload::Normal(Command::AllocateReplica),
            });
            let request = AppendEntriesRequest {
                vote: Vote::new_committed(1, 1),
                prev_log_id: Some(LogId::new_term_index(1, prev)),
                leader_commit: None,
                entries: entries.collect(),
            };
            self.requests.send(request).expect("it is open");
        }

        fn answer(&self, at: usize, full: bool) {
            self.reply(at, if full { Reply::Taken } else { Reply::InPart });
        }

        fn reply(&self, at: usize, reply: Reply) {
            let tell = self.sent.lock().expect("no test panics here")[at].take();
            tell.expect("answered once").send(reply).expect("it waits");
        }

        fn next_answer(&mut self) -> Appended {
            let answer = self.answers.next().now_or_never();
            answer.expect("one may be handed out").expect("it goes on")
        }

        /// The position of the next answer, if one may be handed out.
        fn next(&mut self) -> Option<u64> {
            let answer = self.answers.next().now_or_never()?.expect("it goes on");
            Some(answer.expect("no error").expect("success").expect("a position").index())
        }
    }

    #[test]
    fn requests_go_ahead_and_answers_come_in_order() {
        let mut rig = rig();
        rig.request(1, 2);
        rig.request(3, 1);
        assert_eq!(rig.next(), None);
        assert_eq!(rig.sent.lock().expect("ours").len(), 2, "both are on their way");
        rig.answer(1, true);
        assert_eq!(rig.next(), None, "the first is not answered");
        rig.answer(0, true);
        assert_eq!((rig.next(), rig.next(), rig.next()), (Some(3), Some(4), None));
    }

    #[test]
    fn an_answer_does_not_vouch_for_an_empty_request_made_after_it() {
        let mut rig = rig();
        rig.request(1, 2);
        assert_eq!(rig.next(), None);
        rig.request(3, 0);
        rig.request(3, 0);
        assert_eq!(rig.next(), None);
        rig.answer(0, true);
        rig.answer(1, true);
        assert_eq!(rig.next(), None, "its position is also that of the empty ones behind it");
        rig.answer(2, true);
        assert_eq!((rig.next(), rig.next(), rig.next()), (Some(3), Some(3), Some(3)));
    }

    #[test]
    fn an_answer_that_is_there_goes_out_before_another_request_is_made() {
        let mut rig = rig();
        rig.request(1, 2);
        assert_eq!(rig.next(), None);
        rig.answer(0, true);
        rig.request(3, 0);
        assert_eq!(rig.next(), Some(3));
        assert_eq!(rig.sent.lock().expect("ours").len(), 1);
        assert_eq!(rig.next(), None, "and now the empty one is on its way");
        rig.answer(1, true);
        assert_eq!(rig.next(), Some(3));
    }

    #[test]
    fn nothing_counts_behind_what_was_not_taken_whole() {
        let mut rig = rig();
        rig.request(1, 2);
        rig.request(3, 1);
        assert_eq!(rig.next(), None);
        rig.answer(0, false);
        rig.answer(1, true);
        assert_eq!(rig.next(), Some(3));
        assert!(rig.answers.next().now_or_never().expect("at once").is_none(), "it ends");
    }

    #[test]
    fn a_request_that_overtook_another_says_nothing_of_the_log() {
        let mut rig = rig();
        rig.request(1, 2);
        rig.request(3, 1);
        assert_eq!(rig.next(), None);
        rig.reply(1, Reply::Conflict);
        rig.reply(0, Reply::Taken);
        assert_eq!(rig.next(), Some(3));
        assert!(matches!(rig.next_answer(), Err(RPCError::Network(_))));
        assert!(rig.answers.next().now_or_never().expect("at once").is_none(), "it ends");
    }

    #[test]
    fn a_conflict_of_a_request_sent_alone_counts() {
        let mut rig = rig();
        rig.request(1, 2);
        assert_eq!(rig.next(), None);
        rig.reply(0, Reply::Conflict);
        assert!(matches!(rig.next_answer(), Ok(Err(StreamAppendError::Conflict(_)))));
    }

    #[test]
    fn no_more_than_so_many_are_under_way() {
        let mut rig = rig();
        for index in 0..20 {
            rig.request(index, 1);
        }
        assert_eq!(rig.next(), None);
        assert_eq!(rig.sent.lock().expect("ours").len(), AHEAD_MAX);
    }
}
