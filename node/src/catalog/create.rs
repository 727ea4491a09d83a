//! Creating tables.

use super::{Catalog, Placement, TableRecord, place};
use futures::future::try_join_all;
use isobar_api::{
    ApiError, ErrorCode, KeyRange, Merging, NodeId, Replica, ShardDescriptor, ShardId, TableId,
    Version, limits,
    proto::EnsureReplicaRequest,
    report::MemberInfo,
    table::{TableInfo, TableSpec, TableState},
};
use std::time::Duration;
use tokio::time::Instant;

const READY_WITHIN: Duration = Duration::from_secs(20);

impl Catalog {
    /// Creates a table and waits until each of its shards has a leader. Repeating an equal request is harmless.
    pub async fn create_table(&self, spec: &TableSpec) -> Result<TableInfo, ApiError> {
        spec.validate()?;
        if spec.name == super::META_TABLE_NAME {
            return Err(ApiError::new(
                ErrorCode::TableExists,
                "`system` is the system's own table",
            ));
        }
        let key = format!("table/{}", spec.name).into_bytes();
        loop {
            if let Some((value, _)) = self.meta().get(&key).await? {
                let record: TableRecord = serde_json::from_slice(&value).map_err(|why| {
                    ApiError::new(ErrorCode::Internal, format!("table record: {why}"))
                })?;
                if record.info.spec != *spec {
                    let message = format!("table {} exists with another specification", spec.name);
                    return Err(ApiError::new(ErrorCode::TableExists, message));
                }
                return self.finish_one(record).await;
            }
            let record = self.propose_table(spec).await?;
            let stored = serde_json::to_vec(&record).expect("plain data always encodes");
            if stored.len() > limits::VALUE_BYTES_MAX {
                let message = format!(
                    "the definition of table {} takes {} bytes of {}: begin with fewer shards",
                    spec.name,
                    stored.len(),
                    limits::VALUE_BYTES_MAX
                );
                return Err(ApiError::new(ErrorCode::InvalidArgument, message));
            }
            if self.write_record(&key, stored, Version::ABSENT).await? {
                return self.finish_one(record).await;
            }
        }
    }

    async fn propose_table(&self, spec: &TableSpec) -> Result<TableRecord, ApiError> {
        let members = self.registry.transport().members().all();
        let eligible: Vec<MemberInfo> =
            members.into_iter().filter(|m| m.alive && spec.rule.allows(&m.region)).collect();
        let count = usize::from(spec.rule.replicas);
        if eligible.len() < count {
            let regions: Vec<&str> =
                spec.rule.regions.iter().map(isobar_api::Region::as_str).collect();
            let message = format!(
                "table {} needs {count} nodes{}, there are {} live ones",
                spec.name,
                if regions.is_empty() {
                    String::new()
                } else {
                    format!(" in {}", regions.join(", "))
                },
                eligible.len(),
            );
            return Err(ApiError::new(ErrorCode::Unplaceable, message));
        }
        let ranges = ranges(&spec.split_keys()?);
        let table_id = TableId(self.meta().allocate("table", 1, 1).await?);
        let first = self.meta().allocate("shard", 2, ranges.len() as u64).await?;
        let placed_like = self.placed_like(spec).await?;
        let placements: Vec<Placement> = ranges
            .into_iter()
            .enumerate()
            .map(|(at, range)| {
                let shard = ShardId(first + at as u64);
                let like = placed_like.as_ref().map(|like| shard_at(like, &range.start));
                let hashed_as = like.map(|like| like.hashed_as.unwrap_or(like.shard));
                let replicas = place(hashed_as.unwrap_or(shard), &eligible, count)
                    .expect("enough nodes were counted");
                Placement { shard, range, hashed_as, replicas }
            })
            .collect();
        let info = TableInfo {
            table_id,
            spec: spec.clone(),
            state: TableState::Creating,
            first_shards: placements.iter().map(|p| p.shard).collect(),
        };
        Ok(TableRecord { info, placements })
    }

    /// The placements of the table whose hashes a new one takes over.
    async fn placed_like(&self, spec: &TableSpec) -> Result<Option<Vec<Placement>>, ApiError> {
        let Some(name) = &spec.placed_like else { return Ok(None) };
        let records = self.records().await?;
        let found = records.into_iter().find(|record| record.info.spec.name == *name);
        found.map(|record| Some(record.placements)).ok_or_else(|| {
            let message = format!("table {} is to be placed like {name}", spec.name);
            ApiError::new(ErrorCode::NoSuchTable, format!("{message}, which does not exist"))
        })
    }

    /// Finishes every table that stayed behind in `creating`.
    pub(super) async fn finish_creating(&self) -> Result<(), ApiError> {
        for record in self.records().await? {
            if record.info.state == TableState::Creating {
                self.finish_one(record).await?;
            }
        }
        Ok(())
    }

