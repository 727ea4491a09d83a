//! A linter for plans. It re-implements the safety rules on its own, from the view and the policy, and shares no
//! code with the planner: a mistake there must not be able to excuse itself here.
//!
//! One rule, one file. A fatal note on a shard stops that shard's directive; the others go on.

mod alone;
mod budget;
mod calm;
mod cap;
mod fence;
mod floor;
mod form;
mod freeze;
mod gain;
mod leader;
mod mass;
mod merge;
mod order;
mod quorum;
mod replay;
mod residency;
mod split;
mod spread;
mod target;
#[cfg(test)]
mod tests;
mod undo;

use crate::planner::PlanInput;
use crate::view::{NodeHealth, NodeView, ShardView};
use isobar_api::{
    NodeId,
    directive::{Directive, DirectiveKind},
    plan::{CheckNote, Plan},
    table::TableRule,
};

/// What a rule says about one directive.
struct Finding {
    fatal: bool,
    message: String,
}

/// A finding that stops the directive.
fn fatal(message: impl Into<String>) -> Finding {
    Finding { fatal: true, message: message.into() }
}

/// A finding for people.
fn remark(message: impl Into<String>) -> Finding {
    Finding { fatal: false, message: message.into() }
}

/// One directive with what the view says of its shard.
struct Scene<'a> {
    plan: &'a Plan,
    input: &'a PlanInput<'a>,
    directive: &'a Directive,
    shard: &'a ShardView,
    /// Position of the directive in the plan.
    position: usize,
    /// What [`mass::failure`] says.
    mass_failure: Option<&'a str>,
}

impl<'a> Scene<'a> {
    fn node(&self, id: NodeId) -> Option<&'a NodeView> {
        self.input.view.nodes.get(&id)
    }

    fn is_dead(&self, id: NodeId) -> bool {
        is_dead(self.input, id)
    }

    fn is_alive(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|n| n.health == NodeHealth::Alive)
    }

    /// Whether the replica on the node has reported a storage fault.
    fn is_faulty(&self, id: NodeId) -> bool {
        let replica = self.shard.entry.replicas.iter().find(|r| r.node_id == id);
        replica.is_some_and(|r| self.shard.faults.contains_key(&r.replica_id))
    }

    /// The table's rule, where the view has it. The system table has none there.
    fn rule(&self) -> Option<&'a TableRule> {
        self.input.view.tables.get(&self.shard.entry.table_id).map(|t| &t.spec.rule)
    }

    fn is_system(&self) -> bool {
        self.shard.entry.table_id.0 == 0
    }

    /// Whether the directive only makes things better, so that it can wait.
    fn is_optimisation(&self) -> bool {
        !matches!(self.directive.kind, DirectiveKind::Repair | DirectiveKind::Drain)
    }
}

fn is_dead(input: &PlanInput<'_>, id: NodeId) -> bool {
    matches!(input.view.nodes.get(&id).map(|n| n.health), Some(NodeHealth::Dead { .. }))
}

type Rule = fn(&Scene<'_>) -> Vec<Finding>;

/// Every rule, by name.
const RULES: &[(&str, Rule)] = &[
    ("form", form::rule),
    ("fence", fence::rule),
    ("alone", alone::rule),
    ("freeze", freeze::rule),
    ("residency", residency::rule),
    ("floor", floor::rule),
    ("quorum", quorum::rule),
    ("cap", cap::rule),
    ("leader", leader::rule),
    ("order", order::rule),
    ("target", target::rule),
    ("spread", spread::rule),
    ("split", split::rule),
    ("merge", merge::rule),
    ("gain", gain::rule),
    ("calm", calm::rule),
    ("mass", mass::rule),
    ("budget", budget::rule),
    ("undo", undo::rule),
];

/// Checks a plan against the input it was made from. Notes come in the order of the directives.
pub(crate) fn check(plan: &Plan, input: &PlanInput<'_>) -> Vec<CheckNote> {
    let mut notes = Vec::new();
    let mass_failure = if plan.directives.is_empty() { None } else { mass::failure(input) };
    let mass_failure = mass_failure.as_deref();
    for (position, directive) in plan.directives.iter().enumerate() {
        let mut note = |fatal: bool, message: String| {
            notes.push(CheckNote { fatal, shard: directive.shard, message });
        };
        let Some(shard) = input.view.shards.get(&directive.shard) else {
            note(true, "fence: the shard is not in the view".into());
            continue;
        };
        let scene = Scene { plan, input, directive, shard, position, mass_failure };
        for (name, rule) in RULES {
            for finding in rule(&scene) {
                note(finding.fatal, format!("{name}: {}", finding.message));
            }
        }
    }
    notes
}

/// Shards whose directives must not run.
#[cfg(test)]
pub(crate) fn stopped(notes: &[CheckNote]) -> std::collections::BTreeSet<isobar_api::ShardId> {
    notes.iter().filter(|n| n.fatal).map(|n| n.shard).collect()
}
