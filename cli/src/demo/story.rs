//! What the controller learned and did, as lines for people, from what it says of itself.

use isobar_api::{
    DirectiveId, NodeId, Region,
    directive::DirectiveState,
    plan::{ControllerStatus, DirectiveRecord},
};
use std::collections::BTreeMap;

/// Changes told one by one; after these, only every so-manieth is.
const TOLD_IN_FULL: usize = 6;
const TELL_EVERY: usize = 10;

/// What has been told already.
#[derive(Default)]
pub(super) struct Story {
    homes: BTreeMap<NodeId, Region>,
    states: BTreeMap<DirectiveId, DirectiveState>,
    started: usize,
    verified: usize,
    proposed: bool,
    champions: Vec<(String, u32)>,
}

impl Story {
    pub(super) fn new(homes: BTreeMap<NodeId, Region>) -> Self {
        Self { homes, ..Self::default() }
    }

    /// Lines for what changed since the last call.
    pub(super) fn go_on(
        &mut self,
        status: &ControllerStatus,
        records: &[DirectiveRecord],
    ) -> Vec<String> {
        let mut lines: Vec<String> = self.learned(status).into_iter().collect();
        // The list is newest first.
        for record in records.iter().rev() {
            let id = record.directive.id;
            let before = self.states.insert(id, record.state);
            if before != Some(record.state) {
                lines.extend(self.changed(record, before));
            }
        }
        lines
    }

    /// Directives that began, and those of them that were verified.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.started, self.verified)
    }

    fn learned(&mut self, status: &ControllerStatus) -> Option<String> {
        let names =
            |list: &[(String, u32)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let now = &status.champions;
        let series: u32 = now.iter().map(|(_, count)| count).sum();
        if series == 0 || names(now) == names(&self.champions) {
            return None;
        }
        self.champions = now.clone();
        let each: Vec<String> =
            now.iter().map(|(name, count)| format!("{name} for {count}")).collect();
        Some(format!(
            "learned: best forecaster of {series} arrival series by backtest: {}",
            each.join(", ")
        ))
    }

    fn changed(
        &mut self,
        record: &DirectiveRecord,
        before: Option<DirectiveState>,
    ) -> Option<String> {
        use DirectiveState as S;
        let d = &record.directive;
        match record.state {
            S::Proposed | S::Checked if !self.proposed => {
                self.proposed = true;
                Some(format!(
                    "proposal {} {} {}: {} (not carried out in mode observe)",
                    d.id, d.kind, d.shard, d.reason
                ))
            }
            S::Verified => {
                self.verified += 1;
                if !began(before) {
                    self.started += 1;
                }
                let realised = d.predicted.realised?;
                let line = format!(
                    "{} {} verified: {} {:.1} before, {:.1} predicted, {realised:.1} measured",
                    d.id, d.shard, d.predicted.metric, d.predicted.before, d.predicted.after,
                );
                told(self.verified).then_some(line)
            }
            S::Failed | S::Compensating | S::Undone => {
                let why = record.events.last().map_or("", |event| event.reason.as_str());
                Some(format!("{} {} {}: {why}", d.id, d.shard, record.state))
            }
            state if began(Some(state)) && !began(before) => {
                self.started += 1;
                let to = d.steps.iter().rev().find_map(|step| step.target());
                let to = to
                    .and_then(|node| self.homes.get(&node))
                    .map_or_else(String::new, |r| format!(" to {r}"));
                told(self.started)
                    .then(|| format!("{} {} {}{to}: {}", d.id, d.kind, d.shard, d.reason))
            }
            _ => None,
        }
    }
}

/// Whether a node has been asked to do something.
pub(super) fn began(state: Option<DirectiveState>) -> bool {
    use DirectiveState as S;
    matches!(
        state,
        Some(
            S::Sent
                | S::Accepted
                | S::Applied
                | S::Verified
                | S::Failed
                | S::Compensating
                | S::Undone
        )
    )
}

