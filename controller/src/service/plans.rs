//! Which plans are worth keeping: those with directives, and those whose verdicts changed.

use crate::journal::fingerprint;
use isobar_api::{PlanId, ShardId, directive::DirectiveKind, plan::Plan, policy::Mode};
use std::collections::BTreeSet;

/// How often the same directives are offered to the journal again, milliseconds.
const OFFER_EVERY_MS: u64 = 3_000;
/// Shortest time between two kept plans without directives, milliseconds.
const EMPTY_EVERY_MS: u64 = 10_000;

type Verdicts = BTreeSet<(ShardId, DirectiveKind, String)>;

/// What the last kept plan said.
#[derive(Debug)]
pub(crate) struct PlanMemory {
    newest: Option<PlanId>,
    kept_unix_ms: u64,
    verdicts: Verdicts,
    offered: (Option<Mode>, BTreeSet<String>),
    offered_unix_ms: u64,
}

impl PlanMemory {
    /// After a start, with the newest stored plan.
    pub(crate) fn new(newest: Option<PlanId>) -> Self {
        Self {
            newest,
            kept_unix_ms: 0,
            verdicts: Verdicts::new(),
            offered: (None, BTreeSet::new()),
            offered_unix_ms: 0,
        }
    }

    /// The plan before the next one.
    pub(crate) fn newest(&self) -> Option<PlanId> {
        self.newest
    }

    /// Whether a plan without directives is worth keeping.
    pub(crate) fn is_news(&self, plan: &Plan, now_unix_ms: u64) -> bool {
        let due = now_unix_ms >= self.kept_unix_ms.saturating_add(EMPTY_EVERY_MS);
        due && plan.directives.is_empty() && verdicts(plan) != self.verdicts
    }

    /// Whether the journal should see the plan's directives: they are new, or it is time to say again
    /// that they are still wanted, so that they do not expire. Asking counts as having offered them.
    pub(crate) fn is_offer(&mut self, plan: &Plan, mode: Mode, now_unix_ms: u64) -> bool {
        let prints = plan.directives.iter().map(|d| fingerprint(d.shard, d.kind, &d.steps));
        let offer = (Some(mode), prints.collect());
        let is_due = now_unix_ms >= self.offered_unix_ms.saturating_add(OFFER_EVERY_MS);
        let is_worth = !plan.directives.is_empty() && (is_due || offer != self.offered);
        if is_worth {
            self.offered_unix_ms = now_unix_ms;
        }
        self.offered = offer;
        is_worth
    }

    /// A plan was kept.
    pub(crate) fn kept(&mut self, plan: &Plan, now_unix_ms: u64) {
        self.newest = Some(plan.id);
        self.kept_unix_ms = now_unix_ms;
        self.verdicts = verdicts(plan);
    }
}

/// What was said of each candidate, without the figures: those change all the time.
fn verdicts(plan: &Plan) -> Verdicts {
    let words = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    let verdict = |c: &isobar_api::plan::Candidate| {
        (c.shard, c.kind, c.rejected.as_deref().map_or("chosen".into(), words))
    };
    plan.candidates.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Term, plan::Candidate};

    fn plan(id: u64, rejected: &str) -> Plan {
        let candidate = Candidate {
            shard: ShardId(1),
            kind: DirectiveKind::Split,
            steps: vec![],
            score: vec![],
            rejected: Some(rejected.into()),
        };
        Plan {
            id: PlanId(id),
            parent: None,
            controller_term: Term(1),
            at_unix_ms: 0,
            policy_version: 1,
            seed: 1,
            input_hash: String::new(),
            inputs: vec![],
            candidates: vec![candidate],
            candidates_dropped: 0,
            directives: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn figures_are_no_news_but_verdicts_are_and_not_too_often() {
        let mut memory = PlanMemory::new(None);
        let first = plan(1, "gain 1.2 ms is below 2.0 ms");
        assert!(memory.is_news(&first, 20_000));
        memory.kept(&first, 20_000);
        assert_eq!(memory.newest(), Some(PlanId(1)));
        assert!(!memory.is_news(&plan(2, "gain 1.7 ms is below 2.0 ms"), 60_000));
        let other = plan(2, "dwell time");
        assert!(!memory.is_news(&other, 29_999), "at most one in ten seconds");
        assert!(memory.is_news(&other, 30_000));
        let mut wish = other;
        wish.directives.push(crate::executor::fake_node::move_directive(1, 4));
        assert!(!memory.is_news(&wish, 30_000), "the journal decides about directives");
    }

    #[test]
    fn the_same_wish_is_offered_again_only_now_and_then_or_in_another_mode() {
        let mut memory = PlanMemory::new(None);
        let mut wish = plan(0, "");
        assert!(!memory.is_offer(&wish, Mode::Observe, 1_000), "nothing to offer");
        wish.directives.push(crate::executor::fake_node::move_directive(1, 4));
        assert!(memory.is_offer(&wish, Mode::Observe, 1_000));
        assert!(!memory.is_offer(&wish, Mode::Observe, 2_000));
        assert!(memory.is_offer(&wish, Mode::Act, 2_500));
        assert!(!memory.is_offer(&wish, Mode::Act, 5_499));
        assert!(memory.is_offer(&wish, Mode::Act, 5_500));
    }
}
