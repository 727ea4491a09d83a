//! Hard goals that concern the shard as a whole. A gate answers with the first reason against touching it.

use super::{Planning, reject::Reject};

const HOUR_MS: u64 = 3_600_000;

/// Gates for every kind of change: nobody else works on the shard, no freeze covers it, its rule is known.
pub(crate) fn open(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let facts = &p.facts;
    let shard = &facts.shards[s];
    if let Some(kind) = p.taken[s] {
        return Some(Reject::Taken(kind));
    }
    let entry = facts.in_flight.get(&shard.id);
    if facts.input.busy.contains(&shard.id) {
        return Some(Reject::Busy(entry.map(|e| e.directive_id)));
    }
    if let Some(entry) = entry {
        match entry.applied_unix_ms {
            None => return Some(Reject::Busy(Some(entry.directive_id))),
            // The view still shows the shard as it was before the directive was applied.
            Some(at) if shard.view.reported_unix_ms.is_none_or(|seen| seen <= at) => {
                return Some(Reject::Unconfirmed(entry.directive_id));
            }
            Some(_) => {}
        }
    }
    if let Some(frozen) = facts.frozen(s) {
        return Some(frozen);
    }
    match facts.table(s) {
        None => Some(Reject::TableUnknown),
        Some(t) if t.creating => Some(Reject::TableCreating),
        Some(_) => None,
    }
}

/// Gates for optimisations: enough young telemetry, a whole and healthy group, no unconfirmed effect.
/// Repair and drain never wait for these.
pub(crate) fn sight(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let (facts, shard) = (&p.facts, &p.facts.shards[s]);
    let observe = &facts.input.policy.observe;
    if let Some(mass) = &facts.mass_failure {
        return Some(mass.clone());
    }
    if facts.table(s).is_some_and(|t| t.system) {
        return Some(Reject::SystemTable);
    }
    let stale_ms = observe.stale_after_s.saturating_mul(1_000);
    match facts.input.age_ms(shard.view.reported_unix_ms) {
        None => return Some(Reject::NoReport),
        Some(age_ms) if age_ms > stale_ms => return Some(Reject::Stale { age_ms }),
        Some(_) => {}
    }
    let (have, need) = (shard.view.windows, observe.windows_min);
    if have < need {
        return Some(Reject::FewWindows { have, need });
    }
    if let Some(entry) = facts.in_flight.get(&shard.id) {
        return Some(Reject::Unconfirmed(entry.directive_id));
    }
    whole(p, s)
}

/// The group is as its table asks for, and all of it is well.
fn whole(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let (facts, entry) = (&p.facts, &p.facts.shards[s].view.entry);
    if let Some(node) = facts.learners(s).next() {
        return Some(Reject::LearnerPresent(node));
    }
    for replica in &entry.replicas {
        let node = replica.node_id;
        let alive = facts.node(node).is_some_and(|i| facts.nodes[i].alive);
        if !alive || !facts.may_vote(s, node) {
            return Some(Reject::NotWell { node });
        }
    }
    let want = facts.table(s).map_or(0, |t| t.rule.replicas);
    let voters = entry.voters().count();
    if voters != usize::from(want) {
        return Some(Reject::NotWhole { voters, want });
    }
    let leads = facts.shards[s].leader.is_some_and(|l| facts.voters(s).any(|v| v == l));
    (!leads).then_some(Reject::NoLeader)
}

/// The shard's arrivals are forecast, and from young windows.
pub(crate) fn foreseen(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let observe = &p.facts.input.policy.observe;
    let forecast = p.facts.shards[s].forecast.filter(|f| !f.is_empty());
    let Some(forecast) = forecast else {
        return Some(Reject::NoForecast);
    };
    // A window is up to one window old when its forecast is made, and may wait one more for the next.
    let old_s = observe.window_s.saturating_mul(2).saturating_add(observe.stale_after_s);
    let age_ms = forecast.values().map(|f| f.age_ms).max().unwrap_or(0);
    (age_ms > old_s.saturating_mul(1_000)).then_some(Reject::ForecastOld { age_ms })
}

/// Gates against restlessness: dwell time and moves per hour.
pub(crate) fn rested(p: &Planning<'_>, s: usize) -> Option<Reject> {
    let (input, shard) = (p.facts.input, &p.facts.shards[s]);
    let moves = input.history.get(&shard.id).map_or(&[][..], Vec::as_slice);
    let balance = &input.policy.balance;
    // The future counts as now: a clock that was set back must not open the gate.
    if let Some(age_ms) = input.age_ms(moves.iter().max().copied()) {
        let dwell_ms = balance.dwell_s.saturating_mul(1_000);
        if age_ms < dwell_ms {
            return Some(Reject::Dwell { left_s: (dwell_ms - age_ms).div_ceil(1_000) });
        }
    }
    let hour_ago = input.now_unix_ms.saturating_sub(HOUR_MS);
    let recent = moves.iter().filter(|at| **at > hour_ago).count();
    let recent = u32::try_from(recent).unwrap_or(u32::MAX);
    (recent >= balance.moves_per_shard_hour).then_some(Reject::HourBudget { moves: recent })
}
