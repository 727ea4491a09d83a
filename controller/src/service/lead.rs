//! One tick: look, forecast, and – while we hold the lease – plan, check, record, carry on, verify.

use super::{Core, plans::PlanMemory};
use crate::{
    check::check,
    clock::now_unix_ms,
    error::Error,
    executor::{Verdict, verdict},
    journal::{Change, Entry},
    ledger,
    observe::ClosedWindow,
    planner::{self, PlanInput},
    store::Grant,
    view::{ClusterView, Forecasts, NodeHealth},
};
use isobar_api::{
    Term,
    directive::DirectiveState,
    plan::Plan,
    policy::{Mode, Policy},
};
use isobar_telemetry::trace_context::traceparent_of;
use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};
use tracing::Instrument;

/// How far back moves count for hourly budgets, milliseconds; for a longer dwell time, as far as that.
const HISTORY_MS: u64 = 3_600_000;
/// Windows of arrivals that are kept.
pub(crate) const WINDOWS_KEPT: u64 = 720;

/// One tick.
pub(super) async fn tick(core: &Arc<Core>) -> Result<(), Error> {
    let now = now_unix_ms();
    let policy = core.live().policy.clone();
    let (view, closed) = look(core, &policy, now);
    if let Some(window) = &closed {
        let mut forecaster = core.forecaster.lock().unwrap_or_else(PoisonError::into_inner);
        forecaster.configure(&policy.observe);
        forecaster.forget_cut(&view);
        forecaster.add(window);
    }
    let Some(mut grant) = core.leads() else {
        // Standing by: follow what the holder decides, so that reads here are true.
        return core.reload().await;
    };
    let seen = core.observer.fold().highest_term(grant.term);
    // A database that never gave out an id, on a cluster that has obeyed somebody: its first ids
    // would be those whose results the nodes have stored.
    if seen > grant.term || (seen > Term(0) && core.journal.is_new().await?) {
        grant = core.outbid(grant, seen).await?;
    }
    if let Some(window) = &closed {
        keep_for_restart(core, grant, window, &view, now).await?;
    }
    housekeeping(core, grant, now).await?;
    let open = core.journal.open().await?;
    for entry in &open {
        if entry.state == DirectiveState::Applied {
            verify(core, grant, entry, &view, &policy, now).await?;
        } else {
            core.executor.carry_on(entry);
        }
    }
    show_counts(core).await?;
    if !view.shards.is_empty() {
        plan_and_record(core, grant, view, policy, open, now).await?;
    }
    Ok(())
}

/// Takes the picture of this moment and publishes it.
fn look(
    core: &Core,
    policy: &Policy,
    now_unix_ms: u64,
) -> (Arc<ClusterView>, Option<ClosedWindow>) {
    let mut fold = core.observer.fold();
    let closed = fold.close_window(&policy.observe, now_unix_ms);
    let view = Arc::new(fold.view(&policy.observe, now_unix_ms));
    let (reports, gaps) = fold.counts();
    drop(fold);
    core.view.send_replace(view.clone());
    let metrics = &core.metrics;
    metrics.reports.inc_by(reports.saturating_sub(metrics.reports.get()));
    metrics.report_gaps.inc_by(gaps.saturating_sub(metrics.report_gaps.get()));
    let mut by_health = [("alive", 0_u32), ("unknown", 0), ("dead", 0)];
    for node in view.nodes.values() {
        let at = match node.health {
            NodeHealth::Alive => 0,
            NodeHealth::Unknown => 1,
            NodeHealth::Dead { .. } => 2,
        };
        by_health[at].1 += 1;
    }
    for (health, count) in by_health {
        metrics.nodes.with(&[health]).set(f64::from(count));
    }
    #[allow(clippy::cast_precision_loss)] // counts and ages for people
    {
        metrics.shards.set(view.shards.len() as f64);
        metrics.oldest_report_age.set(oldest_report_age_ms(&view).unwrap_or(0) as f64 / 1_000.0);
    }
    if by_health[0].1 > 0 {
        core.readiness.ready("cluster");
    } else {
        core.readiness.not_ready("cluster", "no node reports");
    }
    (view, closed)
}

