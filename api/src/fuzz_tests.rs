//! Messages and documents, fed with arbitrary and with damaged bytes.

use crate::{
    ApiError,
    directive::{StepOrder, StepResult},
    plan::PlanRecord,
    policy::Policy,
    proto,
    report::{NodeLoad, NodeReport, NodeStatus},
    rtt::RttMatrix,
    shard::{Replica, ReplicaRole, ShardDescriptor, ShardEntry},
    table::{TableInfo, TableSpec},
    {Epoch, KeyRange, NodeId, ReplicaId, ShardId, TableId},
};
use isobar_fuzz::{config, damage, read_within};
use proptest::prelude::*;
use prost::Message;

/// Everything that reads bytes from the network or a file with the types of this crate.
fn decode_all(bytes: &[u8]) {
    read_within(bytes.len(), || decode_each(bytes));
}

fn decode_each(bytes: &[u8]) {
    let _ = proto::KvRequest::decode(bytes);
    let _ = proto::KvResponse::decode(bytes);
    let _ = proto::RaftFrame::decode(bytes);
    let _ = proto::SnapshotFrame::decode(bytes);
    let _ = proto::EnsureReplicaRequest::decode(bytes);
    if let Ok(map) = proto::ShardMapResponse::decode(bytes) {
        let _: Vec<ShardEntry> = map.shards.into_iter().map(ShardEntry::from).collect();
    }
    let _ = serde_json::from_slice::<StepOrder>(bytes).map(|order| order.validate());
    let _ = serde_json::from_slice::<StepResult>(bytes);
    let _ = serde_json::from_slice::<PlanRecord>(bytes);
    let _ = serde_json::from_slice::<Policy>(bytes).map(|policy| policy.validate());
    let _ = serde_json::from_slice::<NodeReport>(bytes);
    let _ = serde_json::from_slice::<NodeStatus>(bytes);
    let _ = serde_json::from_slice::<NodeLoad>(bytes);
    let _ = serde_json::from_slice::<ApiError>(bytes);
    let _ = serde_json::from_slice::<RttMatrix>(bytes);
    let _ = serde_json::from_slice::<ShardDescriptor>(bytes);
    let _ = serde_json::from_slice::<ShardEntry>(bytes);
    let _ = serde_json::from_slice::<TableInfo>(bytes);
    let _ = serde_json::from_slice::<TableSpec>(bytes)
        .map(|spec| (spec.validate().is_ok(), spec.split_keys().is_ok()));
}

fn entry() -> impl Strategy<Value = ShardEntry> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let replicas = prop::collection::vec((any::<[u64; 2]>(), any::<bool>()), 0..5);
    (any::<[u64; 6]>(), bytes(), bytes(), replicas).prop_map(|(n, start, end, replicas)| {
        let replica = |([replica, node], voter): ([u64; 2], bool)| Replica {
            replica_id: ReplicaId(replica),
            node_id: NodeId(node),
            role: if voter { ReplicaRole::Voter } else { ReplicaRole::Learner },
        };
        ShardEntry {
            shard_id: ShardId(n[0]),
            table_id: TableId(n[1]),
            range: KeyRange { start, end },
            epoch: Epoch { shape: n[2], membership: n[3] },
            replicas: replicas.into_iter().map(replica).collect(),
            leader: Some(NodeId(n[4])).filter(|node| node.0 != 0),
            term: n[5],
        }
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, text in "[\\[\\]{}\":,0-9a-z_.-]{0,60}") {
        decode_all(&bytes);
        decode_all(text.as_bytes());
    }

    #[test]
    fn fuzz_shard_entries(entry in entry(), damage in damage()) {
        let message = proto::ShardEntry::from(&entry).encode_to_vec();
        let back = proto::ShardEntry::decode(message.as_slice()).map(ShardEntry::from);
        prop_assert_eq!(back.as_ref(), Ok(&entry));
        let json = serde_json::to_vec(&entry).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<ShardEntry>(&json).unwrap(), &entry);
        for bytes in [message, json].map(|whole| damage.of(&whole)) {
            decode_all(&bytes);
            let _ = proto::ShardEntry::decode(bytes.as_slice()).map(ShardEntry::from);
        }
    }
}
