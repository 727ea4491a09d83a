//! How well scores rank what was labelled: average precision, the volume under the range PR surface, and whether the
//! named signals are those at fault.

use std::cmp::Ordering;

/// Thresholds of the volume, as TSB-AD has them.
const THRESHOLDS: usize = 250;

/// Area under the precision-recall curve as average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores; what has
/// the same score is taken in together, so the order of the rows does not matter. `None` without a positive.
pub fn average_precision(labels: &[bool], scores: &[f64]) -> Option<f64> {
    let positives = labels.iter().filter(|&&label| label).count() as f64;
    if positives == 0.0 || labels.len() != scores.len() {
        return None;
    }
    let order = descending(scores);
    let (mut found, mut area, mut at) = (0.0, 0.0, 0);
    while at < order.len() {
        let score = scores[order[at]];
        let mut new = 0.0;
        while at < order.len() && scores[order[at]].total_cmp(&score) == Ordering::Equal {
            new += f64::from(u8::from(labels[order[at]]));
            at += 1;
        }
        found += new;
        area += new / positives * found / at as f64;
    }
    Some(area)
}

/// Volume under the range-based precision-recall surface (Paparrizos et al., "Volume Under the Surface", PVLDB 15,
/// 2022) for buffers of 0 to `window` steps around each labelled range, computed as TSB-AD does (its `RangeAUC_volume_opt`, 250 thresholds).
/// `None` where nothing is labelled.
pub fn vus_pr(labels: &[bool], scores: &[f64], window: usize) -> Option<f64> {
    let ranges = ranges(labels);
    if ranges.is_empty() || labels.len() != scores.len() {
        return None;
    }
    let order = descending(scores);
    let cuts = cuts(&order, scores);
    let widest = buffered(&ranges, window, labels.len());
    let volume: f64 = (0..=window)
        .map(|buffer| range_area(&ranges, &widest, buffer, &order, &cuts, scores))
        .sum();
    Some(volume / (window as f64 + 1.0))
}

/// Labelled ranges as first and last step.
fn ranges(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for at in (0..labels.len()).filter(|&at| labels[at]) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => ranges.push((at, at)),
        }
    }
    ranges
}

/// For each threshold its score and how many steps reach it.
fn cuts(order: &[usize], scores: &[f64]) -> Vec<(f64, usize)> {
    let last = order.len() - 1;
    let place = |k: usize| (k as f64 * (last as f64 / (THRESHOLDS - 1) as f64)) as usize;
    (0..THRESHOLDS)
        .map(|k| {
            let score = scores[order[if k + 1 == THRESHOLDS { last } else { place(k) }]];
            let reached = order.partition_point(|&at| scores[at].total_cmp(&score).is_ge());
            (score, reached)
        })
        .collect()
}

/// The ranges with half a buffer on both sides, joined where these touch.
fn buffered(ranges: &[(usize, usize)], buffer: usize, length: usize) -> Vec<(usize, usize)> {
    let half = buffer / 2;
    let mut start = ranges[0].0.saturating_sub(half);
    let mut joined = Vec::new();
    for pair in ranges.windows(2) {
        if pair[0].1 + half + half < pair[1].0 {
            joined.push((start, pair[0].1 + half));
            start = pair[1].0 - half;
        }
    }
    joined.push((start, (ranges[ranges.len() - 1].1 + half).min(length - 1)));
    joined
}

/// 1 in a range, falling off to its sides over half a buffer.
fn soft_labels(ranges: &[(usize, usize)], buffer: usize, length: usize) -> Vec<f64> {
    let mut soft = vec![0.0_f64; length];
    let (half, width) = (buffer / 2, buffer as f64);
    for &(start, end) in ranges {
        soft[start..=end].fill(1.0);
    }
    for &(start, end) in ranges {
        for (far, at) in (end + 1..(end + half + 1).min(length)).enumerate() {
            soft[at] = (soft[at] + (1.0 - (far as f64 + 1.0) / width).sqrt()).min(1.0);
        }
        for at in start.saturating_sub(half)..start {
            soft[at] = (soft[at] + (1.0 - (start - at) as f64 / width).sqrt()).min(1.0);
        }
    }
    soft
}

