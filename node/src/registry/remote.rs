//! Replicas of our shards that other nodes should hold and do not.

use super::Registry;
use crate::{consensus::raft::network::OnUnknownReplica, replica::Replica};
use isobar_api::{ApiError, NodeId, ReplicaId, ShardId};
use std::{sync::Arc, time::Duration};

impl Registry {
    /// A leader whose follower's node does not hold its replica asks that node to make an empty one.
    pub(super) fn on_unknown(&self, shard: ShardId) -> OnUnknownReplica {
        let weak = Arc::downgrade(&self.inner);
        Arc::new(move |node, replica| {
            let Some(inner) = weak.upgrade() else { return };
            let registry = Self { inner };
            tokio::spawn(async move {
                if let Some(ours) = registry.get(shard)
                    && ours.is_leader()
                    && let Err(error) =
                        registry.ensure_remote(&ours, node, ReplicaId(replica)).await
                {
                    tracing::debug!(%shard, %node, %error, "the node does not take its replica yet");
                }
            });
        })
    }

    /// Asks another node to hold an empty replica of a shard that this node leads.
    pub async fn ensure_remote(
        &self,
        ours: &Replica,
        node: NodeId,
        replica: ReplicaId,
    ) -> Result<bool, ApiError> {
        let descriptor = ours.descriptor()?;
        let request = isobar_api::proto::EnsureReplicaRequest {
            descriptor_json: serde_json::to_vec(&*descriptor)
                .expect("plain data always encodes")
                .into(),
            replica_id: replica.0,
            from_node: self.inner.node.0,
            cluster_id: self.cluster_id().to_owned(),
            first_replicas_json: Default::default(),
        };
        let timeout = Duration::from_secs(5);
        let answer = self.transport().ensure_replica(node, request, timeout).await?;
        Ok(answer.created)
    }
}
