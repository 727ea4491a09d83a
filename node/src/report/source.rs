//! The parts of a running node as the reporter sees them.

use super::{FaultedReplica, ReportSource};
use crate::{
    catalog::Catalog,
    directive::Directives,
    gossip::Gossip,
    kv::KvService,
    registry::{Faulted, Registry},
    replica::Replica,
};
use isobar_api::{ShardId, TableId, Term, report::NodeLoad};
use std::sync::Arc;

pub(super) struct NodeSource {
    pub(super) registry: Registry,
    pub(super) catalog: Catalog,
    pub(super) kv: KvService,
    pub(super) directives: Directives,
    pub(super) gossip: Gossip,
}

impl ReportSource for NodeSource {
    fn replicas(&self) -> Vec<Arc<Replica>> {
        self.registry.all()
    }

    fn faulted(&self) -> Vec<FaultedReplica> {
        let one = |(shard_id, faulted): (ShardId, Faulted)| FaultedReplica {
            shard_id,
            local: faulted.local,
            why: faulted.error.to_string(),
        };
        self.registry.faulted().into_iter().map(one).collect()
    }

    fn table_name(&self, table: TableId) -> String {
        self.catalog.name_of(table)
    }

    fn cluster_id(&self) -> String {
        self.registry.cluster_id().to_owned()
    }

    fn controller_term(&self) -> Term {
        self.directives.term()
    }

    fn in_flight(&self) -> u64 {
        self.kv.in_flight() as u64
    }

    fn fsync_ms_p99(&self) -> f64 {
        self.registry.log().stats().sync_us_p99 as f64 / 1_000.0
    }

    fn measured(&self, load: &NodeLoad) {
        self.gossip.set_load(load.clone());
    }
}
