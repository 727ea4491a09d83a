//! Waiting between attempts: exponential with jitter, never shorter than a node asked for.

use std::time::Duration;

const FIRST_MS: u64 = 8;
const LONGEST_MS: u64 = 400;

/// The pause before the attempt after `failed_rounds` failed rounds. `random` is uniform in 0 to 1:
/// half of the pause is fixed and half is jitter, and what a node asked for is made longer by up to a half, so that
/// clients do not come back in step.
pub(crate) fn pause(failed_rounds: u32, retry_after_ms: u64, random: f64) -> Duration {
    let full_ms = (FIRST_MS << failed_rounds.min(10)).min(LONGEST_MS) as f64;
    let jitter = 0.5 * random.clamp(0.0, 1.0);
    let asked_ms = retry_after_ms.min(5_000) as f64 * (1.0 + jitter);
    Duration::from_micros(((full_ms * (0.5 + jitter) + asked_ms) * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_respect_the_node() {
        let ms = |round, after, random| pause(round, after, random).as_millis();
        assert!(ms(0, 0, 1.0) <= u128::from(FIRST_MS));
        assert!(ms(3, 0, 0.0) > ms(0, 0, 1.0));
        assert_eq!(ms(63, 0, 1.0), u128::from(LONGEST_MS));
        assert!(ms(0, 50, 0.0) >= 50);
        assert!(ms(0, 200, 1.0) > ms(0, 200, 0.0) + 90);
        assert!(ms(2, 0, 0.0) < ms(2, 0, 1.0));
    }
}
