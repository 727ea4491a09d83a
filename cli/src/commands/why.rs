//! The explanation of a plan. Pure: a record goes in, text comes out.

use super::plan::directive_text;
use crate::{
    screen::table,
    units::{show_age, show_ms, show_number},
};
use isobar_api::{
    directive::Step,
    plan::{Candidate, DirectiveRecord, Effect, PlanRecord, ScoreTerm},
};

/// Everything that led to a plan and came of it.
pub(super) fn explain(record: &PlanRecord, now_unix_ms: u64) -> String {
    let plan = &record.plan;
    let parent = plan.parent.map_or_else(|| "none".into(), |p| p.to_string());
    let mut text = format!(
        "plan {} made {} by term {} under policy {}; parent {parent}; seed {}; inputs {}\n",
        plan.id,
        show_age(plan.at_unix_ms, now_unix_ms),
        plan.controller_term,
        plan.policy_version,
        plan.seed,
        plan.input_hash,
    );
    text.push_str(&inputs(record));
    text.push_str(&candidates(record));
    for note in &plan.notes {
        let weight = if note.fatal { "stopped" } else { "noted" };
        text.push_str(&format!("\ncheck {weight} {}: {}\n", note.shard, note.message));
    }
    if record.directives.is_empty() {
        text.push_str("\nNothing was chosen.\n");
    }
    for directive in &record.directives {
        text.push_str(&format!("\n{}", directive_text(directive)));
        text.push_str(&format!("  effect {}\n", effect(&directive.directive.predicted)));
        text.push_str(&events(directive));
    }
    text
}

fn inputs(record: &PlanRecord) -> String {
    let rows = record.plan.inputs.iter().map(|input| {
        [input.source.clone(), input.age_ms.map_or_else(|| "missing".into(), show_ms)]
    });
    format!("\n{}", table(["input", "age"], &[1], rows))
}

fn candidates(record: &PlanRecord) -> String {
    let plan = &record.plan;
    let rows = plan.candidates.iter().map(|candidate| {
        let verdict = match &candidate.rejected {
            None => "taken".into(),
            Some(reason) => format!("rejected: {reason}"),
        };
        [
            candidate.shard.to_string(),
            candidate.kind.to_string(),
            steps(candidate),
            score(&candidate.score),
            verdict,
        ]
    });
    let grid = table(["shard", "kind", "steps", "score", "verdict"], &[], rows);
    let dropped = match plan.candidates_dropped {
        0 => String::new(),
        n => format!("{n} further candidates were weighed and are not recorded\n"),
    };
    format!("\n{grid}{dropped}")
}

fn steps(candidate: &Candidate) -> String {
    candidate.steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", ")
}