/// Age of the oldest report in use: of nodes that have reported and are not dead.
pub(super) fn oldest_report_age_ms(view: &ClusterView) -> Option<u64> {
    let in_use = |n: &&crate::view::NodeView| !matches!(n.health, NodeHealth::Dead { .. });
    let ages = view.nodes.values().filter(in_use).filter_map(|n| n.reported_unix_ms);
    ages.map(|at| view.at_unix_ms.saturating_sub(at)).max()
}

/// Stores what a restarted controller needs to be warm.
async fn keep_for_restart(
    core: &Core,
    grant: Grant,
    window: &ClosedWindow,
    view: &ClusterView,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let body = serde_json::to_string(window).map_err(Error::document("a window"))?;
    let keep_from = now_unix_ms.saturating_sub(window.window_ms.saturating_mul(WINDOWS_KEPT));
    core.store.put_window(grant, window.start_unix_ms, window.window_ms, &body, keep_from).await?;
    let known = core.observer.fold().known_nodes();
    let known = serde_json::to_string(&known).map_err(Error::document("nodes"))?;
    core.store.set_setting(grant, "nodes", &known).await?;
    core.store.set_setting(grant, "cluster_id", &view.cluster_id).await
}

/// Ends what is over.
async fn housekeeping(core: &Core, grant: Grant, now_unix_ms: u64) -> Result<(), Error> {
    core.journal.expire_waiting(grant, now_unix_ms).await?;
    let over = core.freezes.borrow().iter().any(|f| f.expires_at_unix_ms <= now_unix_ms);
    if over {
        core.store.drop_expired_freezes(grant, now_unix_ms).await?;
        core.freezes.send_replace(Arc::new(core.store.freezes().await?));
    }
    Ok(())
}

/// Compares an applied directive with telemetry that is newer, and closes it.
async fn verify(
    core: &Core,
    grant: Grant,
    entry: &Entry,
    view: &ClusterView,
    policy: &Policy,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let (directive, applied) = (&entry.directive, entry.applied_unix_ms.unwrap_or(0));
    let (metric, rtt) = (&directive.predicted.metric, &core.config.rtt);
    let realised = match verdict(directive, entry.new_shard, applied, view, rtt, &policy.observe) {
        Verdict::TooEarly => return Ok(()),
        Verdict::Measured(realised) => realised,
    };
    let predicted = directive.predicted.after;
    let reason = match realised {
        Some(figure) => format!("{metric} is {figure:.2}, {predicted:.2} was predicted"),
        None => format!("{metric} could not be measured afterwards"),
    };
    let mut change = Change::to(DirectiveState::Verified, reason);
    change.realised = realised;
    core.journal.change(grant, directive.id, &change, now_unix_ms).await?;
    tracing::info!(directive = %directive.id, metric, realised, predicted, "verified");
    Ok(())
}

async fn show_counts(core: &Core) -> Result<(), Error> {
    let counts: BTreeMap<_, _> = core.journal.counts().await?.into_iter().collect();
    let mut shown = core.states_shown.lock().unwrap_or_else(PoisonError::into_inner);
    shown.extend(counts.keys().copied());
    for state in shown.iter() {
        // A state that nobody is in any more goes back to zero.
        let count = counts.get(state).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss)] // a count for people
        core.metrics.directives.with(&[&state.to_string()]).set(count as f64);
    }
    Ok(())
}

