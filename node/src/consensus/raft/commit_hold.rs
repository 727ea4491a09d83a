//! When the next append request may be made: at once for entries, a little later for nothing but a commit.
//!
//! An entry's commit is known right after the entry was answered, and the library makes a request of its own for it.
//! Under load the next entry is only moments away and takes the commit along, so that request and its answer would be
//! half of all messages between the nodes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};
use tokio_stream::{Stream, wrappers::WatchStream};

/// How long a commit waits for an entry to travel with, from the last request on. Followers apply so much later at
/// most, which only reads that wait for a follower see.
const HELD_MAX: Duration = Duration::from_millis(2);

/// Holds back requests that would only tell of a commit.
pub(super) struct CommitHold {
    /// The last index of the log, as it grows. None: whoever writes the log is gone, and nothing is held back.
    appended: Option<WatchStream<u64>>,
    appended_index: u64,
    /// The last index that was sent. None: nothing was; the first request opens the stream and is never held.
    sent_index: Option<u64>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl CommitHold {
    pub(super) fn new(appended: watch::Receiver<u64>) -> Self {
        let appended = Some(WatchStream::new(appended));
        Self { appended, appended_index: 0, sent_index: None, since: None, timer: None }
    }

    /// A request was made that ends with this index.
    pub(super) fn made(&mut self, last_index: u64) {
        self.sent_index = Some(last_index);
        self.since = Some(Instant::now());
    }

    /// Ready once the next request may be asked for.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Some(sent_index), Some(since)) = (self.sent_index, self.since) else {
            return Poll::Ready(());
        };
        while let Some(appended) = &mut self.appended {
            match Pin::new(appended).poll_next(context) {
                Poll::Ready(Some(index)) => self.appended_index = index,
                Poll::Ready(None) => self.appended = None,
                Poll::Pending => break,
            }
        }
        if self.appended.is_none() || self.appended_index > sent_index {
            return Poll::Ready(());
        }
        let due = since + HELD_MAX;
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::poll_fn};

    fn ready(hold: &mut CommitHold) -> bool {
        poll_fn(|context| hold.poll_next(context)).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_waits_for_an_entry_or_its_time_and_the_first_request_for_nothing() {
        let (appended, log) = watch::channel(7);
        let mut hold = CommitHold::new(log);
        assert!(ready(&mut hold), "the first");
        hold.made(7);
        assert!(!ready(&mut hold), "all of the log was sent");
        appended.send_replace(8);
        assert!(ready(&mut hold), "there is an entry");
        hold.made(8);
        let began = Instant::now();
        poll_fn(|context| hold.poll_next(context)).await;
        assert_eq!(began.elapsed(), HELD_MAX, "no entry came");
        assert!(ready(&mut hold), "its time is over until a request is made");
        hold.made(8);
        assert!(!ready(&mut hold));
        drop(appended);
        assert!(ready(&mut hold), "no entry can come any more");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_by_an_entry() {
        let (appended, log) = watch::channel(7);
        let mut hold = CommitHold::new(log);
        hold.made(7);
        let began = Instant::now();
        let entry = async {
            tokio::task::yield_now().await;
            appended.send_replace(8);
        };
        tokio::join!(poll_fn(|context| hold.poll_next(context)), entry);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
