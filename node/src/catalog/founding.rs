//! How a cluster begins: the founders meet by gossip, the lowest of them names it and makes the meta shard.

use super::{Catalog, META_SHARD, META_TABLE, place};
use crate::{
    engine::{Space, WriteBatch},
    gossip::Gossip,
    identity::DataDir,
    registry::Registry,
    shard::keys,
};
use isobar_api::{
    ApiError, ErrorCode, KeyRange, Merging, NodeId, ShardDescriptor,
    report::MemberInfo,
    table::{AckLevel, TableRule},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lets this node into a cluster, once; refuses every other. Cheap to clone.
#[derive(Clone)]
pub struct ClusterAdmission {
    /// Where a node that is in no cluster yet writes down which it joins.
    directory: Option<Arc<DataDir>>,
    registry: Registry,
}

impl ClusterAdmission {
    /// Admission of the node with this data directory.
    pub fn new(directory: Arc<DataDir>, registry: Registry) -> Self {
        let known = directory.cluster_id();
        if !known.is_empty() {
            registry.set_cluster_id(&known);
        }
        Self { directory: Some(directory), registry }
    }

    /// Admission of a node without a data directory, which is in this cluster from the beginning.
    pub fn of(cluster_id: &str, registry: Registry) -> Self {
        registry.set_cluster_id(cluster_id);
        Self { directory: None, registry }
    }

    /// Joins the cluster if the node is in none; refuses if it is in another.
    pub fn admit(&self, cluster_id: &str) -> Result<(), ApiError> {
        if cluster_id.is_empty() {
            return Err(ApiError::new(ErrorCode::Refused, "the caller belongs to no cluster"));
        }
        let own = self.registry.cluster_id();
        if own.is_empty() {
            if let Some(directory) = &self.directory {
                directory.set_cluster_id(cluster_id)?;
            }
            self.registry.set_cluster_id(cluster_id);
            tracing::info!(cluster = cluster_id, "joined the cluster");
            return Ok(());
        }
        if own == cluster_id {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Refused, "this node belongs to another cluster"))
    }
}

/// The task that founds or joins.
pub struct Founding {
    /// This node.
    pub node: NodeId,
    /// Who founds.
    pub founders: BTreeSet<NodeId>,
    /// Gossip.
    pub gossip: Gossip,
    /// Admission.
    pub admission: ClusterAdmission,
    /// Tables.
    pub catalog: Catalog,
}

impl Founding {
    /// Runs until the node is in a cluster and, where it is the founder, the meta shard is made.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.run_to_the_end()).await;
    }

    async fn run_to_the_end(&self) {
        let mut told = None;
        loop {
            match self.step().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if told.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "founding goes on");
                    told = Some(error);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn step(&self) -> Result<bool, ApiError> {
        let registry = &self.catalog.registry;
        let founder = self.founders.first() == Some(&self.node);
        if registry.cluster_id().is_empty() {
            let seen = self.gossip.cluster_ids();
            if seen.len() > 1 {
                // A node never changes its cluster, so it must not take a guess.
                let seen = seen.into_iter().collect::<Vec<_>>().join(", ");
                let message = format!("the clusters {seen} gossip here under one name");
                return Err(ApiError::new(ErrorCode::Refused, message));
            }
            if let Some(cluster_id) = seen.first() {
                self.admission.admit(cluster_id)?;
            } else if founder && self.founders_alive().is_some() {
                let id: u64 = rand::random();
                self.admission.admit(&format!("{id:016x}"))?;
            } else {
                return Ok(false);
            }
        }
        // Also where a peer has let this node in meanwhile: who names no cluster is taken for a friend by all.
        self.gossip.set_cluster_id(registry.cluster_id());
        if !founder {
            return Ok(true);
        }
        let engine = registry.state_engine();
        if engine.get(Space::Meta, &keys::node::founded())?.is_some() {
            return Ok(true);
        }
        let Some(founders) = self.founders_alive() else { return Ok(false) };
        self.catalog.make_meta_shard(&founders).await?;
        let mut batch = WriteBatch::new();
        batch.put(Space::Meta, keys::node::founded(), b"1");
        engine.write(batch)?;
        engine.sync()?;
        tracing::info!(
            cluster = registry.cluster_id(),
            founders = founders.len(),
            "cluster founded"
        );
        Ok(true)
    }

    /// The founders, once all of them are alive.
    fn founders_alive(&self) -> Option<Vec<MemberInfo>> {
        let members = self.catalog.registry.transport().members().all();
        let founders: Vec<MemberInfo> =
            members.into_iter().filter(|m| m.alive && self.founders.contains(&m.node_id)).collect();
        (founders.len() == self.founders.len()).then_some(founders)
    }
}

impl Catalog {
    /// Makes the meta shard on some of the founders. Repeating it is harmless. Fails if one of them does not answer.
    pub async fn make_meta_shard(&self, founders: &[MemberInfo]) -> Result<(), ApiError> {
        let voters = match founders.len() {
            0..=2 => 1,
            3 | 4 => 3,
            _ => 5,
        };
        let replicas = place(META_SHARD, founders, voters)
            .ok_or_else(|| ApiError::new(ErrorCode::Unplaceable, "no founder is alive"))?;
        let descriptor = ShardDescriptor {
            shard_id: META_SHARD,
            table_id: META_TABLE,
            range: KeyRange::all(),
            shape: 1,
            merging: Merging::default(),
            next_replica_id: voters as u64 + 1,
            rule: TableRule {
                regions: Vec::new(),
                replicas: voters as u8,
                replicas_max: 7,
                ack: AckLevel::Majority,
            },
        };
        let (first, others) = replicas.split_first().expect("at least one voter");
        for replica in others {
            self.make_replica(&descriptor, &replicas, replica).await?;
        }
        self.make_replica(&descriptor, &replicas, first).await
    }
}
