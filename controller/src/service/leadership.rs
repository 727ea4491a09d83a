//! Holding the lease: taken, renewed, lost, given back.

use super::Core;
use crate::{clock::now_unix_ms, error::Error, lease::Watch, store::Grant};
use isobar_api::Term;
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Shortest time between two outbiddings of a controller with another database.
const OUTBID_PAUSE: Duration = Duration::from_secs(60);

/// Keeps the lease for as long as it can, and tries to take it whenever it is free.
pub(super) async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let lease_ms = core.config.lease_ms;
    let mut every = tokio::time::interval(Duration::from_millis((lease_ms / 4).max(50)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let lease = Duration::from_millis(lease_ms);
    let (mut watch, mut valid_until) = (Watch::default(), Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let began = Instant::now();
        // A database that hangs must not keep us believing: the lease runs out meanwhile.
        let kept = tokio::time::timeout(lease, keep_once(&core, &mut watch, lease_ms)).await;
        let trouble = match kept {
            Ok(Ok(true)) => {
                valid_until = began + lease;
                None
            }
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database does not answer".into()),
        };
        // We may lead for as long as our lease still runs, no longer.
        if let Some(why) = trouble {
            tracing::warn!(%why, "the lease could not be taken or renewed");
            core.readiness.not_ready("database", why);
            if let Some(grant) = core.leads().filter(|_| Instant::now() >= valid_until) {
                lost(&core, grant.term);
            }
        }
        let term = core.leads().map_or(0, |grant| grant.term.0);
        #[allow(clippy::cast_precision_loss)] // terms are small
        core.metrics.term.set(term as f64);
        core.metrics.lease_held.set(if term > 0 { 1.0 } else { 0.0 });
    }
}

/// Renews or takes the lease. Returns whether we hold it now.
async fn keep_once(core: &Arc<Core>, watch: &mut Watch, lease_ms: u64) -> Result<bool, Error> {
    let now_unix_ms = now_unix_ms();
    let expires_unix_ms = now_unix_ms + lease_ms;
    if let Some(grant) = core.leads() {
        if core.store.renew_lease(grant, expires_unix_ms).await? {
            return Ok(true);
        }
        // Unless our own term was raised between the two statements.
        lost(core, grant.term);
        return Ok(false);
    }
    let row = core.store.lease().await?;
    if !row.is_free(now_unix_ms) && !watch.is_abandoned(&row, Instant::now()) {
        return Ok(false);
    }
    let Some(grant) = core.store.take_lease(&row, &core.holder, expires_unix_ms).await? else {
        return Ok(false);
    };
    took_over(core, grant).await?;
    Ok(true)
}

/// Reads what the last holder left, and leads from here on.
async fn took_over(core: &Arc<Core>, grant: Grant) -> Result<(), Error> {
    if core.store.mode().await?.is_none() {
        let mode = core.config.mode;
        core.store.set_mode(grant, mode, "config", "first start", now_unix_ms()).await?;
    }
    super::policy::store_first(core, grant).await?;
    core.reload().await?;
    core.grant.send_replace(Some(grant));
    tracing::info!(term = %grant.term, holder = %core.holder, "this controller holds the lease");
    Ok(())
}

/// Another controller leads, or may: stop everything at once. News of a term that we have left
/// behind since does not end the present one.
pub(super) fn lost(core: &Core, ours: Term) {
    if core.grant.send_if_modified(|grant| grant.take_if(|g| g.term == ours).is_some()) {
        core.executor.stop();
        tracing::warn!(term = %ours, "the lease is lost; standing by");
    }
}

/// Gives the lease back at the end.
pub(super) async fn step_down(core: &Core) {
    if let Some(grant) = core.grant.send_replace(None)
        && let Err(error) = core.store.release_lease(grant).await
    {
        tracing::debug!(%error, "the lease runs out by itself");
    }
}

impl Core {
    /// Takes settings over from the database.
    pub(super) async fn reload(&self) -> Result<(), Error> {
        let freezes = self.store.freezes().await?;
        let (version, toml, policy) = super::policy::load(&self.store, &self.config).await?;
        let mode = self.store.mode().await?.unwrap_or(self.config.mode);
        let drains = self.store.drains().await?;
        self.freezes.send_replace(Arc::new(freezes));
        let mut live = self.live();
        live.mode = mode;
        live.policy_version = version;
        live.policy_toml = toml;
        live.policy = Arc::new(policy);
        live.drains = drains;
        Ok(())
    }

    /// Nodes have obeyed a controller with another database: this one is new, or an old copy. Go
    /// above its term, or every step would be refused for ever, and past its ids.
    pub(super) async fn outbid(&self, grant: Grant, seen: Term) -> Result<Grant, Error> {
        {
            let mut last = self.outbid_at.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < OUTBID_PAUSE) {
                // It outbids us as well: two who fight help nobody. Stand aside for a while.
                return Err(Error::Fenced { ours: grant.term });
            }
            *last = Some(Instant::now());
        }
        let raised = self.store.raise_term(grant, seen).await?;
        tracing::error!(
            ours = %grant.term, %seen, now = %raised.term,
            "nodes have seen a controller of another database; make sure that it is stopped"
        );
        self.grant.send_replace(Some(raised));
        Ok(raised)
    }
}