fn told(count: usize) -> bool {
    count <= TOLD_IN_FULL || count.is_multiple_of(TELL_EVERY)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use isobar_api::{
        Epoch, PlanId, ShardId, Term,
        directive::{Budget, Directive, DirectiveKind, Step},
        plan::Effect,
        policy::Mode,
    };

    pub(in crate::demo) fn record(
        id: u64,
        state: DirectiveState,
        realised: Option<f64>,
    ) -> DirectiveRecord {
        let predicted = Effect {
            metric: "read_rtt_ms_mean".into(),
            before: 120.0,
            after: 40.0,
            after_lower: 30.0,
            after_upper: 60.0,
            realised,
        };
        let directive = Directive {
            id: DirectiveId(id),
            plan_id: PlanId(1),
            kind: DirectiveKind::TransferLeader,
            controller_term: Term(1),
            shard: ShardId(5),
            table: "orders".into(),
            expected_epoch: Epoch::default(),
            policy_version: 1,
            model_version: "baseline".into(),
            steps: vec![Step::TransferLeader { node: NodeId(3) }],
            undo: Vec::new(),
            budget: Budget { copy_bytes: 0, p99_rise_ms: 0.0, stall_ms: 1 },
            priority: 1,
            not_before_unix_ms: 0,
            expires_at_unix_ms: 0,
            reason: "most readers are there".into(),
            predicted,
        };
        DirectiveRecord { directive, state, steps_done: 0, events: Vec::new() }
    }

    fn status(champions: &[(&str, u32)]) -> ControllerStatus {
        ControllerStatus {
            version: String::new(),
            cluster_id: String::new(),
            mode: Mode::Act,
            term: Term(1),
            leads: true,
            policy_version: 1,
            nodes: 5,
            shards: 49,
            oldest_report_age_ms: None,
            report_gaps: 0,
            open_directives: 0,
            directives_by_state: Vec::new(),
            freezes: Vec::new(),
            drains: Vec::new(),
            champions: champions.iter().map(|(name, n)| ((*name).into(), *n)).collect(),
        }
    }

    fn story() -> Story {
        Story::new(BTreeMap::from([(NodeId(3), Region::new("ap-northeast-1").expect("legal"))]))
    }

    #[test]
    fn a_directive_is_told_when_it_begins_and_when_it_is_verified() {
        let (mut story, none) = (story(), status(&[]));
        let begun = story.go_on(&none, &[record(7, DirectiveState::Accepted, None)]);
        assert_eq!(begun, ["d7 transfer_leader s5 to ap-northeast-1: most readers are there"]);
        assert!(story.go_on(&none, &[record(7, DirectiveState::Applied, None)]).is_empty());
        let done = story.go_on(&none, &[record(7, DirectiveState::Verified, Some(42.0))]);
        assert_eq!(
            done,
            ["d7 s5 verified: read_rtt_ms_mean 120.0 before, 40.0 predicted, 42.0 measured"]
        );
        assert_eq!(story.counts(), (1, 1));
    }

    #[test]
    fn one_proposal_stands_for_all_and_failures_are_always_told() {
        let (mut story, none) = (story(), status(&[]));
        let proposals =
            [record(2, DirectiveState::Checked, None), record(1, DirectiveState::Checked, None)];
        assert_eq!(story.go_on(&none, &proposals).len(), 1);
        assert_eq!(story.go_on(&none, &[record(3, DirectiveState::Failed, None)]).len(), 1);
        assert_eq!(story.counts(), (0, 0));
    }

    #[test]
    fn a_champion_is_told_when_it_changes() {
        let mut story = story();
        assert_eq!(story.go_on(&status(&[("ewma", 4)]), &[]).len(), 1);
        assert!(story.go_on(&status(&[("ewma", 5)]), &[]).is_empty());
        assert_eq!(story.go_on(&status(&[("ewma", 3), ("holt_winters", 2)]), &[]).len(), 1);
    }
}
