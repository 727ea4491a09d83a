//! The directive is well formed: it has steps of its kind, a reason, finite figures and a time to live.

use super::{Finding, Scene, fatal};
use isobar_api::{
    directive::{DirectiveKind, Step},
    limits,
};

const REASON_BYTES_MAX: usize = 4_096;

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    let d = scene.directive;
    let mut found = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            found.push(fatal(what));
        }
    };
    need(!d.steps.is_empty(), "it has no steps");
    need(d.steps.len() <= limits::DIRECTIVE_STEPS_MAX, "it has too many steps");
    need(d.undo.len() <= limits::DIRECTIVE_STEPS_MAX, "it has too many undo steps");
    let zero = |s: &Step| s.target().is_some_and(|n| n.0 == 0);
    need(!d.steps.iter().chain(&d.undo).any(zero), "a step aims at node 0");
    need(
        !d.reason.is_empty() && d.reason.len() <= REASON_BYTES_MAX,
        "its reason is empty or too long",
    );
    need(kind_fits(d.kind, &d.steps), "its steps do not fit its kind");
    let now = scene.input.now_unix_ms;
    need(
        d.expires_at_unix_ms >= now && d.expires_at_unix_ms >= d.not_before_unix_ms,
        "it has expired already",
    );
    let expire_ms = scene.input.policy.budget.expire_s.saturating_mul(1_000);
    need(
        d.expires_at_unix_ms <= now.saturating_add(expire_ms),
        "it lives longer than the policy allows",
    );
    need(d.budget.stall_ms > 0 && d.budget.p99_rise_ms.is_finite(), "its budget is not set");
    let e = &d.predicted;
    let finite = [e.before, e.after, e.after_lower, e.after_upper].iter().all(|x| x.is_finite());
    need(finite && !e.metric.is_empty(), "its predicted effect is not a figure");
    // A rounding error is no contradiction.
    let slack = 1e-6 * (1.0 + e.after.abs());
    let ordered = e.after_lower <= e.after + slack && e.after <= e.after_upper + slack;
    need(!finite || ordered, "its predicted effect lies outside its own interval");
    need(e.realised.is_none(), "it claims a measured effect before it ran");
    found
}

fn kind_fits(kind: DirectiveKind, steps: &[Step]) -> bool {
    let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
    let splits = has(|s| matches!(s, Step::Split { .. }));
    let merges = has(|s| matches!(s, Step::Merge { .. }));
    let cuts = splits || merges;
    let adds = has(|s| matches!(s, Step::AddLearner { .. }));
    let removes = has(|s| matches!(s, Step::RemoveReplica { .. }));
    match kind {
        DirectiveKind::Split => splits && steps.len() == 1,
        DirectiveKind::TransferLeader => matches!(steps, [Step::TransferLeader { .. }]),
        DirectiveKind::Merge => merges && steps.len() == 1,
        DirectiveKind::MoveReplica => !cuts && adds && removes,
        DirectiveKind::Drain => !cuts && removes,
        DirectiveKind::Repair => !cuts && !has(|s| matches!(s, Step::TransferLeader { .. })),
    }
}
