//! From a choice to a directive: the last budget check, the book, and every field filled.

use super::{Planning, record::Stage, reject::Reject, score::Score};
use crate::{journal::fingerprint, ledger};
use isobar_api::{
    DirectiveId, NodeId, PlanId, ReplicaRole,
    directive::{Budget, Directive, DirectiveKind, Step},
    plan::Effect,
};

/// How much a shard's p99 may rise while a directive runs, milliseconds.
const P99_RISE_MS: f64 = 20.0;

/// A choice.
pub(crate) struct Draft {
    pub s: usize,
    pub stage: Stage,
    pub kind: DirectiveKind,
    pub steps: Vec<Step>,
    pub priority: u8,
    pub score: Score,
    pub model: String,
    pub reason: String,
    pub predicted: Effect,
}

impl Planning<'_> {
    /// Books the draft and makes it a directive, or records why its turn has not come.
    pub(crate) fn submit(&mut self, draft: Draft) -> bool {
        if let Some(why) = self.no_turn(draft.s, draft.kind, &draft.steps) {
            let id = self.facts.shards[draft.s].id;
            self.record.rejected(draft.stage, id, draft.kind, draft.steps, draft.score, why);
            return false;
        }
        let directive = self.directive(&draft);
        self.book.take(&self.facts, draft.s, &directive);
        self.taken[draft.s] = Some(draft.kind);
        self.record.chose(directive.shard, draft.kind, draft.steps, draft.score);
        self.directives.push(directive);
        true
    }

    /// Why it is not the turn of these steps: they came to nothing a moment ago, or would break a budget.
    pub(crate) fn no_turn(&self, s: usize, kind: DirectiveKind, steps: &[Step]) -> Option<Reject> {
        let (facts, shard) = (&self.facts, &self.facts.shards[s]);
        let quiet = facts.input.quiet;
        if !quiet.is_empty() && quiet.contains(&fingerprint(shard.id, kind, steps)) {
            return Some(Reject::Quiet);
        }
        let budget = &facts.input.policy.budget;
        if let Some(max) = self.book.full(facts, kind) {
            return Some(Reject::Budget { kind, max });
        }
        let copies = ledger::copies(steps, shard.view.entry.leader);
        let full = |id: &&NodeId| facts.node(**id).is_some_and(|i| self.book.copies_full(facts, i));
        if let Some(node) = copies.iter().find(full) {
            return Some(Reject::Copies { node: *node, max: budget.copies_per_node_max });
        }
        // A lost replica is replaced whatever it costs: keeping a shard alive is worth more than a limit on bytes.
        let (size_bytes, max_bytes) = (shard.view.size_bytes, budget.copy_bytes_max);
        let too_large =
            !copies.is_empty() && kind != DirectiveKind::Repair && size_bytes > max_bytes;
        too_large.then_some(Reject::CopyLarge { size_bytes, max_bytes })
    }

    fn directive(&self, draft: &Draft) -> Directive {
        let (input, shard) = (self.facts.input, &self.facts.shards[draft.s]);
        let budget = &input.policy.budget;
        let copies = draft.steps.iter().any(|s| matches!(s, Step::AddLearner { .. }));
        // Twice the size leaves room for what is written meanwhile and for one repeated snapshot.
        let needed = shard.view.size_bytes.saturating_mul(2);
        let copy_bytes = match (copies, draft.kind) {
            (false, _) => 0,
            (true, DirectiveKind::Repair) => budget.copy_bytes_max.max(needed),
            (true, _) => budget.copy_bytes_max,
        };
        Directive {
            id: DirectiveId(0),
            plan_id: PlanId(0),
            kind: draft.kind,
            controller_term: input.controller_term,
            shard: shard.id,
            table: shard.view.table.clone(),
            expected_epoch: shard.view.entry.epoch,
            policy_version: input.policy_version,
            model_version: draft.model.clone(),
            steps: draft.steps.clone(),
            // What repair brought back must not be undone: the lost replica will not return.
            undo: match draft.kind {
                DirectiveKind::Repair => Vec::new(),
                _ => self.undo(draft),
            },
            budget: Budget {
                copy_bytes,
                p99_rise_ms: P99_RISE_MS,
                stall_ms: budget.stall_s.saturating_mul(1_000),
            },
            priority: draft.priority,
            not_before_unix_ms: input.now_unix_ms,
            expires_at_unix_ms: input
                .now_unix_ms
                .saturating_add(budget.expire_s.saturating_mul(1_000)),
            reason: draft.reason.clone(),
            predicted: rounded(&draft.predicted),
        }
    }

    /// The reverse of all steps. A learner that was removed comes back as a learner.
    fn undo(&self, draft: &Draft) -> Vec<Step> {
        let entry = &self.facts.shards[draft.s].view.entry;
        let mut undo = undo_of(&draft.steps, entry.leader);
        let learned =
            |n: &NodeId| entry.replica_on(*n).is_some_and(|r| r.role == ReplicaRole::Learner);
        undo.retain(|step| !matches!(step, Step::Promote { node } if learned(node)));
        // Nothing goes back to a place where it must not be, however it came to be there.
        let allowed = |n: NodeId| self.allowed(draft.s, n);
        let wrong = |step: &Step| {
            !matches!(step, Step::RemoveReplica { .. })
                && step.target().is_some_and(|n| !allowed(n))
        };
        if undo.iter().any(wrong) {
            undo.clear();
        }
        undo
    }

    /// Whether the node is known and lies in a region that the shard's table allows.
    pub(crate) fn allowed(&self, s: usize, node: NodeId) -> bool {
        let region = self.facts.node(node).map(|i| self.facts.nodes[i].region);
        let table = self.facts.table(s);
        region.zip(table).is_some_and(|(r, t)| t.allowed[r])
    }

    /// The forecaster behind most of the shard's expected reads and writes, or `baseline`.
    pub(crate) fn model_of(&self, s: usize) -> String {
        let forecasts = self.facts.shards[s].forecast.into_iter().flat_map(|f| f.values());
        let heaviest = forecasts.max_by(|a, b| {
            let weight = |f: &crate::view::ArrivalForecast| f.reads_per_s[1] + f.writes_per_s[1];
            weight(a).total_cmp(&weight(b))
        });
        heaviest.map_or_else(|| "baseline".into(), |f| f.model.clone())
    }
}

