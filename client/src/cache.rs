//! What the client has learned: the shard map, tables by name, members. Never asked for per request.

use isobar_api::{
    ApiError, ErrorCode, KeyRange, NodeId, Region, ShardEntry, ShardId, TableId,
    map::ShardMap,
    proto,
    report::MemberInfo,
    table::{TableInfo, TableState},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tonic::metadata::{Ascii, MetadataValue};

/// The id of the cluster, once it is known, as reads and writes carry it.
pub(crate) type ClusterStamp = Arc<OnceLock<MetadataValue<Ascii>>>;

#[derive(Default)]
pub(crate) struct Cache {
    known: RwLock<Known>,
    stamp: ClusterStamp,
}

#[derive(Default)]
struct Known {
    cluster_id: String,
    shards: ShardMap,
    tables: BTreeMap<String, Arc<TableInfo>>,
    members: BTreeMap<NodeId, MemberInfo>,
}

impl Known {
    /// Takes over the members that a node lists. One that has just started may know only itself:
    /// members that it leaves out stay, as not alive, while some shard has a replica there.
    fn replace_members(&mut self, listed: BTreeMap<NodeId, MemberInfo>) {
        let before = std::mem::replace(&mut self.members, listed);
        for (node, member) in before {
            let needed = || self.shards.iter().any(|shard| shard.replica_on(node).is_some());
            if !self.members.contains_key(&node) && needed() {
                self.members.insert(node, MemberInfo { alive: false, ..member });
            }
        }
    }

    /// Adds a table. A node that is a moment behind takes nothing away: it may not list the newest
    /// tables, and may call ready ones unready.
    fn learn(&mut self, info: Arc<TableInfo>) {
        let name = info.spec.name.clone();
        let ready = self.tables.get(&name).is_some_and(|known| {
            known.table_id == info.table_id && known.state == TableState::Ready
        });
        if !ready {
            self.tables.insert(name, info);
        }
    }
}

impl Cache {
    /// Takes in a whole map. Refuses one of another cluster: its nodes must never see our writes.
    pub(crate) fn absorb(&self, response: proto::ShardMapResponse) -> Result<(), ApiError> {
        let tables: Vec<TableInfo> = decode("the list of tables", &response.tables_json)?;
        let mut known = self.write();
        let theirs = response.cluster_id;
        if !theirs.is_empty() {
            if !known.cluster_id.is_empty() && known.cluster_id != theirs {
                let message =
                    format!("the node belongs to cluster {theirs}, not to {}", known.cluster_id);
                return Err(ApiError::new(ErrorCode::BadAddress, message));
            }
            if let Ok(id) = theirs.parse() {
                // It never changes: the check above sees to that.
                let _ = self.stamp.set(id);
            }
            known.cluster_id = theirs;
        }
        for entry in response.shards {
            known.shards.merge(entry.into());
        }
        let members: BTreeMap<_, _> =
            response.members.into_iter().filter_map(member).map(|m| (m.node_id, m)).collect();
        if !members.is_empty() {
            known.replace_members(members);
        }
        for table in tables {
            known.learn(Arc::new(table));
        }
        Ok(())
    }

    /// Takes in entries that came with an error. Returns whether they were news.
    pub(crate) fn merge(&self, entries: &[ShardEntry]) -> bool {
        if entries.is_empty() {
            return false;
        }
        let mut known = self.write();
        let mut news = false;
        for entry in entries {
            // All of them, also after the first that is news.
            news |= known.shards.merge(entry.clone());
        }
        news
    }

    pub(crate) fn learn_table(&self, info: TableInfo) -> Arc<TableInfo> {
        let info = Arc::new(info);
        self.write().learn(info.clone());
        info
    }

    pub(crate) fn find(&self, table: TableId, key: &[u8]) -> Option<ShardEntry> {
        self.read().shards.find(table, key).cloned()
    }

    /// The node that leads the shard that owns the key.
    pub(crate) fn leader_of(&self, table: TableId, key: &[u8]) -> Option<NodeId> {
        self.read().shards.find(table, key)?.leader
    }

    /// The range of the shard that owns the key; the whole table while that is unknown.
    pub(crate) fn range_of(&self, table: TableId, key: &[u8]) -> KeyRange {
        self.read().shards.find(table, key).map(|e| e.range.clone()).unwrap_or_default()
    }

    /// Groups key positions by the shard that owns them; the last list has those nobody is known to own.
    pub(crate) fn group(
        &self,
        table: TableId,
        keys: &[&[u8]],
        positions: &[usize],
    ) -> (Vec<(ShardEntry, Vec<usize>)>, Vec<usize>) {
        let known = self.read();
        let mut groups: BTreeMap<ShardId, (ShardEntry, Vec<usize>)> = BTreeMap::new();
        let mut unknown = Vec::new();
        for &position in positions {
            match known.shards.find(table, keys[position]) {
                Some(entry) => groups
                    .entry(entry.shard_id)
                    .or_insert_with(|| (entry.clone(), Vec::new()))
                    .1
                    .push(position),
                None => unknown.push(position),
            }
        }
        (groups.into_values().collect(), unknown)
    }

    pub(crate) fn table(&self, name: &str) -> Option<Arc<TableInfo>> {
        self.read().tables.get(name).cloned()
    }

    pub(crate) fn tables(&self) -> Vec<TableInfo> {
        self.read().tables.values().map(|t| (**t).clone()).collect()
    }

    pub(crate) fn shards(&self) -> Vec<ShardEntry> {
        self.read().shards.iter().cloned().collect()
    }

    pub(crate) fn members(&self) -> Vec<MemberInfo> {
        self.read().members.values().cloned().collect()
    }

    pub(crate) fn stamp(&self) -> ClusterStamp {
        self.stamp.clone()
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.read().cluster_id.clone()
    }

    /// Address, region and liveness by gossip.
    pub(crate) fn member<T>(&self, node: NodeId, f: impl FnOnce(&MemberInfo) -> T) -> Option<T> {
        self.read().members.get(&node).map(f)
    }

    pub(crate) fn region_of(&self, node: NodeId) -> Option<Region> {
        self.member(node, |m| m.region.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("no code panics while it holds this lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().expect("no code panics while it holds this lock")
    }
}

/// Reads a JSON document of a node or controller; empty stands for an empty list.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(
    what: &str,
    json: &[u8],
) -> Result<T, ApiError> {
    let json = if json.is_empty() { b"[]" } else { json };
    serde_json::from_slice(json).map_err(|error| {
        let message = format!("{what} cannot be read: {error}");
        ApiError::new(ErrorCode::Internal, message)
    })
}

fn member(member: proto::Member) -> Option<MemberInfo> {
    let region = match Region::new(member.region) {
        Ok(region) => region,
        Err(error) => {
            tracing::warn!(node = member.node_id, %error, "member left out");
            return None;
        }
    };
    Some(MemberInfo {
        node_id: NodeId(member.node_id),
        address: member.address,
        region,
        zone: member.zone,
        alive: member.alive,
        // Load is advice only: a member of a newer version may say it in another way.
        load: serde_json::from_slice(&member.load_json).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Epoch, Replica, ReplicaId, ReplicaRole};

    fn response(cluster: &str) -> proto::ShardMapResponse {
        proto::ShardMapResponse { cluster_id: cluster.into(), ..proto::ShardMapResponse::default() }
    }

    #[test]
    fn another_clusters_map_is_refused() {
        let cache = Cache::default();
        cache.absorb(response("")).expect("a node that is not formed yet");
        cache.absorb(response("one")).expect("the first cluster");
        let error = cache.absorb(response("two")).expect_err("another one");
        assert_eq!(error.code, ErrorCode::BadAddress);
    }

    #[test]
    fn a_node_that_is_behind_takes_no_table_away() {
        let cache = Cache::default();
        let rule = isobar_api::table::TableRule {
            regions: vec![],
            replicas: 1,
            replicas_max: 1,
            ack: Default::default(),
        };
        let info = |name: &str, state| TableInfo {
            table_id: TableId(1),
            spec: isobar_api::table::TableSpec {
                name: name.into(),
                rule: rule.clone(),
                split_keys: vec![],
                placed_like: None,
            },
            state,
            first_shards: vec![],
        };
        cache.learn_table(info("orders", TableState::Ready));
        cache.absorb(response("one")).expect("it lists no table");
        cache.learn_table(info("orders", TableState::Creating));
        let known = cache.table("orders").expect("still known");
        assert_eq!(known.state, TableState::Ready);
    }

    fn entry(id: u64, start: &str, end: &str) -> ShardEntry {
        ShardEntry {
            shard_id: ShardId(id),
            table_id: TableId(1),
            range: KeyRange { start: start.into(), end: end.into() },
            epoch: Epoch { shape: 1, membership: 1 },
            replicas: vec![],
            leader: None,
            term: 1,
        }
    }

    #[test]
    fn a_node_that_knows_only_itself_does_not_hide_the_others() {
        let cache = Cache::default();
        let listing = |nodes: &[u64]| proto::ShardMapResponse {
            members: nodes
                .iter()
                .map(|node| proto::Member {
                    node_id: *node,
                    address: format!("127.0.0.1:{node}"),
                    region: "eu".into(),
                    alive: true,
                    ..proto::Member::default()
                })
                .collect(),
            ..response("one")
        };
        let replica = |node| Replica {
            replica_id: ReplicaId(node),
            node_id: NodeId(node),
            role: ReplicaRole::Voter,
        };
        cache.absorb(listing(&[1, 2, 3])).expect("all three");
        cache.merge(&[ShardEntry { replicas: vec![replica(1), replica(2)], ..entry(1, "", "") }]);
        cache.absorb(listing(&[1])).expect("just started");
        let alive: Vec<_> = cache.members().iter().map(|m| (m.node_id.0, m.alive)).collect();
        assert_eq!(alive, [(1, true), (2, false)], "node 3 holds nothing");
    }

    #[test]
    fn keys_are_grouped_by_owner() {
        let cache = Cache::default();
        assert!(cache.merge(&[entry(1, "", "h"), entry(2, "h", "p")]));
        assert!(!cache.merge(&[entry(1, "", "h")]));
        let keys: Vec<&[u8]> = vec![b"a", b"k", b"z", b"b"];
        let (groups, unknown) = cache.group(TableId(1), &keys, &[0, 1, 2, 3]);
        let groups: Vec<_> = groups.into_iter().map(|(e, p)| (e.shard_id.0, p)).collect();
        assert_eq!(groups, [(1, vec![0, 3]), (2, vec![1])]);
        assert_eq!(unknown, [2]);
    }
}
