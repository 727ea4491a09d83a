//! Taking replicas away: for good when they are no members any more, out of service when their data are damaged.

use super::{Faulted, Registry, to_the_end};
use crate::{
    engine::{Space, WriteBatch, offload},
    replica::Replica,
    shard::{LocalReplica, keys},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, ReplicaId, ShardDescriptor, ShardId, proto::ReadIndexRequest,
};
use std::{sync::Arc, time::Duration};

impl Registry {
    /// Stops a replica and deletes everything of it. Its id, and lower ones, never come back to this node. A replica
    /// that cannot be deleted stays, out of service.
    pub async fn retire(&self, shard: ShardId, replica: ReplicaId) -> Result<bool, ApiError> {
        let this = self.clone();
        to_the_end(async move {
            let _one = this.inner.changing.lock().await;
            let present = this.get(shard).filter(|present| present.replica_id <= replica);
            let faulted = this.faulted().remove(&shard);
            let faulted = faulted.filter(|faulted| faulted.local.replica_id <= replica);
            let local = match (&present, faulted) {
                (Some(present), _) => present.extent(),
                (None, Some(faulted)) => faulted.local,
                (None, None) => return Ok(false),
            };
            if let Some(present) = &present {
                this.inner.replicas.write().expect("no holder of this lock panics").remove(&shard);
                let _ = present.raft.shutdown().await;
                // The library does not wait for entries, or a snapshot, that are being applied. They must not bring
                // back what is deleted below.
                let state = present.state.clone();
                let withdrawn = offload(&this.inner.state, move || state.withdraw_rows()).await;
                withdrawn.map_err(|why| ApiError::new(ErrorCode::Internal, why.to_string()))?;
            }
            if let Err(error) = this.delete(shard, replica, &local).await {
                this.set_aside(shard, local, error.clone());
                return Err(error);
            }
            this.inner.faulted.write().expect("no holder of this lock panics").remove(&shard);
            tracing::info!(%shard, %replica, "replica removed from this node");
            Ok(true)
        })
        .await
    }

    /// Deletes state and log of a stopped replica, and remembers that it was removed.
    async fn delete(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        local: &LocalReplica,
    ) -> Result<(), ApiError> {
        let range = local.range();
        let mut batch = WriteBatch::new();
        match self.holders_of(shard, local.table_id, &range).first() {
            None => {
                let (start, end) = keys::rows(local.table_id, &range);
                batch.delete_range(Space::Data, start, end);
            }
            // The descriptor is damaged, and the range known without it is that from before a split. Rows left
            // behind are overwritten by whoever holds these keys next.
            Some(other) => tracing::warn!(%shard, %other, "rows stay: another replica holds some"),
        }
        let (start, end) = keys::sessions(shard);
        batch.delete_range(Space::Sessions, start.clone(), end.clone());
        batch.delete_range(Space::Staging, start.clone(), end.clone());
        batch.delete_range(Space::Meta, start, end);
        batch.delete(Space::Meta, keys::node::replica(shard));
        batch.put(Space::Meta, keys::node::tombstone(shard), replica.0.to_be_bytes().to_vec());
        self.write_durably(batch).await?;
        Ok(self.inner.log.destroy(shard.0).await?)
    }

    /// Ends the group of a shard that is part of another one now. Its records are gone already, its rows stay.
    pub(super) async fn end_subsumed(&self, survivor: ShardId, right: ShardId) {
        let _one = self.inner.changing.lock().await;
        let present =
            self.inner.replicas.write().expect("no holder of this lock panics").remove(&right);
        if let Some(present) = present {
            let _ = present.raft.shutdown().await;
        }
        self.inner.faulted.write().expect("no holder of this lock panics").remove(&right);
        match self.destroy_log_left(right).await {
            Ok(()) => tracing::info!(%survivor, %right, "a shard was merged into its neighbour"),
            Err(error) => {
                tracing::warn!(%right, %error, "the log of a subsumed shard stays until the next start");
            }
        }
    }