fn range_area(
    ranges: &[(usize, usize)],
    widest: &[(usize, usize)],
    buffer: usize,
    order: &[usize],
    cuts: &[(f64, usize)],
    scores: &[f64],
) -> f64 {
    let length = scores.len();
    let soft = soft_labels(ranges, buffer, length);
    let mut counted = vec![false; length];
    for &(start, end) in widest {
        counted[start..=end].fill(true);
    }
    let mut hard = vec![false; length];
    for &(start, end) in ranges {
        hard[start..=end].fill(true);
    }
    let labelled = hard.iter().filter(|&&h| h).count() as f64;
    let segments = buffered(ranges, buffer, length);
    let highest = |&(start, end): &(usize, usize)| {
        scores[start..=end].iter().copied().max_by(f64::total_cmp).expect("not empty")
    };
    let peaks: Vec<f64> = segments.iter().map(highest).collect();
    let (mut hits, mut beside, mut taken) = (0.0, 0.0, 0);
    let (mut area, mut before) = (0.0, 0.0);
    for &(score, reached) in cuts {
        for &at in &order[taken..reached.max(taken)] {
            if counted[at] {
                hits += if hard[at] { 1.0 } else { soft[at] };
                beside += if hard[at] { 0.0 } else { soft[at] };
            }
        }
        taken = reached.max(taken);
        let seen = peaks.iter().filter(|peak| peak.total_cmp(&score).is_ge()).count() as f64;
        // Between the labelled steps and those labelled softly, so that recall is neither too large nor too small.
        let wanted = labelled + beside / 2.0;
        let recall = (hits / wanted).min(1.0) * seen / segments.len() as f64;
        area += (recall - before) * hits / reached.max(1) as f64;
        before = recall;
    }
    area
}

/// The share of the first `k` signals that are at fault, out of as many as could be: |first k ∩ faulty| / min(k, |faulty|).
/// The strict reading of hit@k; `ranked` has the most suspicious signal first. `None` where nothing is at fault.
pub fn hits_at(k: usize, ranked: &[usize], faulty: &[usize]) -> Option<f64> {
    let possible = k.min(faulty.len());
    let hits = ranked.iter().take(k).filter(|signal| faulty.contains(signal)).count();
    (possible > 0).then(|| hits as f64 / possible as f64)
}

/// Places of the scores, highest first; among equal ones the earlier first. NaN of positive sign is highest.
pub(crate) fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE_AP: f64 = 0.275_089_081_895;
    const REFERENCE_VUS: [(usize, f64); 4] = [
        (0, 0.254_531_176_217),
        (1, 0.254_531_176_217),
        (10, 0.296_362_198_042),
        (100, 0.550_951_622_265),
    ];

    fn flags(text: &str) -> Vec<bool> {
        text.bytes().map(|b| b == b'1').collect()
    }

    /// The series that the reference values below were computed on with scikit-learn and TSB-AD.
    fn example() -> (Vec<bool>, Vec<f64>) {
        let labels: Vec<bool> = (0..600)
            .map(|t| (100..130).contains(&t) || (290..295).contains(&t) || t >= 580)
            .collect();
        let scores = (0..600_usize)
            .map(|t| {
                let noise = ((t * 7919 + 13) % 1009) as f64 / 1009.0;
                let lift =
                    if (105..140).contains(&t) || (288..300).contains(&t) { 0.45 } else { 0.0 };
                ((noise + lift) * 50.0).floor() / 50.0
            })
            .collect();
        (labels, scores)
    }

    #[test]
    fn average_precision_is_that_of_scikit_learn_also_with_ties() {
        let ap = average_precision(&flags("1010"), &[0.9, 0.8, 0.7, 0.1]).expect("positives");
        assert!((ap - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12, "{ap}");
        let tied = average_precision(&flags("1000"), &[1.0; 4]).expect("positives");
        assert!((tied - 0.25).abs() < 1e-12, "a constant score is worth the base rate: {tied}");
        let (labels, scores) = example();
        let ap = average_precision(&labels, &scores).expect("positives");
        assert!((ap - REFERENCE_AP).abs() < 1e-9, "{ap}");
        assert_eq!(average_precision(&flags("000"), &[1.0; 3]), None);
        assert_eq!(average_precision(&[], &[]), None);
    }

    #[test]
    fn the_volume_is_that_of_tsb_ad() {
        let (labels, scores) = example();
        for (window, wanted) in REFERENCE_VUS {
            let vus = vus_pr(&labels, &scores, window).expect("labelled");
            assert!((vus - wanted).abs() < 1e-9, "window {window}: {vus}, not {wanted}");
        }
        assert_eq!(vus_pr(&flags("000"), &[0.0; 3], 100), None);
        assert!(vus_pr(&flags("1"), &[0.0], 100).is_some());
    }

    #[test]
    fn hits_count_against_what_was_possible() {
        assert_eq!(hits_at(3, &[4, 1, 2, 0], &[0, 1, 2]), Some(2.0 / 3.0));
        assert_eq!(hits_at(3, &[4, 1, 2, 0], &[4]), Some(1.0));
        assert_eq!(hits_at(3, &[4, 1, 2, 0], &[0]), Some(0.0));
        assert_eq!(hits_at(3, &[4, 1, 2, 0], &[]), None);
    }
}
