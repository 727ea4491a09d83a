//! Split: a shard that is too hot or too large is cut in two where its requests divide.
//!
//! The halves stay where they are; later plans spread their leaders. A shard whose heat is one key is not cut:
//! the halves would be as hot as the whole.

use super::{
    Planning,
    draft::Draft,
    gates,
    record::Stage,
    reject::Reject,
    score::{self, Score},
};
use isobar_api::{
    directive::{DirectiveKind, Step},
    plan::Effect,
    table::key_from_text,
};

const PRIORITY: u8 = 120;
/// The octiles cut the requests into so many equal parts.
const PARTS: f64 = 8.0;

/// A cut that was found: the key and the part of the requests that lies below it.
struct Cut {
    at_key: String,
    left_share: f64,
}

/// Cuts what is too hot or too large, hottest first.
pub(crate) fn run(p: &mut Planning<'_>) {
    let policy = &p.facts.input.policy.split;
    let hot = |s: usize| {
        p.facts.shards[s].forecast.is_some()
            && p.facts.shards[s].load[0] > policy.requests_per_s_max
    };
    let large = |s: usize| p.facts.shards[s].view.size_bytes > policy.size_bytes_max;
    let mut wishes: Vec<(Score, usize, bool)> = (0..p.facts.shards.len())
        .filter(|s| hot(*s) || large(*s))
        .map(|s| {
            let node_load_milli = -score::milli(p.facts.shards[s].load[0]);
            (Score { node_load_milli, ..Score::default() }, s, hot(s))
        })
        .collect();
    wishes.sort_unstable();
    for (score, s, by_load) in wishes {
        match draft(p, s, by_load, score) {
            Ok(draft) => drop(p.submit(draft)),
            Err(why) => {
                let id = p.facts.shards[s].id;
                p.record.rejected(Stage::Split, id, DirectiveKind::Split, Vec::new(), score, why);
            }
        }
    }
}

fn gate(p: &Planning<'_>, s: usize, by_load: bool) -> Option<Reject> {
    let (input, shard) = (p.facts.input, &p.facts.shards[s]);
    let closed = gates::open(p, s).or_else(|| gates::sight(p, s));
    let closed = closed.or_else(|| if by_load { gates::foreseen(p, s) } else { None });
    if closed.is_some() {
        return closed;
    }
    // Every replica is cut, so every replica's node is touched.
    let mut nodes = shard.view.entry.replicas.iter().map(|r| r.node_id);
    if let Some(node) = nodes.find(|n| p.facts.node_frozen(*n)) {
        return Some(Reject::NodeFrozen(node));
    }
    let dwell_ms = input.policy.split.dwell_s.saturating_mul(1_000);
    let quiet_ms = input.age_ms(Some(shard.view.changed_unix_ms)).unwrap_or(0);
    if quiet_ms < dwell_ms {
        return Some(Reject::SplitDwell { left_s: (dwell_ms - quiet_ms).div_ceil(1_000) });
    }
    let hottest = shard.view.hot_keys.first().map_or(0.0, |k| k.share);
    let one_key = by_load && hottest > input.policy.split.hot_key_share_max;
    one_key.then_some(Reject::Unsplittable { share: hottest })
}

fn draft(p: &Planning<'_>, s: usize, by_load: bool, score: Score) -> Result<Draft, Reject> {
    if let Some(why) = gate(p, s, by_load) {
        return Err(why);
    }
    let kind = DirectiveKind::Split;
    if let Some(max) = p.book.full(&p.facts, kind) {
        return Err(Reject::Budget { kind, max });
    }
    let cut = cut(p, s)?;
    let (reason, predicted) = outlook(p, s, by_load, &cut);
    Ok(Draft {
        s,
        stage: Stage::Split,
        kind,
        steps: vec![Step::Split { at_key: cut.at_key }],
        priority: PRIORITY,
        score,
        model: if by_load { p.model_of(s) } else { "baseline".into() },
        reason,
        predicted,
    })
}

/// Why the cut is made, and what it is expected to change.
fn outlook(p: &Planning<'_>, s: usize, by_load: bool, cut: &Cut) -> (String, Effect) {
    let shard = &p.facts.shards[s];
    let policy = &p.facts.input.policy.split;
    let larger = cut.left_share.max(1.0 - cut.left_share);
    let [lower, mean, _] = shard.load;
    let size = shard.view.size_bytes as f64;
    if by_load {
        let reason = format!(
            "at least {lower:.0} requests/s are expected (mean {mean:.0}), the policy's limit is {:.0}; \
             cutting at {} leaves {:.0} % in the larger half",
            policy.requests_per_s_max,
            cut.at_key,
            larger * 100.0
        );
        let [after_lower, after, after_upper] = shard.load.map(|l| l * larger);
        let metric = "requests_per_s_max".into();
        (reason, Effect { metric, before: mean, after, after_lower, after_upper, realised: None })
    } else {
        let reason = format!(
            "{} bytes are more than the policy's limit of {}; cutting at {} divides its requests",
            shard.view.size_bytes, policy.size_bytes_max, cut.at_key
        );
        // Where requests divide is known; where bytes divide is not, so the interval is as wide as it can be.
        let (after, after_lower) = (size * larger, size * 0.5);
        let metric = "size_bytes_max".into();
        (
            reason,
            Effect { metric, before: size, after, after_lower, after_upper: size, realised: None },
        )
    }
}

/// The key that divides the requests best: nearest to the middle, strictly inside, and not the hottest key itself.
fn cut(p: &Planning<'_>, s: usize) -> Result<Cut, Reject> {
    let shard = p.facts.shards[s].view;
    let hottest = shard.hot_keys.first().filter(|k| k.share >= 1.0 / PARTS);
    let mut best: Option<(f64, Cut)> = None;
    for (i, text) in shard.access_octiles.iter().enumerate() {
        let repeats = i > 0 && shard.access_octiles[i - 1] == *text;
        if repeats || hottest.is_some_and(|k| k.key == *text) {
            continue;
        }
        let inside = key_from_text(text).is_ok_and(|key| {
            key.len() <= isobar_api::limits::KEY_BYTES_MAX
                && shard.entry.range.split_at(&key).is_some()
        });
        let left_share = (i + 1) as f64 / (shard.access_octiles.len() + 1) as f64;
        let distance = (left_share - 0.5).abs();
        if inside && best.as_ref().is_none_or(|(d, _)| distance < *d) {
            best = Some((distance, Cut { at_key: text.clone(), left_share }));
        }
    }
    match (best, hottest) {
        (Some((_, cut)), _) => Ok(cut),
        // There were octiles, and the hottest key is all of them.
        (None, Some(k)) if !shard.access_octiles.is_empty() => {
            Err(Reject::Unsplittable { share: k.share })
        }
        (None, _) => Err(Reject::NoSplitKey),
    }
}
