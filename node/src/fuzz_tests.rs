//! Every decoder of what peers send and disks give back, fed with arbitrary and with damaged bytes.

use crate::{
    consensus::raft::{
        log_record,
        types::{Entry, RaftNode, SnapshotMeta, TypeConfig, Vote, decode, encode, seed_log_id},
    },
    shard::{
        AppliedState, Command, CommandResult, LocalReplica, SplitCommand, StepNote, WriteCommand,
        WriteOutcome, command::Mutation, row::Row,
    },
};
use isobar_api::{NodeId, ReplicaId, ShardId, TableId, Version};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn config() -> ProptestConfig {
    let cases = std::env::var("ISOBAR_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(256), ..ProptestConfig::default() }
}

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Truncate(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    /// The largest number there is, where a length may stand.
    Length(prop::sample::Index),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<prop::sample::Index>;
    let damage = prop_oneof![
        (index(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        index().prop_map(Damage::Truncate),
        (index(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, b)| Damage::Insert(at, b)),
        index().prop_map(Damage::Length),
    ];
    prop::collection::vec(damage, 0..4)
}

fn damage(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        match damage {
            Damage::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Damage::Flip(..) => {}
            Damage::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Damage::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Length(at) => {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + 1);
                let largest = [0xff; 9].into_iter().chain([1]);
                bytes.splice(at..end, largest);
            }
        }
    }
    bytes
}

/// A value comes back as it was; damaged, it is a value or an error, and a value can be encoded.
fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, damages: &[Damage]) {
    let bytes = encode(value);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
    if let Ok(other) = decode::<T>(&damage(bytes, damages)) {
        encode(&other);
    }
}

fn version() -> impl Strategy<Value = Version> {
    (any::<u64>(), any::<u64>()).prop_map(|(hlc, node)| Version { hlc, origin: NodeId(node) })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn write() -> impl Strategy<Value = WriteCommand> {
    let mutation = (bytes(), prop::option::of(bytes()), prop::option::of(version()), any::<u32>())
        .prop_map(|(key, value, expected, schema_version)| Mutation {
            key,
            value,
            expected,
            schema_version,
        });
    let mutations = prop::collection::vec(mutation, 0..5);
    (any::<[u8; 16]>(), any::<[u64; 4]>(), mutations).prop_map(|(client_id, numbers, mutations)| {
        let [sequence, first_unacknowledged, hlc, origin] = numbers;
        WriteCommand { client_id, sequence, first_unacknowledged, hlc, origin, mutations }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let split = (bytes(), any::<[u64; 3]>(), any::<u32>()).prop_map(|(at_key, n, step_index)| {
        let (child, expected_shape, directive_id) = (ShardId(n[0]), n[1], n[2]);
        Command::Split(SplitCommand { at_key, child, expected_shape, directive_id, step_index })
    });
    let note = (any::<u64>(), any::<u32>(), "\\PC{0,20}").prop_map(|(directive_id, step, json)| {
        Command::NoteStep(StepNote { directive_id, step_index: step, result_json: json })
    });
    prop_oneof![
        prop::collection::vec(write(), 0..4).prop_map(|writes| Command::Write(writes.into())),
        split,
        note,
        Just(Command::AllocateReplica),
        any::<u64>().prop_map(|before_hlc| Command::ExpireSessions { before_hlc }),
    ]
}

/// What a node does with a state that it could read.
fn use_applied(state: &AppliedState) {
    let _ = (state.replicas(), state.membership_epoch(), state.is_joint());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, key: Vec<u8>) {
        let _ = decode::<Command>(&bytes);
        let _ = decode::<CommandResult>(&bytes);
        let _ = decode::<Entry>(&bytes);
        let _ = decode::<Vote>(&bytes);
        let _ = decode::<SnapshotMeta>(&bytes);
        let _ = decode::<AppendEntriesRequest<TypeConfig>>(&bytes);
        let _ = decode::<VoteRequest<TypeConfig>>(&bytes);
        let _ = decode::<LocalReplica>(&bytes);
        let _ = log_record::decode::<Entry>(&key, &bytes);
        let _ = Row::decode(&bytes);
        if let Ok(state) = decode::<AppliedState>(&bytes) {
            use_applied(&state);
        }
    }

    #[test]
    fn fuzz_commands(command in command(), damages in damages()) {
        holds(&command, &damages);
    }

    #[test]
    fn fuzz_outcomes(current in prop::collection::vec(version(), 0..5), repeated: bool, damages in damages()) {
        let applied = WriteOutcome::Applied { version: Version::ABSENT, repeated };
        let outcomes = vec![WriteOutcome::Conflict { current, repeated }, applied, WriteOutcome::OutsideRange];
        holds(&CommandResult::Write(outcomes), &damages);
    }

    #[test]
    fn fuzz_replica_records(numbers: [u64; 2], start: Vec<u8>, damages in damages()) {
        let local = LocalReplica {
            replica_id: ReplicaId(numbers[0]),
            table_id: TableId(numbers[1]),
            end: start.clone(),
            start,
        };
        holds(&local, &damages);
    }

    #[test]
    fn fuzz_applied_states(
        voters in prop::collection::btree_map(1..9_u64, 1..9_u64, 0..5), last_hlc: u64, damages in damages(),
    ) {
        let nodes: std::collections::BTreeMap<u64, RaftNode> =
            voters.iter().map(|(id, node)| (*id, RaftNode { node_id: *node })).collect();
        let ids: std::collections::BTreeSet<u64> = nodes.keys().copied().collect();
        let membership = openraft::Membership::new(vec![ids], nodes).expect("every voter has a node");
        let seed = Some(seed_log_id());
        let membership = openraft::StoredMembership::new(seed, membership);
        let state = AppliedState { last_applied: seed, membership, last_hlc };
        holds(&state, &damages);
        if let Ok(state) = decode::<AppliedState>(&damage(encode(&state), &damages)) {
            use_applied(&state);
        }
    }

    #[test]
    fn fuzz_rows(version in version(), schema: u32, value: Vec<u8>, damages in damages()) {
        let _ = Row::decode(&damage(Row::encode(version, schema, &value), &damages));
    }
}
