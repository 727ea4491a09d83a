//! The HTTP side of the one port: `/metrics`, `/livez`, `/readyz`.

use crate::service::Core;
use isobar_telemetry::http::ops_router;

/// The routes for operators' tools.
pub(crate) fn router(core: &Core) -> axum::Router {
    let readiness = core.readiness.clone();
    ops_router(core.metrics.registry.clone(), move || readiness.waiting())
}