/// Makes the plan of this tick, checks it, and records what is new in it.
async fn plan_and_record(
    core: &Arc<Core>,
    grant: Grant,
    view: Arc<ClusterView>,
    policy: Arc<Policy>,
    open: Vec<Entry>,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let records: Vec<_> = open.iter().map(Entry::as_record).collect();
    let history_ms = HISTORY_MS.max(policy.balance.dwell_s.saturating_mul(1_000));
    let history = core.journal.move_history(now_unix_ms.saturating_sub(history_ms)).await?;
    let quiet = core.journal.quiet(now_unix_ms).await?;
    let started = Instant::now();
    let (shared, seen, rules) = (core.clone(), view.clone(), policy.clone());
    // Pure, and possibly long: beside the runtime's threads.
    let work = tokio::task::spawn_blocking(move || {
        let (view, policy) = (seen, rules);
        let forecasts = forecasts(&shared, now_unix_ms);
        let active = open.iter().filter(|e| e.state.is_active());
        let busy = active.flat_map(|e| e.directive.shards()).collect();
        let (policy_version, mode, drains) = {
            let live = shared.live();
            let wanted_empty = live.drains.iter().filter(|d| d.state != "cancelled");
            (live.policy_version, live.mode, wanted_empty.map(|d| d.node).collect())
        };
        let input = PlanInput {
            view: &view,
            policy: &policy,
            policy_version,
            forecasts: &forecasts,
            ledger: &ledger::build(&records, &view, &policy),
            history: &history,
            freezes: &shared.freezes.borrow().clone(),
            drains: &drains,
            rtt: &shared.config.rtt,
            busy: &busy,
            quiet: &quiet,
            controller_term: grant.term,
            mode,
            now_unix_ms,
            seed: shared.config.seed,
            parent: memory(&shared).newest(),
        };
        let mut plan = planner::plan(&input);
        plan.notes = check(&plan, &input);
        (plan, planner::drain_blockers(&input), mode)
    });
    let (plan, blockers, mode) = match work.await {
        Ok(made) => made,
        Err(panic) => {
            tracing::error!(%panic, "the planner failed; nothing is planned in this tick");
            core.metrics.tick_errors.inc();
            return Ok(());
        }
    };
    core.metrics.plan.observe(started.elapsed().as_secs_f64());
    core.update_drains(grant, &view, blockers, now_unix_ms).await?;
    // Planning takes time, and people may have narrowed what may be done meanwhile.
    let (now_mode, is_same_policy) = {
        let live = core.live();
        (live.mode, Arc::ptr_eq(&live.policy, &policy))
    };
    if !is_same_policy {
        return Ok(());
    }
    record(core, grant, plan, mode.min(now_mode), now_unix_ms).await
}

/// What is expected. Works after every closed window, and can take long then.
fn forecasts(core: &Core, now_unix_ms: u64) -> Forecasts {
    let mut forecaster = core.forecaster.lock().unwrap_or_else(PoisonError::into_inner);
    let forecasts = forecaster.forecasts(now_unix_ms);
    let champions = forecaster.champions();
    drop(forecaster);
    core.live().champions = champions;
    forecasts
}

/// Records what is new in a plan, and hands what may run to the executor. A span of its own, begun
/// only when there is something to record: it is the root of its directives' traces.
async fn record(
    core: &Arc<Core>,
    grant: Grant,
    plan: Plan,
    mode: Mode,
    now_unix_ms: u64,
) -> Result<(), Error> {
    let (keep, offer) = {
        let mut memory = memory(core);
        (memory.is_news(&plan, now_unix_ms), memory.is_offer(&plan, mode, now_unix_ms))
    };
    if !keep && !offer {
        return Ok(());
    }
    let span =
        tracing::info_span!("plan", plan = tracing::field::Empty, input_hash = %plan.input_hash);
    let trace = traceparent_of(&span).unwrap_or_default();
    let work = core.journal.record(grant, plan, mode, &trace, keep, now_unix_ms);
    let Some(recorded) = work.instrument(span.clone()).await? else {
        return Ok(());
    };
    span.record("plan", tracing::field::display(recorded.plan.id));
    core.metrics.plans_stored.inc();
    memory(core).kept(&recorded.plan, now_unix_ms);
    for directive in &recorded.plan.directives {
        tracing::info!(
            parent: &span, directive = %directive.id, plan = %recorded.plan.id, shard = %directive.shard,
            kind = %directive.kind, reason = %directive.reason, "planned"
        );
    }
    for id in recorded.started {
        if let Some(entry) = core.journal.entry(id).await? {
            core.executor.carry_on(&entry);
        }
    }
    Ok(())
}

fn memory(core: &Core) -> MutexGuard<'_, PlanMemory> {
    core.memory.lock().unwrap_or_else(PoisonError::into_inner)
}
