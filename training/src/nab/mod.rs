//! The score of the Numenta anomaly benchmark (Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015),
//! as its published results were computed.
//!
//! Each window is worth its earliest alert: 1 at its left edge, falling to nearly 0 at its right. A window without an alert
//! costs the false-negative weight. An alert outside of windows costs the false-positive weight, less of it shortly after a
//! window. The first 15 % of a series, at most 750 points, are not judged.

mod totals;

pub(crate) use totals::Totals;

/// Points of the longest series that probation is a part of.
const PROBATION_POINTS_OF: usize = 5_000;

/// What errors cost; a window found at once is worth 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Profile {
    /// The most that an alert outside of windows costs.
    pub false_positive: f64,
    /// What a window without an alert costs.
    pub false_negative: f64,
}

/// `standard`.
pub(crate) const STANDARD: Profile = Profile { false_positive: 0.11, false_negative: 1.0 };
/// `reward_low_FP_rate`.
pub(crate) const LOW_FP: Profile = Profile { false_positive: 0.22, false_negative: 1.0 };
/// `reward_low_FN_rate`.
pub(crate) const LOW_FN: Profile = Profile { false_positive: 0.11, false_negative: 2.0 };

/// Points at the beginning that are not judged: 15 %, at most 750.
pub(crate) fn probation_points(points: usize) -> usize {
    // In whole numbers: 15 % of 20 points are 3 whatever 0.15 is in binary.
    points.min(PROBATION_POINTS_OF) * 15 / 100
}

/// 1 far before the right edge of a window, 0 at the edge, -1 far behind it; the unit is the window's width.
fn sigmoid(position: f64) -> f64 {
    if position >= 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// What the alerts of one series did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Sum over the windows that were found, each by its earliest alert.
    pub found: f64,
    /// Windows found.
    pub windows_found: usize,
    /// Windows that have a point after probation.
    pub windows: usize,
    /// Alerts outside of windows.
    pub false_alerts: usize,
    /// Alerts within windows.
    pub true_alerts: usize,
    /// Sum over the alerts outside of windows, 0 to -1 each.
    pub false_alarm: f64,
}

impl Outcome {
    /// The score of the series.
    pub(crate) fn score(&self, profile: Profile) -> f64 {
        let missed = (self.windows - self.windows_found) as f64;
        self.found + profile.false_positive * self.false_alarm - profile.false_negative * missed
    }
}

/// Judges the alerts of one series of `points` points. Windows are first and last point, in order and apart; alerts are
/// points in order.
pub(crate) fn judge(points: usize, windows: &[(usize, usize)], alerts: &[usize]) -> Outcome {
    let probation = probation_points(points);
    let mut outcome = Outcome {
        windows: windows.iter().filter(|window| window.1 >= probation).count(),
        ..Outcome::default()
    };
    let mut last_found = None;
    for &alert in alerts.iter().filter(|alert| **alert >= probation) {
        // Windows that begin at or before the alert; the last of them holds it or is the one before it.
        let begun = windows.partition_point(|window| window.0 <= alert);
        match begun.checked_sub(1).map(|window| (window, windows[window])) {
            Some((window, (first, last))) if alert <= last => {
                outcome.true_alerts += 1;
                if last_found == Some(window) {
                    continue;
                }
                last_found = Some(window);
                let width = (last - first + 1) as f64;
                let position = -((last - alert + 1) as f64) / width;
                outcome.windows_found += 1;
                outcome.found += sigmoid(position) / sigmoid(-1.0);
            }
            before => {
                outcome.false_alerts += 1;
                outcome.false_alarm += match before {
                    // A window of one point has no width to be behind by.
                    Some((_, (first, last))) if last > first => {
                        sigmoid((alert - last) as f64 / (last - first) as f64)
                    }
                    _ => -1.0,
                };
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts of the benchmark: the length of a series, its label windows, the alerts of the published `windowedGaussian`
    /// detector, and the score, true and false positives that the benchmark's authors published for it (standard profile).
    type Published = (usize, &'static [(usize, usize)], &'static [usize], f64, usize, usize);

    const PUBLISHED: [Published; 5] = [
        // realAdExchange/exchange-4_cpm_results
        (
            1643,
            &[(347, 387), (729, 769), (1256, 1296), (1381, 1421)],
            &[1, 240, 367, 372, 514, 518, 1276, 1401, 1565],
            1.274_710_362_68,
            4,
            3,
        ),
        // realAdExchange/exchange-3_cpc_results
        (
            1538,
            &[(271, 321), (413, 463), (952, 1002)],
            &[1, 22, 23, 296, 297, 438, 439, 976, 1121],
            2.502_663_261_19,
            5,
            1,
        ),
        // realAWSCloudwatch/ec2_cpu_utilization_fe7f93
        (
            4032,
            &[(698, 832), (2064, 2198), (2535, 2669)],
            &[1, 11, 66, 67, 760, 761, 764, 766, 767, 2131, 3921],
            0.638_757_791_772,
            6,
            1,
        ),
        // realKnownCause/rogue_agent_key_updown
        (
            5315,
            &[(2243, 2507), (2877, 3141)],
            &[
                1, 240, 245, 248, 258, 288, 559, 561, 575, 593, 1148, 1172, 2466, 2515, 4400, 4425,
                4807, 5089, 5146,
            ],
            -1.396_490_895_5,
            1,
            8,
        ),
        // realKnownCause/rogue_agent_key_hold
        (
            1882,
            &[(669, 763), (1240, 1334)],
            &[1, 4, 6, 152, 245, 432, 1622, 1657, 1781],
            -2.44,
            0,
            4,
        ),
    ];

    #[test]
    fn published_scores_are_met() {
        for (points, windows, alerts, score, true_alerts, false_alerts) in PUBLISHED {
            let outcome = judge(points, windows, alerts);
            assert!((outcome.score(STANDARD) - score).abs() < 1e-9, "{outcome:?} {score}");
            assert_eq!((outcome.true_alerts, outcome.false_alerts), (true_alerts, false_alerts));
        }
    }

    #[test]
    fn profiles_weigh_errors() {
        // Far in front of any window; no window is found.
        let outcome = judge(1000, &[(500, 599)], &[200, 300]);
        assert!((outcome.score(STANDARD) + 1.22).abs() < 1e-12);
        assert!((outcome.score(LOW_FP) + 1.44).abs() < 1e-12);
        assert!((outcome.score(LOW_FN) + 2.22).abs() < 1e-12);
    }

    #[test]
    fn probation_is_not_judged() {
        assert_eq!([20, 1643, 5000, 22_695].map(probation_points), [3, 246, 750, 750]);
        assert_eq!(judge(1000, &[(500, 599)], &[0, 149]).false_alerts, 0);
        assert_eq!(judge(1000, &[(500, 599)], &[150]).false_alerts, 1);
        // A window that ends within cannot be missed; of one that reaches out the rest counts.
        assert_eq!(judge(1000, &[(0, 100)], &[50]).score(STANDARD), 0.0);
        assert_eq!(judge(1000, &[(100, 199)], &[120]).windows_found, 0);
        assert_eq!(judge(1000, &[(100, 199)], &[160]).windows_found, 1);
        assert_eq!(judge(0, &[], &[]).score(STANDARD), 0.0);
        assert_eq!(judge(10, &[(5, 5)], &[5, 6]).false_alarm, -1.0);
    }
}
