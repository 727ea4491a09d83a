//! Linearizable reads that wait for the leader to be confirmed. One confirmation serves every read that was there when
//! it began, so that what it costs is shared under load.

use crate::replica::Replica;
use isobar_api::{ApiError, ErrorCode};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// A confirmation may never end: a group that steps down and leads again can forget who asked before. Those who wait for
/// the next one must not wait for that.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
const NOT_CONFIRMED: &str = "the leader was not confirmed in time";

type Confirmed = Result<u64, ApiError>;

#[derive(Default)]
struct State {
    waiting: Vec<oneshot::Sender<Confirmed>>,
    /// Whether a confirmation is under way. It does not serve those who came after it began.
    busy: bool,
}

/// Who waits for the next confirmation.
#[derive(Default)]
pub(crate) struct ReadGate(Mutex<State>);

impl ReadGate {
    /// Joins the next confirmation; whether the caller must begin it.
    fn join(&self) -> (oneshot::Receiver<Confirmed>, bool) {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.push(tell);
        (told, !std::mem::replace(&mut state.busy, true))
    }

    /// Those whom a confirmation that begins now serves; none ends what [`Self::join`] began.
    fn next(&self) -> Option<Vec<oneshot::Sender<Confirmed>>> {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.busy = !waiting.is_empty();
        state.busy.then_some(waiting)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Replica {
    /// Confirms leadership together with others who ask for it, and waits for the apply; the read index. Every write
    /// acknowledged before this call is applied here when it returns.
    pub async fn leader_barrier(self: &Arc<Self>) -> Confirmed {
        let (told, begin) = self.reads.join();
        if begin {
            let replica = self.clone();
            tokio::spawn(async move {
                while let Some(waiting) = replica.reads.next() {
                    let confirmed = timeout(CONFIRMED_WITHIN, replica.confirm_lead()).await;
                    let late = |_| Err(replica.error(ErrorCode::Unavailable, NOT_CONFIRMED));
                    let confirmed = confirmed.unwrap_or_else(late);
                    for tell in waiting {
                        // A closed receiver is a read that has met its deadline.
                        let _ = tell.send(confirmed.clone());
                    }
                }
            });
        }
        let stopped = |_| Err(self.error(ErrorCode::Unavailable, "the node is stopping"));
        told.await.unwrap_or_else(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_a_confirmation_began_waits_for_the_next() {
        let gate = ReadGate::default();
        let (mut first, begin) = gate.join();
        assert!(begin);
        let served = gate.next().expect("one waits");
        let (mut late, begin) = gate.join();
        assert!(!begin, "one is under way");
        for tell in served {
            tell.send(Ok(7)).expect("it waits");
        }
        assert_eq!(first.try_recv(), Ok(Ok(7)));
        assert!(late.try_recv().is_err());
        assert_eq!(gate.next().map(|waiting| waiting.len()), Some(1));
        assert!(gate.next().is_none());
        assert!(gate.join().1, "nothing is under way any more");
    }
}
