//! Refusing here what a node would refuse.
//!
//! A refusal by a node costs both sides a request and an answer, and the more a node refuses the less it gets done. So of
//! what the caller wants of a node that has lately refused a part, only somewhat more is sent than the node took; the
//! rest is refused before anything is made for it. What is sent beyond finds out when the node takes more again.

use isobar_api::{ApiError, ErrorCode};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// Counts fade by a quarter in each of these.
const SLOT_MS: u64 = 100;
/// A node that took a hundred is sent so many.
const SENT_PERCENT: u64 = 120;
/// Of a hundred operations some are sent in any case.
const DENIED_PERCENT_MAX: u64 = 90;
/// Fewer refusals than this, of late, change nothing.
const REFUSALS_MIN: u64 = 32;
/// After so many without a refusal nothing is left of the counts.
const SLOTS_KEPT: u64 = 64;
/// When to come again at the latest, milliseconds.
const RETRY_MS_MAX: u64 = 1_000;

/// What became lately of requests of one kind to one node.
pub(crate) struct Throttle {
    born: Instant,
    slot: AtomicU64,
    sent: AtomicU64,
    /// Refused by the node.
    refused: AtomicU64,
    /// Refused here.
    denied: AtomicU64,
    retry_after_ms: AtomicU64,
    /// Counts what asks, to pick evenly.
    turns: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            born: Instant::now(),
            slot: AtomicU64::new(0),
            sent: none(),
            refused: none(),
            denied: none(),
            retry_after_ms: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        }
    }
}

impl Throttle {
    /// A request goes to the node.
    pub(crate) fn sending(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// The node refused one.
    pub(crate) fn refused(&self, retry_after_ms: u64) {
        self.fade();
        self.refused.fetch_add(1, Relaxed);
        self.retry_after_ms.store(retry_after_ms.min(RETRY_MS_MAX), Relaxed);
    }

    /// Whether an operation may go on; if not, the refusal.
    pub(crate) fn admit(&self) -> Result<(), ApiError> {
        if self.refused.load(Relaxed) == 0 {
            return Ok(());
        }
        self.fade();
        let percent = self.denied_percent();
        if !is_denied(self.turns.fetch_add(1, Relaxed), percent) {
            return Ok(());
        }
        self.denied.fetch_add(1, Relaxed);
        let message = "the node has lately refused what was sent beyond what is sent now";
        let retry_ms = self.retry_after_ms.load(Relaxed);
        Err(ApiError::new(ErrorCode::Overloaded, message).retry_after_ms(retry_ms.max(1)))
    }

    fn denied_percent(&self) -> u64 {
        let refused = self.refused.load(Relaxed);
        if refused < REFUSALS_MIN {
            return 0;
        }
        let sent = self.sent.load(Relaxed);
        let (taken, wanted) = (sent.saturating_sub(refused), sent + self.denied.load(Relaxed));
        let sent_percent = taken * SENT_PERCENT / wanted.max(1);
        100_u64.saturating_sub(sent_percent).min(DENIED_PERCENT_MAX)
    }

    fn fade(&self) {
        let now = self.born.elapsed().as_millis() as u64 / SLOT_MS;
        let before = self.slot.load(Relaxed);
        if now <= before || self.slot.compare_exchange(before, now, Relaxed, Relaxed).is_err() {
            return;
        }
        let slots = (now - before).min(SLOTS_KEPT) as i32;
        let kept = 0.75_f64.powi(slots);
        for count in [&self.sent, &self.refused, &self.denied] {
            // What others add meanwhile may be lost; these are no accounts.
            count.store((count.load(Relaxed) as f64 * kept) as u64, Relaxed);
        }
    }
}

/// When any node last refused a part: while none did, nobody need ask which.
pub(crate) struct LastRefusal {
    born: Instant,
    /// Since then; 0: never.
    slot: AtomicU64,
}

impl Default for LastRefusal {
    fn default() -> Self {
        Self { born: Instant::now(), slot: AtomicU64::new(0) }
    }
}

impl LastRefusal {
    pub(crate) fn is_now(&self) {
        self.slot.store(self.now(), Relaxed);
    }

