//! `isobar plan`: what the controller decided, why, and the decisions left to a person.

use super::why;
use crate::{
    args::Global,
    failure::Outcome,
    reach,
    screen::{Screen, table},
    units::show_age,
};
use clap::{Args, Subcommand, value_parser};
use isobar_api::{
    DirectiveId, PlanId,
    plan::{DirectiveRecord, PlanRecord, PlanSummary},
};

/// Plans that a controller lists at once.
const PLANS_MAX: u32 = 500;

/// The verbs of `plan`.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// List the newest plans
    List {
        /// Most plans
        #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=i64::from(PLANS_MAX)))]
        limit: u32,
        /// Also plans that chose nothing
        #[arg(long)]
        all: bool,
    },
    /// Show a plan's directives and how far they are
    Show {
        /// Plan, such as p42 or 42
        plan: PlanId,
    },
    /// Explain a plan: inputs with ages, candidates with scores, rejected reasons, predicted and realised effect
    Why {
        /// Plan, such as p42 or 42
        plan: PlanId,
    },
    /// Let a directive run that waits in mode `propose`
    Approve(Decision),
    /// Refuse a directive that waits in mode `propose`
    Reject(Decision),
}

/// A person's decision.
#[derive(Args, Debug)]
pub struct Decision {
    /// Directive, such as d7
    directive: DirectiveId,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Runs a verb.
pub async fn run(verb: Plan, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let controller = reach::controller(global)?;
    let now = screen.now_unix_ms;
    match verb {
        Plan::List { limit, all } => {
            // Those that chose nothing are many, and must not crowd out the others.
            let mut plans = controller.plans(if all { limit } else { PLANS_MAX }).await?;
            plans.retain(|plan| all || !plan.directives.is_empty());
            plans.truncate(limit as usize);
            screen.show(&plans, |plans| listing(plans, now))
        }
        Plan::Show { plan } => {
            let record = controller.plan(plan).await?;
            screen.show(&record, |record| summary(record, now))
        }
        Plan::Why { plan } => {
            let record = controller.plan(plan).await?;
            screen.show(&record, |record| why::explain(record, now))
        }
        Plan::Approve(decision) => decide(&controller, decision, true, screen).await,
        Plan::Reject(decision) => decide(&controller, decision, false, screen).await,
    }
}

async fn decide(
    controller: &isobar_client::ControllerClient,
    decision: Decision,
    approve: bool,
    screen: &mut Screen<'_>,
) -> Outcome {
    let Decision { directive, reason } = decision;
    let record = controller.decide(directive, approve, &reach::owner(), &reason).await?;
    screen.show(&record, |record| format!("{} is {}", record.directive.id, record.state))
}

fn listing(plans: &[PlanSummary], now_unix_ms: u64) -> String {
    let rows = plans.iter().flat_map(|plan| {
        let head = [plan.id.to_string(), show_age(plan.at_unix_ms, now_unix_ms)];
        let line = move |[id, age]: [String; 2], directive: [String; 5]| {
            let [d, kind, shard, state, reason] = directive;
            [id, age, d, kind, shard, state, reason]
        };
        let mut lines: Vec<[String; 7]> = plan
            .directives
            .iter()
            .map(|d| {
                let cells = [
                    d.id.to_string(),
                    d.kind.to_string(),
                    d.shard.to_string(),
                    d.state.to_string(),
                    d.reason.clone(),
                ];
                line(head.clone(), cells)
            })
            .collect();
        if lines.is_empty() {
            let weighed = format!("nothing chosen of {} candidates", plan.candidates);
            lines.push(line(head, ["-".into(), "-".into(), "-".into(), "-".into(), weighed]));
        }
        lines
    });
    table(["plan", "made", "directive", "kind", "shard", "state", "reason"], &[], rows)
}

fn summary(record: &PlanRecord, now_unix_ms: u64) -> String {
    let plan = &record.plan;
    let mut text = format!(
        "plan {} made {}, term {}, policy {}\n",
        plan.id,
        show_age(plan.at_unix_ms, now_unix_ms),
        plan.controller_term,
        plan.policy_version
    );
    if record.directives.is_empty() {
        text.push_str("it chose nothing; `isobar plan why` says why not\n");
    }
    for directive in &record.directives {
        text.push_str(&format!("\n{}", directive_text(directive)));
    }
    text
}

/// A directive with its steps and how far it is.
pub(super) fn directive_text(record: &DirectiveRecord) -> String {
    let directive = &record.directive;
    let mut text = format!(
        "{} {} of {} ({}): {}\n  why    {}\n",
        directive.id,
        directive.kind,
        directive.shard,
        directive.table,
        record.state,
        directive.reason
    );
    for (i, step) in directive.steps.iter().enumerate() {
        let done = if (i as u32) < record.steps_done { "done" } else { "    " };
        text.push_str(&format!("  {done}   {}. {step}\n", i + 1));
    }
    text
}
