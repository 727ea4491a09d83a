//! Read round-trip times under uncertainty.
//!
//! The mean that readers see is an average of round-trip times, weighted by arrivals per region. Each weight is
//! only known as an interval. **Pessimistic combination:** every region may lie anywhere in its own 90 % interval,
//! independently of the others, and the bound is the worst corner of that box, computed exactly. So a gain counts
//! only if it is there for every mix of readers that the forecast still holds possible.

/// A figure with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub lower: f64,
    pub mean: f64,
    pub upper: f64,
}

/// Puts an interval into order and drops what is not a number: `lower ≤ mean ≤ upper`, all at least 0.
pub(crate) fn tidy(interval: [f64; 3]) -> [f64; 3] {
    let sane = |x: f64| if x.is_finite() { x.max(0.0) } else { 0.0 };
    let mean = sane(interval[1]);
    [
        sane(interval[0]).min(mean),
        mean,
        sane(interval[2]).max(mean),
    ]
}

/// The weighted mean of values at the expected weights; `None` without weight.
pub(crate) fn mean(items: &[([f64; 3], f64)]) -> Option<f64> {
    let weight: f64 = items.iter().map(|(w, _)| w[1]).sum();
    let sum: f64 = items.iter().map(|(w, v)| w[1] * v).sum();
    (weight > 0.0).then(|| sum / weight)
}

/// The weighted mean and the smallest and largest one that the weights' intervals allow.
pub(crate) fn range(items: &[([f64; 3], f64)]) -> Option<Range> {
    let mean = mean(items)?;
    let mut ascending: Vec<([f64; 3], f64)> = items.to_vec();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let lower = extreme(ascending.iter(), f64::min).unwrap_or(mean);
    let upper = extreme(ascending.iter().rev(), f64::max).unwrap_or(mean);
    Some(Range {
        lower: lower.min(mean),
        mean,
        upper: upper.max(mean),
    })
}

/// The extreme of a weighted mean over a box of weights: at the extreme some prefix of the sorted values has its
/// largest weight and the rest its smallest, so trying every prefix is exact.
fn extreme<'a>(
    sorted: impl Iterator<Item = &'a ([f64; 3], f64)> + Clone,
    better: fn(f64, f64) -> f64,
) -> Option<f64> {
    let (mut weight, mut sum) = sorted
        .clone()
        .fold((0.0, 0.0), |(w, s), (i, v)| (w + i[0], s + i[0] * v));
    let mut best = (weight > 0.0).then(|| sum / weight);
    for (interval, value) in sorted {
        weight += interval[2] - interval[0];
        sum += (interval[2] - interval[0]) * value;
        if weight > 0.0 {
            let now = sum / weight;
            best = Some(best.map_or(now, |b| better(b, now)));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn certain_weights_leave_no_range() {
        let r = range(&[([10.0; 3], 80.0), ([30.0; 3], 0.0)]).expect("weights");
        assert_eq!((r.lower, r.mean, r.upper), (20.0, 20.0, 20.0));
        assert!(range(&[([0.0; 3], 5.0)]).is_none() && range(&[]).is_none());
    }

    #[test]
    fn a_doubtful_region_widens_the_range() {
        let r =
            range(&[([60.0, 100.0, 140.0], 80.0), ([0.0, 20.0, 45.0], -80.0)]).expect("weights");
        assert!((r.lower - (60.0 - 45.0) * 80.0 / 105.0).abs() < 1e-9);
        assert_eq!(r.upper, 80.0);
    }

    #[test]
    fn intervals_are_put_in_order() {
        assert_eq!(tidy([5.0, 3.0, 1.0]), [3.0, 3.0, 3.0]);
        assert_eq!(tidy([f64::NAN, -1.0, f64::INFINITY]), [0.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn no_mix_inside_the_box_beats_the_bounds(
            raw in proptest::collection::vec((0.0f64..50.0, 0.0f64..50.0, 0.0f64..50.0, -100.0f64..100.0, 0.0f64..1.0), 1..6)
        ) {
            let items: Vec<_> = raw.iter().map(|(a, b, c, v, _)| (tidy([*a, a + b, a + b + c]), *v)).collect();
            let mix: Vec<_> = items.iter().zip(&raw).map(|((w, v), r)| {
                let at = w[0] + (w[2] - w[0]) * r.4;
                ([at; 3], *v)
            }).collect();
            if let (Some(bounds), Some(inside)) = (range(&items), mean(&mix)) {
                prop_assert!(bounds.lower <= inside + 1e-6 && inside <= bounds.upper + 1e-6);
            }
        }
    }
}
