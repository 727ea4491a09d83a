//! What a client takes on, and how much it adds to the load of a node that has too much.

use crate::lane::LaneKind;
use isobar_api::{ApiError, ErrorCode};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

/// When to come again, if this client itself has no room, milliseconds.
const RETRY_MS: u64 = 20;
/// Retries that a client which was not refused for long may make at once.
const RETRIES_SAVED: i64 = 100;
const WHOLE: i64 = 100;

/// Room for operations of one kind, and for some that wait for it.
pub(crate) struct Room {
    permits: Semaphore,
    in_flight_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// Counts an operation as long as it waits.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Room {
    fn new(in_flight_max: usize, waiting_max: usize) -> Self {
        let permits = Semaphore::new(in_flight_max);
        Self { permits, in_flight_max, waiting: AtomicUsize::new(0), waiting_max }
    }

    async fn enter(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, ApiError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        if before < self.waiting_max
            && let Ok(Ok(permit)) = timeout_at(deadline, self.permits.acquire()).await
        {
            return Ok(permit);
        }
        let message =
            format!("{} operations of this client are under way already", self.in_flight_max);
        Err(ApiError::new(ErrorCode::Overloaded, message).retry_after_ms(RETRY_MS))
    }
}

/// Room for reads, and apart from them for writes: a disk that is slow to write must not stop reads.
pub(crate) struct Rooms {
    reads: Room,
    writes: Room,
}

impl Rooms {
    pub(crate) fn new(in_flight_max: usize, waiting_max: usize) -> Self {
        let room = || Room::new(in_flight_max, waiting_max);
        Self { reads: room(), writes: room() }
    }

    /// Room for one more operation. Waits for it until the deadline, if not too many wait already.
    pub(crate) async fn enter(
        &self,
        kind: LaneKind,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, ApiError> {
        match kind {
            LaneKind::Reads => self.reads.enter(deadline).await,
            LaneKind::Writes => self.writes.enter(deadline).await,
        }
    }
}

/// How many requests may be sent again because a node had too much to do: a share of all operations. Without it, the more
/// a node refuses the more it would be asked.
pub(crate) struct RetryBudget {
    percent: i64,
    /// Hundredths of a retry.
    saved: AtomicI64,
}

impl RetryBudget {
    pub(crate) fn new(percent: u32) -> Self {
        let saved = if percent == 0 { 0 } else { RETRIES_SAVED * WHOLE };
        Self { percent: i64::from(percent), saved: AtomicI64::new(saved) }
    }

    /// An operation has begun.
    pub(crate) fn earn(&self) {
        // Those who earn at the same moment may go a little beyond; that does no harm.
        if self.saved.load(Relaxed) < RETRIES_SAVED * WHOLE {
            self.saved.fetch_add(self.percent, Relaxed);
        }
    }

    /// Whether one request may be sent again.
    pub(crate) fn spend(&self) -> bool {
        let left = |saved: i64| (saved >= WHOLE).then_some(saved - WHOLE);
        self.saved.fetch_update(Relaxed, Relaxed, left).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn some_may_wait_and_more_are_refused_at_once() {
        let rooms = std::sync::Arc::new(Rooms::new(1, 1));
        let far = Instant::now() + Duration::from_secs(60);
        let held = rooms.enter(LaneKind::Writes, far).await.expect("room");
        let waits = tokio::spawn({
            let rooms = rooms.clone();
            async move { rooms.enter(LaneKind::Writes, far).await.map(drop) }
        });
        while rooms.writes.waiting.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = rooms.enter(LaneKind::Writes, far).await.expect_err("one waits already");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Overloaded, RETRY_MS));
        drop(rooms.enter(LaneKind::Reads, soon()).await.expect("reads have room of their own"));
        drop(held);
        waits.await.expect("no panic").expect("its turn");
        assert_eq!(rooms.writes.waiting.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn the_wait_ends_at_the_deadline() {
        let rooms = Rooms::new(1, 1);
        let _held = rooms.enter(LaneKind::Reads, soon()).await.expect("room");
        let late = rooms.enter(LaneKind::Reads, soon()).await.expect_err("no room in time");
        assert_eq!(late.code, ErrorCode::Overloaded);
    }

    #[test]
    fn retries_are_a_share_of_the_operations() {
        let budget = RetryBudget::new(10);
        let spend = || (0..10_000).take_while(|_| budget.spend()).count();
        assert_eq!(spend(), RETRIES_SAVED as usize, "what was saved");
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!(spend(), 100);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!(spend(), RETRIES_SAVED as usize, "no more is saved");
        let none = RetryBudget::new(0);
        none.earn();
        assert!(!none.spend());
    }
}