    /// Makes the replicas, waits for leaders, marks the table ready.
    async fn finish_one(&self, record: TableRecord) -> Result<TableInfo, ApiError> {
        if record.info.state == TableState::Ready {
            let _ = self.refresh().await;
            return Ok(record.info);
        }
        for placements in record.placements.chunks(32) {
            try_join_all(placements.iter().map(|p| self.make_shard(&record.info, p))).await?;
        }
        self.await_leaders(&record).await?;
        let key = format!("table/{}", record.info.spec.name).into_bytes();
        let mut ready = record.clone();
        ready.info.state = TableState::Ready;
        let stored = serde_json::to_vec(&ready).expect("plain data always encodes");
        if let Some((value, version)) = self.meta().get(&key).await?
            && value != stored
        {
            // Losing the race is fine: another node wrote the same.
            self.write_record(&key, stored, version).await?;
        }
        let _ = self.refresh().await;
        Ok(ready.info)
    }

    /// The first replica is made last: when it stands for election the others can vote.
    async fn make_shard(&self, info: &TableInfo, placement: &Placement) -> Result<(), ApiError> {
        let descriptor = ShardDescriptor {
            shard_id: placement.shard,
            table_id: info.table_id,
            range: placement.range.clone(),
            shape: 1,
            merging: Merging::default(),
            next_replica_id: placement.replicas.len() as u64 + 1,
            rule: info.spec.rule.clone(),
        };
        let (first, others) = placement.replicas.split_first().ok_or_else(|| {
            ApiError::new(ErrorCode::Internal, format!("{} has no replicas", placement.shard))
        })?;
        try_join_all(others.iter().map(|r| self.make_replica(&descriptor, &placement.replicas, r)))
            .await?;
        self.make_replica(&descriptor, &placement.replicas, first).await
    }

    pub(super) async fn make_replica(
        &self,
        descriptor: &ShardDescriptor,
        first: &[Replica],
        replica: &Replica,
    ) -> Result<(), ApiError> {
        let transport = self.registry.transport();
        let request = EnsureReplicaRequest {
            descriptor_json: serde_json::to_vec(descriptor)
                .expect("plain data always encodes")
                .into(),
            replica_id: replica.replica_id.0,
            from_node: transport.members().own().node_id.0,
            cluster_id: self.registry.cluster_id().to_owned(),
            first_replicas_json: serde_json::to_vec(first)
                .expect("plain data always encodes")
                .into(),
        };
        let node = replica.node_id;
        let made = transport.ensure_replica(node, request, Duration::from_secs(5)).await;
        made.map(|_| ()).map_err(|error| {
            ApiError::new(
                error.code,
                format!("{} on {node}: {}", descriptor.shard_id, error.message),
            )
        })
    }

    async fn await_leaders(&self, record: &TableRecord) -> Result<(), ApiError> {
        let began = Instant::now();
        loop {
            let leaderless: Vec<ShardId> =
                record.placements.iter().filter(|p| !self.has_leader(p)).map(|p| p.shard).collect();
            let Some(one) = leaderless.first() else { return Ok(()) };
            if began.elapsed() > READY_WITHIN {
                let message =
                    format!("{} shards have no leader yet, {one} for one", leaderless.len());
                return Err(ApiError::new(ErrorCode::Unavailable, message));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// By our own replica if we hold one, else by gossip.
    fn has_leader(&self, placement: &Placement) -> bool {
        let own: Option<NodeId> =
            self.registry.get(placement.shard).and_then(|replica| replica.leader_node());
        own.is_some() || self.meta().hinted_leader(placement.shard).is_some()
    }
}

/// The placement that holds a key. They tile the table, in key order.
fn shard_at<'p>(placements: &'p [Placement], key: &[u8]) -> &'p Placement {
    let after = placements.partition_point(|placement| placement.range.start.as_slice() <= key);
    &placements[after.saturating_sub(1)]
}

/// The ranges between split keys.
fn ranges(split_keys: &[Vec<u8>]) -> Vec<KeyRange> {
    let starts = std::iter::once(Vec::new()).chain(split_keys.iter().cloned());
    let ends = split_keys.iter().cloned().chain(std::iter::once(Vec::new()));
    starts.zip(ends).map(|(start, end)| KeyRange { start, end }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_keys_tile_the_table() {
        let ranges = ranges(&[b"g".to_vec(), b"p".to_vec()]);
        assert_eq!(ranges.len(), 3);
        assert!(ranges[0].start.is_empty() && ranges[2].end.is_empty());
        assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
        let placement = |(range, id)| {
            let shard = ShardId(id);
            Placement { shard, range, hashed_as: None, replicas: Vec::new() }
        };
        let placements: Vec<Placement> = ranges.into_iter().zip(7..).map(placement).collect();
        let at = |key: &[u8]| shard_at(&placements, key).shard.0;
        assert_eq!([at(b""), at(b"a"), at(b"g"), at(b"o"), at(b"p"), at(b"z")], [7, 7, 8, 8, 9, 9]);
    }
}