    /// Destroys the log of a subsumed shard. Until its end is durable, a crash brings the shard back, with its log.
    pub(super) async fn destroy_log_left(&self, shard: ShardId) -> Result<(), ApiError> {
        self.write_durably(WriteBatch::new()).await?;
        self.inner.log.destroy(shard.0).await?;
        let mut done = WriteBatch::new();
        done.delete(Space::Meta, keys::node::log_left(shard));
        Ok(self.inner.state.write(done)?)
    }

    /// Retires a replica if the shard's confirmed leader says that it is no member any more.
    pub async fn retire_if_removed(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        leader: NodeId,
    ) -> Result<bool, ApiError> {
        let transport = self.transport();
        let request = ReadIndexRequest { shard_id: shard.0, from_replica: replica.0 };
        match transport.read_index(leader, request, Duration::from_secs(2)).await {
            Err(error) if says_removed(&error, shard, replica) => self.retire(shard, replica).await,
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }

    /// Takes a replica whose stored data are damaged out of service, so that another one leads and serves. What is on
    /// disk stays as it is.
    pub fn take_out(&self, replica: &Arc<Replica>, error: &ApiError) {
        let shard = replica.shard_id;
        {
            let mut replicas = self.inner.replicas.write().expect("no holder of this lock panics");
            if replicas.get(&shard).is_none_or(|present| !Arc::ptr_eq(present, replica)) {
                return;
            }
            // Both at once: a replica that is being retired must not come back among the faulted.
            self.set_aside(shard, replica.extent(), error.clone());
            replicas.remove(&shard);
        }
        tracing::error!(%shard, %error, "a damaged replica is taken out of service; others go on");
        let stopped = replica.clone();
        tokio::spawn(async move { stopped.raft.shutdown().await });
    }

    /// Remembers a replica that is out of service, with the narrowest range that is known of it: what the node wrote
    /// down when it made the replica is from before its splits.
    pub(super) fn set_aside(&self, shard: ShardId, local: LocalReplica, error: ApiError) {
        let stored = self.inner.state.get(Space::Meta, &keys::descriptor(shard)).ok().flatten();
        let descriptor = stored.and_then(|s| serde_json::from_slice::<ShardDescriptor>(&s).ok());
        let local = descriptor.map_or(local.clone(), |d| LocalReplica::of(local.replica_id, &d));
        let mut faulted = self.inner.faulted.write().expect("no holder of this lock panics");
        faulted.insert(shard, Faulted { local, error });
    }
}

/// Whether this is a leader's word that the replica is no member. Other refusals, such as that of a node of another
/// cluster, name no members, and nothing is deleted on their account.
fn says_removed(error: &ApiError, shard: ShardId, replica: ReplicaId) -> bool {
    let without = |entry: &isobar_api::ShardEntry| {
        entry.shard_id == shard && entry.replicas.iter().all(|r| r.replica_id != replica)
    };
    error.code == ErrorCode::Refused && error.shards.iter().any(without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Epoch, KeyRange, Replica as Member, ReplicaRole, ShardEntry, TableId};

    #[test]
    fn only_a_list_of_members_without_the_replica_says_that_it_was_removed() {
        let member =
            Member { replica_id: ReplicaId(4), node_id: NodeId(1), role: ReplicaRole::Voter };
        let entry = ShardEntry {
            shard_id: ShardId(7),
            table_id: TableId(1),
            range: KeyRange::all(),
            epoch: Epoch::default(),
            replicas: vec![member],
            leader: Some(NodeId(1)),
            term: 2,
        };
        let refused = ApiError::new(ErrorCode::Refused, "not a replica of the shard");
        let told = refused.clone().with_shards(vec![entry.clone()]);
        assert!(says_removed(&told, ShardId(7), ReplicaId(3)));
        assert!(!says_removed(&told, ShardId(7), ReplicaId(4)), "it is listed");
        assert!(!says_removed(&told, ShardId(8), ReplicaId(3)), "another shard");
        assert!(!says_removed(&refused, ShardId(7), ReplicaId(3)), "a stranger's refusal");
        let stale = ApiError::new(ErrorCode::NotLeader, "no").with_shards(vec![entry]);
        assert!(!says_removed(&stale, ShardId(7), ReplicaId(3)));
    }
}
