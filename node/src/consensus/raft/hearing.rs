//! A leader that asks in vain falls silent, so that the others elect.
//!
//! A leader that does not hear the others cannot commit, but they hear it, and each of its messages keeps them from
//! electing for as long as a lease lasts. So once no quorum has answered for a lease, it sends nothing for two of them:
//! the first ends what its last message granted, the second is the longest wait before somebody stands. Then it asks
//! again, for as long: nobody may have been able to elect, and the way may be free.
//! Only what was asked counts. A group that has nothing to say for an hour has not been left without an answer.

use super::types::{Raft, TypeConfig};
use openraft::{
    RaftMetrics,
    async_runtime::WatchReceiver,
    type_config::alias::{InstantOf, WatchReceiverOf},
};
use std::{
    sync::{Mutex, OnceLock},
    time::Duration,
};
use tokio::time::Instant;

/// Since when a leader has asked without an answer from a quorum. `A` is how the last answer is told from others.
#[derive(Debug)]
struct Vain<A> {
    answered: A,
    since: Instant,
    last_asked: Instant,
}

impl<A: PartialEq> Vain<A> {
    /// Whether a message may go out now, when `answered` was the last time at which a quorum had answered.
    fn may_ask(&mut self, now: Instant, answered: A, lease: Duration) -> bool {
        let paused = now.duration_since(self.last_asked) > lease;
        if paused || self.answered != answered {
            (self.answered, self.since) = (answered, now);
        }
        self.last_asked = now;
        let Some(over) = now.duration_since(self.since).checked_sub(lease) else { return true };
        let periods = over.as_nanos() / (2 * lease).as_nanos().max(1);
        periods % 2 == 1
    }
}

type Answered = Option<InstantOf<TypeConfig>>;

/// What a group's leader has heard of late. All ways to its replicas share it.
#[derive(Default)]
pub struct Hearing {
    group: OnceLock<Group>,
    vain: Mutex<Option<Vain<Answered>>>,
}

struct Group {
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    lease: Duration,
}

impl Hearing {
    /// Listens to this group from now on.
    pub fn attach(&self, raft: &Raft) {
        let lease = Duration::from_millis(raft.config().election_timeout_max);
        let _ = self.group.set(Group { metrics: raft.metrics(), lease });
    }

    /// Whether a message of the leader may go out now.
    pub fn may_ask(&self) -> bool {
        let Some(group) = self.group.get() else { return true };
        let (answered, alone) = {
            let metrics = group.metrics.borrow_watched();
            let answered = metrics.last_quorum_acked.as_ref().map(|at| **at);
            (answered, metrics.membership_config.voter_ids().nth(1).is_none())
        };
        let now = Instant::now();
        let mut vain = self.vain.lock().expect("no holder of this lock panics");
        let vain = vain.get_or_insert(Vain { answered, since: now, last_asked: now });
        // A single voter commits without anybody's answer.
        vain.may_ask(now, answered, group.lease) || alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(1_000);

    /// Whether it may ask at these moments, milliseconds, each with the number of the last answer.
    fn asks(moments: impl IntoIterator<Item = (u64, u32)>) -> Vec<bool> {
        let began = Instant::now();
        let mut vain = Vain { answered: 0, since: began, last_asked: began };
        let at = |ms| began + Duration::from_millis(ms);
        moments.into_iter().map(|(ms, answer)| vain.may_ask(at(ms), answer, LEASE)).collect()
    }

    #[test]
    fn in_vain_for_a_lease_then_silent_for_two_then_asking_for_two() {
        let asked = asks((0..60).map(|tick| (tick * 100, 0)));
        let silent = |ms: usize| !asked[ms / 100];
        assert!((0..1_000).step_by(100).all(|ms| !silent(ms)));
        assert!((1_000..3_000).step_by(100).all(silent));
        assert!((3_000..5_000).step_by(100).all(|ms| !silent(ms)));
        assert!((5_000..6_000).step_by(100).all(silent));
    }

    #[test]
    fn an_answer_and_a_pause_begin_anew() {
        assert!(asks((0..60).map(|tick| (tick * 100, tick as u32 / 9))).iter().all(|may| *may));
        let answered = asks([(900, 0), (1_800, 0), (2_000, 1), (2_900, 1), (3_100, 1)]);
        assert_eq!(answered, [true, false, true, true, false]);
        let paused = asks([(900, 0), (7_200_000, 0), (7_200_900, 0), (7_201_200, 0)]);
        assert_eq!(paused, [true, true, true, false]);
    }
}