/// Terms in the order in which they decide; smaller is better.
fn score(terms: &[ScoreTerm]) -> String {
    let show = |term: &ScoreTerm| format!("{}={}", term.name, show_number(term.value));
    terms.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn effect(effect: &Effect) -> String {
    let realised = match effect.realised {
        Some(value) => {
            let inside = (effect.after_lower..=effect.after_upper).contains(&value);
            let verdict = if inside { "inside" } else { "outside" };
            format!("realised {} ({verdict} the interval)", show_number(value))
        }
        None => "not measured yet".into(),
    };
    format!(
        "{}: {} -> {} predicted [{} to {}], {realised}",
        effect.metric,
        show_number(effect.before),
        show_number(effect.after),
        show_number(effect.after_lower),
        show_number(effect.after_upper),
    )
}

/// What happened, with the time since the first event.
fn events(record: &DirectiveRecord) -> String {
    let start = record.events.first().map_or(0, |event| event.at_unix_ms);
    let line = |event: &isobar_api::plan::DirectiveEvent| {
        let after = show_ms(event.at_unix_ms.saturating_sub(start));
        let reason = if event.reason.is_empty() { "" } else { ": " };
        format!("  +{after:<8} {}{reason}{}\n", event.state, event.reason)
    };
    record.events.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{
        DirectiveId, Epoch, NodeId, PlanId, ShardId, Term,
        directive::{Budget, Directive, DirectiveKind, DirectiveState},
        plan::{DirectiveEvent, InputAge, Plan},
    };

    fn directive() -> Directive {
        let step = |node| Step::TransferLeader { node: NodeId(node) };
        Directive {
            id: DirectiveId(7),
            plan_id: PlanId(42),
            kind: DirectiveKind::TransferLeader,
            controller_term: Term(3),
            shard: ShardId(5),
            table: "orders".into(),
            expected_epoch: Epoch { shape: 1, membership: 4 },
            policy_version: 2,
            model_version: "holt-winters".into(),
            steps: vec![step(2)],
            undo: vec![step(1)],
            budget: Budget { copy_bytes: 0, p99_rise_ms: 0.0, stall_ms: 30_000 },
            priority: 1,
            not_before_unix_ms: 0,
            expires_at_unix_ms: 0,
            reason: "83 % of its reads come from us".into(),
            predicted: Effect {
                metric: "read_rtt_ms_mean".into(),
                before: 71.2,
                after: 12.5,
                after_lower: 9.0,
                after_upper: 18.0,
                realised: Some(13.1),
            },
        }
    }

    fn record() -> PlanRecord {
        let directive = directive();
        let candidate = |kind, rejected: Option<&str>| Candidate {
            shard: ShardId(5),
            kind,
            steps: directive.steps.clone(),
            score: vec![ScoreTerm { name: "read_rtt_ms_mean".into(), value: 12.5 }],
            rejected: rejected.map(Into::into),
        };
        let event = |at_unix_ms, state, reason: &str| DirectiveEvent {
            at_unix_ms,
            controller_term: Term(3),
            state,
            steps_done: 0,
            reason: reason.into(),
        };
        let input = |source: &str, age_ms| InputAge { source: source.into(), age_ms };
        PlanRecord {
            plan: Plan {
                id: PlanId(42),
                parent: Some(PlanId(41)),
                controller_term: Term(3),
                at_unix_ms: 10_000,
                policy_version: 2,
                seed: 9,
                input_hash: "ab12".into(),
                inputs: vec![input("report n1", Some(420)), input("report n4", None)],
                candidates: vec![
                    candidate(DirectiveKind::TransferLeader, None),
                    candidate(DirectiveKind::MoveReplica, Some("gain 0.4 ms is below 2 ms")),
                ],
                candidates_dropped: 12,
                directives: vec![directive.clone()],
                notes: vec![],
            },
            directives: vec![DirectiveRecord {
                directive,
                state: DirectiveState::Verified,
                steps_done: 1,
                events: vec![
                    event(10_000, DirectiveState::Proposed, ""),
                    event(10_900, DirectiveState::Verified, "13.1 ms measured"),
                ],
            }],
        }
    }

    #[test]
    fn an_explanation_has_inputs_candidates_effect_and_events() {
        let expected = "\
plan p42 made 5.0s ago by term c3 under policy 2; parent p41; seed 9; inputs ab12

INPUT          AGE
report n1    420ms
report n4  missing

SHARD  KIND             STEPS                  SCORE                   VERDICT
s5     transfer_leader  transfer leader to n2  read_rtt_ms_mean=12.50  taken
s5     move_replica     transfer leader to n2  read_rtt_ms_mean=12.50  rejected: gain 0.4 ms is below 2 ms
12 further candidates were weighed and are not recorded

d7 transfer_leader of s5 (orders): verified
  why    83 % of its reads come from us
  done   1. transfer leader to n2
  effect read_rtt_ms_mean: 71.20 -> 12.50 predicted [9.00 to 18.00], realised 13.10 (inside the interval)
  +0ms      proposed
  +900ms    verified: 13.1 ms measured
";
        assert_eq!(explain(&record(), 15_000), expected);
    }

    #[test]
    fn a_plan_that_chose_nothing_says_so() {
        let mut record = record();
        record.directives.clear();
        assert!(explain(&record, 15_000).ends_with("\nNothing was chosen.\n"));
    }
}
