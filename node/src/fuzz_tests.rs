//! The messages that nodes send each other, and the records that are kept as they were sent. Files, and what a shard
//! keeps, are fuzzed beside the code that reads them.

use crate::{
    consensus::raft::types::{
        Entry, LogId, Membership, SnapshotMeta, StoredMembership, TypeConfig, Vote, decode, encode,
    },
    shard::{AppliedState, Command, CommandResult, LocalReplica, fuzz_tests::command},
};
use isobar_fuzz::{Damage, config, damage, read_within};
use openraft::{
    EntryPayload,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};

/// Reads bytes as everything that is read with postcard. What can be read can be written, and is then the same again.
fn decode_all(bytes: &[u8]) {
    fn one<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        if let Ok(value) = read_within(bytes.len(), || decode::<T>(bytes)) {
            let again = encode(&value);
            let back = decode::<T>(&again).expect("our own");
            assert_eq!(encode(&back), again);
        }
    }
    one::<Command>(bytes);
    one::<CommandResult>(bytes);
    one::<Entry>(bytes);
    one::<Vote>(bytes);
    one::<LogId>(bytes);
    one::<SnapshotMeta>(bytes);
    one::<AppliedState>(bytes);
    one::<LocalReplica>(bytes);
    one::<AppendEntriesRequest<TypeConfig>>(bytes);
    one::<AppendEntriesResponse<TypeConfig>>(bytes);
    one::<VoteRequest<TypeConfig>>(bytes);
    one::<VoteResponse<TypeConfig>>(bytes);
    one::<TransferLeaderRequest<TypeConfig>>(bytes);
    one::<SnapshotResponse<TypeConfig>>(bytes);
    one::<u64>(bytes);
    one::<bool>(bytes);
    crate::quiesce::decode_messages(bytes);
    let _ = serde_json::from_slice::<crate::merge::MergeCall>(bytes);
    let _ = serde_json::from_slice::<crate::merge::MergeAnswer>(bytes);
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        1 => Just(EntryPayload::Blank),
        4 => command().prop_map(EntryPayload::Normal),
        1 => membership().prop_map(EntryPayload::Membership),
    ];
    let id = any::<[u64; 2]>();
    (id, payload).prop_map(|([term, index], payload)| Entry {
        log_id: LogId::new_term_index(term, index),
        payload,
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let nodes = prop::collection::btree_map(any::<u64>(), any::<u64>(), 1..5);
    nodes.prop_map(|nodes| {
        let voters = nodes.keys().copied().collect();
        let node = |node_id| crate::consensus::raft::types::RaftNode { node_id };
        let nodes: BTreeMap<u64, _> = nodes.into_iter().map(|(id, n)| (id, node(n))).collect();
        Membership::new(vec![voters], nodes).expect("all voters are nodes")
    })
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, damage: &Damage) {
    let whole = encode(value);
    let back = read_within(whole.len(), || decode::<T>(&whole));
    assert_eq!(back.as_ref(), Ok(value));
    decode_all(&damage.of(&whole));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) {
        decode_all(&bytes);
    }

    #[test]
    fn fuzz_lengths_that_are_only_claimed_take_no_memory(
        before in prop::collection::vec(0..10_u8, 0..12), after in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        // The largest length that a varint can claim, at any depth.
        let claim = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        decode_all(&[&before[..], &claim, &after].concat());
    }

    #[test]
    fn fuzz_log_entries(entry in entry(), damage in damage()) {
        comes_back(&entry, &damage);
    }

    #[test]
    fn fuzz_votes_and_positions(n in any::<[u64; 3]>(), committed: bool, damage in damage()) {
        let vote = if committed { Vote::new_committed(n[0], n[1]) } else { Vote::new(n[0], n[1]) };
        comes_back(&vote, &damage);
        comes_back(&LogId::new_term_index(n[0], n[2]), &damage);
    }

    #[test]
    fn fuzz_applied_states_and_snapshot_metas(
        n in any::<[u64; 5]>(), members in membership(), damage in damage(),
    ) {
        let last_log_id = Some(LogId::new_term_index(n[0], n[1]));
        let at = Some(LogId::new_term_index(n[2], n[3]));
        let membership = StoredMembership::new(at, members);
        comes_back(&SnapshotMeta { last_log_id, last_membership: membership.clone() }, &damage);
        comes_back(&AppliedState { last_applied: last_log_id, membership, last_hlc: n[4] }, &damage);
    }

    #[test]
    fn fuzz_append_requests(
        n in any::<[u64; 4]>(), entries in prop::collection::vec(entry(), 0..4), damage in damage(),
    ) {
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new(n[0], n[1]),
            prev_log_id: Some(LogId::new_term_index(n[2], n[3])),
            entries,
            leader_commit: None,
        };
        let whole = encode(&request);
        let back = read_within(whole.len(), || decode::<AppendEntriesRequest<TypeConfig>>(&whole));
        prop_assert_eq!(encode(&back.expect("our own")), whole.clone());
        decode_all(&damage.of(&whole));
    }
}
