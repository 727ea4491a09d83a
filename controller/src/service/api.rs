//! What operators ask of a running controller. Reads are answered by every controller; changes only by the one that holds the lease.

use super::{Core, drains, lead};
use crate::{
    clock::now_unix_ms,
    error::Error,
    freeze::normal_scope,
    store::{DrainRow, Grant},
    view::{ClusterView, NodeHealth},
};
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, NodeId, PlanId, ShardId, Term,
    directive::Directive,
    plan::{
        ControllerStatus, DirectiveRecord, DirectiveSummary, DrainStatus, Freeze, PlanRecord,
        PlanSummary,
    },
    policy::{Mode, PolicyState},
};
use std::sync::Arc;

/// Most records in one list.
const LIST_MAX: u32 = 500;
/// Records in one list when no number is given.
const LIST_DEFAULT: u32 = 50;
/// Longest freeze, seconds: a freeze nobody remembers must end.
const FREEZE_S_MAX: u64 = 30 * 24 * 3_600;
/// Freeze when no time is given, seconds.
const FREEZE_S_DEFAULT: u64 = 3_600;
/// Longest owner, reason or scope, bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// A cheap handle on a running controller.
#[derive(Clone)]
pub struct ControllerHandle {
    core: Arc<Core>,
}

impl std::fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControllerHandle").field("holder", &self.core.holder).finish()
    }
}

impl ControllerHandle {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The newest view.
    pub fn view(&self) -> Arc<ClusterView> {
        self.core.view.borrow().clone()
    }