    /// Whether a throttle may still remember it.
    pub(crate) fn matters(&self) -> bool {
        let slot = self.slot.load(Relaxed);
        slot != 0 && self.now().saturating_sub(slot) <= SLOTS_KEPT
    }

    fn now(&self) -> u64 {
        1 + self.born.elapsed().as_millis() as u64 / SLOT_MS
    }
}

/// As even as can be: of each hundred turns in a row so many.
fn is_denied(turn: u64, percent: u64) -> bool {
    turn % 100 * percent % 100 + percent >= 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_matters_until_nothing_remembers_it() {
        let last = LastRefusal::default();
        assert!(!last.matters(), "never yet");
        last.is_now();
        assert!(last.matters());
        let born = Instant::now().checked_sub(std::time::Duration::from_secs(60));
        let old = LastRefusal { born: born.expect("the machine runs for longer"), ..last };
        assert!(!old.matters());
    }

    /// Of so many operations, how many are admitted by a throttle that has seen so many sent and refused.
    fn admitted(sent: u64, refused: u64) -> usize {
        let throttle = Throttle::default();
        throttle.sent.store(sent, Relaxed);
        throttle.refused.store(refused, Relaxed);
        let percent = throttle.denied_percent();
        (0..1_000).filter(|turn| !is_denied(*turn, percent)).count()
    }

    #[test]
    fn sends_somewhat_more_than_the_node_took() {
        assert_eq!(admitted(1_000, 0), 1_000);
        assert_eq!(admitted(1_000, 20), 1_000, "too few refusals to say anything");
        assert_eq!(admitted(1_000, 500), 600);
        assert_eq!(admitted(1_000, 1_000), 100, "some always go, to find out");
        assert_eq!(admitted(1_000, 100), 1_000, "the node takes nearly all");
    }

    #[test]
    fn a_denied_operation_says_when_to_come_again_and_without_refusals_none_is() {
        let throttle = Throttle::default();
        (0..10_000).for_each(|_| throttle.sending());
        assert!((0..1_000).all(|_| throttle.admit().is_ok()));
        let throttle = Throttle::default();
        throttle.slot.store(u64::MAX, Relaxed);
        for _ in 0..200 {
            throttle.sending();
            throttle.refused(70);
        }
        let denied: Vec<ApiError> = (0..100).filter_map(|_| throttle.admit().err()).collect();
        assert!((80..=95).contains(&denied.len()), "{}", denied.len());
        assert_eq!((denied[0].code, denied[0].retry_after_ms), (ErrorCode::Overloaded, 70));
    }

    /// One that only its fading changes: no slot ends while it is filled and asked.
    fn timeless() -> Throttle {
        let throttle = Throttle::default();
        throttle.slot.store(u64::MAX, Relaxed);
        throttle
    }

    fn denied(throttle: &Throttle) -> usize {
        (0..100).filter(|_| throttle.admit().is_err()).count()
    }

    #[test]
    fn refusals_fade_and_the_node_is_sent_everything_again() {
        let after_ms = |ms| {
            let throttle = timeless();
            for _ in 0..1_000 {
                throttle.sending();
                throttle.refused(70);
            }
            assert!(denied(&throttle) >= 80);
            let began = throttle.born.checked_sub(std::time::Duration::from_millis(ms));
            throttle.slot.store(0, Relaxed);
            denied(&Throttle { born: began.expect("the machine runs for longer"), ..throttle })
        };
        assert!(after_ms(200) >= 80, "a moment later most of it is still known");
        assert_eq!(after_ms(3_000), 0);
    }

    /// What is refused here is wanted all the same: otherwise the node would be sent more than it takes, for ever.
    #[test]
    fn a_node_that_takes_a_tenth_is_not_sent_much_more_than_that() {
        let throttle = timeless();
        let mut sent = 0;
        for _ in 0..50 {
            sent = 0;
            for _ in 0..1_000 {
                if throttle.admit().is_ok() {
                    throttle.sending();
                    sent += 1;
                    if sent > 100 {
                        throttle.refused(70);
                    }
                }
            }
        }
        assert!((100..=150).contains(&sent), "{sent} of 1,000");
    }
}