/// Figures to the millionth: what is below is noise, and short numbers read back from JSON exactly.
fn rounded(effect: &Effect) -> Effect {
    let round = |x: f64| (x * 1e6).round() / 1e6;
    Effect {
        metric: effect.metric.clone(),
        before: round(effect.before),
        after: round(effect.after),
        after_lower: round(effect.after_lower),
        after_upper: round(effect.after_upper),
        realised: effect.realised,
    }
}

/// Steps that reverse those done so far, in the order to run them. `leader` led before the first step.
///
/// The order keeps every rule on the way back: what was removed is added again before what was added is removed.
/// Splits and merges have none: each is a decision of its own, with a dwell time between.
fn undo_of(done: &[Step], leader: Option<NodeId>) -> Vec<Step> {
    let mut undo = Vec::new();
    for step in done.iter().rev() {
        match step {
            Step::RemoveReplica { node } => {
                undo.extend([Step::AddLearner { node: *node }, Step::Promote { node: *node }]);
            }
            Step::AddLearner { node } => undo.push(Step::RemoveReplica { node: *node }),
            Step::Promote { .. }
            | Step::TransferLeader { .. }
            | Step::Split { .. }
            | Step::Merge { .. } => {}
        }
    }
    let moved =
        done.iter().any(|s| matches!(s, Step::TransferLeader { node } if Some(*node) != leader));
    if let Some(node) = leader.filter(|_| moved) {
        // Before the first removal: a replica that leads cannot be removed. After additions: the old leader may be
        // one of them.
        let at =
            undo.iter().position(|s| matches!(s, Step::RemoveReplica { .. })).unwrap_or(undo.len());
        undo.insert(at, Step::TransferLeader { node });
    }
    undo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_undone_add_before_remove() {
        let (old, new) = (NodeId(1), NodeId(2));
        let done = [
            Step::AddLearner { node: new },
            Step::Promote { node: new },
            Step::TransferLeader { node: new },
            Step::RemoveReplica { node: old },
        ];
        let whole = undo_of(&done, Some(old));
        let text: Vec<String> = whole.iter().map(Step::to_string).collect();
        assert_eq!(
            text.join("; "),
            "add learner on n1; promote n1; transfer leader to n1; remove replica from n2"
        );
        assert_eq!(undo_of(&done[..1], Some(old)), [Step::RemoveReplica { node: new }]);
        assert!(undo_of(&[Step::Split { at_key: "m".into() }], Some(old)).is_empty());
        assert!(undo_of(&[Step::TransferLeader { node: old }], Some(old)).is_empty());
    }
}