    /// What the controller says of itself.
    pub async fn status(&self) -> Result<ControllerStatus, ApiError> {
        let core = &self.core;
        let counts = core.journal.counts().await?;
        let open =
            counts.iter().filter(|(state, _)| !state.is_final()).map(|(_, n)| n).sum::<u64>();
        let view = self.view();
        let alive = view.nodes.values().filter(|n| n.health == NodeHealth::Alive).count();
        let (_, report_gaps) = core.observer.fold().counts();
        let term = core.leads().map(|grant| grant.term);
        let now = now_unix_ms();
        let freezes =
            core.freezes.borrow().iter().filter(|f| f.expires_at_unix_ms > now).cloned().collect();
        let live = core.live();
        Ok(ControllerStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster_id: view.cluster_id.clone(),
            mode: live.mode,
            term: term.unwrap_or(Term(0)),
            leads: term.is_some(),
            policy_version: live.policy_version,
            nodes: u32::try_from(alive).unwrap_or(u32::MAX),
            shards: u32::try_from(view.shards.len()).unwrap_or(u32::MAX),
            oldest_report_age_ms: lead::oldest_report_age_ms(&view),
            report_gaps,
            open_directives: u32::try_from(open).unwrap_or(u32::MAX),
            directives_by_state: counts,
            freezes,
            drains: live.drain_status.clone(),
            champions: live.champions.clone(),
        })
    }

    /// Plans in one line each, newest first; 0: a screenful.
    pub async fn plans(&self, limit: u32) -> Result<Vec<PlanSummary>, ApiError> {
        let mut out = Vec::new();
        for plan in self.core.journal.plans(bounded(limit)).await? {
            let states = self.core.journal.states(plan.id).await?;
            // One that the journal has dropped already is left out.
            let summary = |directive: Directive| {
                Some(DirectiveSummary {
                    id: directive.id,
                    kind: directive.kind,
                    shard: directive.shard,
                    state: *states.get(&directive.id)?,
                    reason: directive.reason,
                })
            };
            let (candidates, notes) = (plan.candidates.len() as u64, plan.notes.len() as u64);
            out.push(PlanSummary {
                id: plan.id,
                at_unix_ms: plan.at_unix_ms,
                controller_term: plan.controller_term,
                policy_version: plan.policy_version,
                candidates: candidates + plan.candidates_dropped,
                notes,
                directives: plan.directives.into_iter().filter_map(summary).collect(),
            });
        }
        Ok(out)
    }

    /// One plan with inputs, candidates, rejected alternatives, directives and their outcomes.
    pub async fn plan(&self, id: PlanId) -> Result<PlanRecord, ApiError> {
        Ok(self.core.journal.plan(id).await?)
    }

    /// Newest directives first, optionally of one shard; 0: a screenful.
    pub async fn directives(
        &self,
        limit: u32,
        shard: Option<ShardId>,
    ) -> Result<Vec<DirectiveRecord>, ApiError> {
        Ok(self.core.journal.directives(bounded(limit), shard).await?)
    }

    /// One directive with every change of state.
    pub async fn directive(&self, id: DirectiveId) -> Result<DirectiveRecord, ApiError> {
        Ok(self.core.journal.directive(id).await?)
    }

    /// Changes the mode of autonomy.
    pub async fn set_mode(
        &self,
        mode: Mode,
        owner: &str,
        reason: &str,
    ) -> Result<ControllerStatus, ApiError> {
        let (owner, reason) = (text("owner", owner)?, text("reason", reason)?);
        let grant = self.grant().await?;
        self.core.store.set_mode(grant, mode, &owner, &reason, now_unix_ms()).await?;
        self.core.live().mode = mode;
        tracing::info!(%mode, owner, reason, "mode changed");
        self.status().await
    }

    /// Freezes a scope for some seconds (0: an hour). What is under way is finished.
    pub async fn pause(
        &self,
        scope: &str,
        reason: &str,
        owner: &str,
        seconds: u64,
    ) -> Result<Freeze, ApiError> {
        let seconds = if seconds == 0 { FREEZE_S_DEFAULT } else { seconds };
        if seconds > FREEZE_S_MAX {
            let why = format!("a freeze lasts at most {FREEZE_S_MAX} seconds; renew it instead");
            return Err(ApiError::new(ErrorCode::InvalidArgument, why));
        }
        let now = now_unix_ms();
        let freeze = Freeze {
            scope: normal_scope(&text("scope", scope)?)?,
            reason: text("reason", reason)?,
            owner: text("owner", owner)?,
            expires_at_unix_ms: now + seconds * 1_000,
        };
        let grant = self.grant().await?;
        self.core.store.put_freeze(grant, &freeze, now).await?;
        self.refresh_freezes().await?;
        tracing::info!(scope = %freeze.scope, owner = %freeze.owner, reason = %freeze.reason, "frozen");
        Ok(freeze)
    }

    /// Lifts the freeze of a scope, or every freeze if the scope is empty. Returns what was lifted.
    pub async fn resume(&self, scope: &str, owner: &str) -> Result<Vec<Freeze>, ApiError> {
        let scope = match scope {
            "" => None,
            scope => Some(normal_scope(&text("scope", scope)?)?),
        };
        let owner = text("owner", owner)?;
        let grant = self.grant().await?;
        let lifted: Vec<Freeze> = self.core.store.freezes().await?;
        let lifted: Vec<Freeze> =
            lifted.into_iter().filter(|f| scope.as_ref().is_none_or(|s| *s == f.scope)).collect();
        self.core.store.lift_freezes(grant, scope.as_deref(), &owner, now_unix_ms()).await?;
        self.refresh_freezes().await?;
        Ok(lifted)
    }

    /// Approves or rejects a directive that waits.
    pub async fn decide(
        &self,
        id: DirectiveId,
        approve: bool,
        owner: &str,
        reason: &str,
    ) -> Result<DirectiveRecord, ApiError> {
        let (owner, reason) = (text("owner", owner)?, text("reason", reason)?);
        let grant = self.grant().await?;
        if approve && self.core.live().mode == Mode::Observe {
            let why = "in mode observe nothing is carried out; set mode propose or act first";
            return Err(ApiError::new(ErrorCode::InvalidArgument, why));
        }
        let now = now_unix_ms();
        if approve {
            let record = self.core.journal.directive(id).await?;
            let freezes = self.core.freezes.borrow().clone();
            if let Some(freeze) =
                crate::freeze::over(&record.directive, &self.view(), &freezes, now)
            {
                let why =
                    format!("{} is frozen by {}: {}", freeze.scope, freeze.owner, freeze.reason);
                return Err(ApiError::new(ErrorCode::Frozen, why));
            }
        }
        self.core.journal.decide(grant, id, approve, &owner, &reason, now).await?;
        if let Some(entry) = self.core.journal.entry(id).await? {
            self.core.executor.carry_on(&entry);
        }
        self.directive(id).await
    }

    /// Every drain that is not cancelled.
    pub fn drains(&self) -> Vec<DrainStatus> {
        self.core.live().drain_status.clone()
    }

    /// The drain of one node.
    pub fn drain(&self, node: NodeId) -> Result<DrainStatus, ApiError> {
        let live = self.core.live();
        let missing =
            || ApiError::new(ErrorCode::NoSuchRecord, format!("{node} is not being drained"));
        live.drain_status.iter().find(|d| d.node == node).cloned().ok_or_else(missing)
    }

    /// Begins to empty a node; repeating it changes nothing.
    pub async fn start_drain(&self, node: NodeId, owner: &str) -> Result<DrainStatus, ApiError> {
        let owner = text("owner", owner)?;
        let view = self.view();
        if !view.nodes.contains_key(&node) {
            let why = format!("there is no node {node}; `isobar node-list` shows the nodes");
            return Err(ApiError::new(ErrorCode::InvalidArgument, why));
        }
        let grant = self.grant().await?;
        let known = self.core.live().drains.iter().find(|d| d.node == node).cloned();
        if known.is_some_and(|d| d.state != "cancelled") {
            return self.drain(node);
        }
        let row = DrainRow {
            node,
            state: "draining".into(),
            owner,
            started_unix_ms: now_unix_ms(),
            replicas_at_start: drains::replicas_on(&view, node),
        };
        self.put_drain(grant, row, &view).await
    }

    /// Stops emptying a node; replicas may go there again.
    pub async fn cancel_drain(&self, node: NodeId, owner: &str) -> Result<DrainStatus, ApiError> {
        let owner = text("owner", owner)?;
        let grant = self.grant().await?;
        let known = self.core.live().drains.iter().find(|d| d.node == node).cloned();
        let missing =
            || ApiError::new(ErrorCode::NoSuchRecord, format!("{node} is not being drained"));
        let row = DrainRow { state: "cancelled".into(), owner, ..known.ok_or_else(missing)? };
        self.put_drain(grant, row, &self.view()).await
    }

    async fn put_drain(
        &self,
        grant: Grant,
        row: DrainRow,
        view: &ClusterView,
    ) -> Result<DrainStatus, ApiError> {
        let now = now_unix_ms();
        self.core.store.put_drain(grant, &row, now).await?;
        let status = drains::status(&row, Vec::new(), view, now);
        tracing::info!(node = %row.node, state = %row.state, owner = %row.owner, "drain");
        let mut live = self.core.live();
        live.drains.retain(|d| d.node != row.node);
        live.drain_status.retain(|d| d.node != row.node);
        if row.state != "cancelled" {
            live.drain_status.push(status.clone());
        }
        live.drains.push(row);
        live.drains.sort_by_key(|d| d.node);
        live.drain_status.sort_by_key(|d| d.node);
        Ok(status)
    }

    /// The active policy.
    pub fn policy(&self) -> PolicyState {
        self.core.policy_state()
    }

    /// Replaces the policy after validation; a dry run only shows the difference.
    pub async fn set_policy(
        &self,
        toml: &str,
        dry_run: bool,
        owner: &str,
    ) -> Result<PolicyState, ApiError> {
        if dry_run {
            return Ok(self.core.apply_policy(None, toml, owner).await?);
        }
        let owner = text("owner", owner)?;
        let grant = self.grant().await?;
        Ok(self.core.apply_policy(Some(grant), toml, &owner).await?)
    }

    /// Our term, or whom to ask instead.
    async fn grant(&self) -> Result<Grant, ApiError> {
        if let Some(grant) = self.core.leads() {
            return Ok(grant);
        }
        let lease = self.core.store.lease().await?;
        let why = match lease.holder.as_str() {
            "" => "no controller holds the lease yet; try again in a moment".to_owned(),
            holder => format!("this controller stands by; the lease is held by {holder}"),
        };
        Err(ApiError::new(ErrorCode::Fenced, why).retry_after_ms(500))
    }

    async fn refresh_freezes(&self) -> Result<(), Error> {
        let freezes = self.core.store.freezes().await?;
        self.core.freezes.send_replace(Arc::new(freezes));
        Ok(())
    }
}

fn bounded(limit: u32) -> u32 {
    if limit == 0 { LIST_DEFAULT } else { limit.min(LIST_MAX) }
}

/// A text given by a person: bounded, without control characters that could garble a log.
fn text(what: &str, given: &str) -> Result<String, ApiError> {
    if given.len() > TEXT_BYTES_MAX || given.chars().any(char::is_control) {
        let why =
            format!("{what} must have at most {TEXT_BYTES_MAX} bytes and no control characters");
        return Err(ApiError::new(ErrorCode::InvalidArgument, why));
    }
    let owner_missing = what == "owner" && given.trim().is_empty();
    Ok(if owner_missing { "unknown".into() } else { given.trim().to_owned() })
}
