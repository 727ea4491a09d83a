//! Where a new shard's replicas go before anything is known of its load: by hash, spread over regions and zones.

use isobar_api::{KeyRange, NodeId, Replica, ReplicaId, ReplicaRole, ShardId, report::MemberInfo};
use serde::{Deserialize, Serialize};

/// A new shard and its first replicas; the first of them stands for election.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The shard.
    pub shard: ShardId,
    /// Its keys.
    pub range: KeyRange,
    /// The shard whose hash it has, if not its own: that of the shard it is placed like.
    #[serde(default)]
    pub hashed_as: Option<ShardId>,
    /// Its first replicas.
    pub replicas: Vec<Replica>,
}

/// Chooses `count` nodes for a shard by rendezvous hashing (Thaler and Ravishankar, 1998): the highest hash leads,
/// the others follow by hash, nodes in regions and zones not used yet first. `None`: too few nodes.
pub fn place(shard: ShardId, nodes: &[MemberInfo], count: usize) -> Option<Vec<Replica>> {
    let mut ranked: Vec<&MemberInfo> = nodes.iter().collect();
    ranked.sort_by_key(|node| (std::cmp::Reverse(weight(shard, node.node_id)), node.node_id));
    let mut chosen: Vec<&MemberInfo> = Vec::new();
    while chosen.len() < count {
        let crowding = |node: &MemberInfo| {
            let same_region = chosen.iter().filter(|c| c.region == node.region).count();
            let same_zone =
                chosen.iter().filter(|c| c.region == node.region && c.zone == node.zone).count();
            (same_region, same_zone)
        };
        let free = ranked.iter().filter(|n| !chosen.iter().any(|c| c.node_id == n.node_id));
        let best = free.min_by_key(|node| crowding(node))?;
        chosen.push(best);
    }
    let replica = |(at, node): (usize, &&MemberInfo)| Replica {
        replica_id: ReplicaId(at as u64 + 1),
        node_id: node.node_id,
        role: ReplicaRole::Voter,
    };
    Some(chosen.iter().enumerate().map(replica).collect())
}

fn weight(shard: ShardId, node: NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&shard.0.to_be_bytes());
    hasher.update(&node.0.to_be_bytes());
    let hash = hasher.finalize();
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{Region, report::NodeLoad};
    use std::collections::{BTreeMap, BTreeSet};

    fn node(id: u64, region: &str) -> MemberInfo {
        MemberInfo {
            node_id: NodeId(id),
            address: String::new(),
            region: Region::new(region).expect("legal"),
            zone: "a".into(),
            alive: true,
            load: NodeLoad::default(),
        }
    }

    #[test]
    fn replicas_spread_over_regions_and_leaders_over_nodes() {
        let nodes = [node(1, "eu"), node(2, "eu"), node(3, "us"), node(4, "us"), node(5, "ap")];
        let mut leaders = BTreeMap::new();
        for shard in 1..=200 {
            let replicas = place(ShardId(shard), &nodes, 3).expect("five nodes");
            let of = |r: &Replica| nodes.iter().find(|n| n.node_id == r.node_id).expect("known");
            let regions: BTreeSet<_> = replicas.iter().map(|r| &of(r).region).collect();
            assert_eq!(regions.len(), 3, "one replica per region");
            *leaders.entry(replicas[0].node_id).or_insert(0) += 1;
        }
        assert!(
            leaders.len() == 5 && leaders.values().all(|n| (20..=60).contains(n)),
            "{leaders:?}"
        );
    }

    #[test]
    fn too_few_nodes_is_no_placement() {
        assert_eq!(place(ShardId(1), &[node(1, "eu"), node(2, "eu")], 3), None);
    }
}
