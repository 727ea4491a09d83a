//! What one node says to the others.

use super::*;
use crate::{
    engine::{EngineErrorKind, MemoryDisk},
    members::Members,
    registry::tests::{leading, member, registry_of},
};
use isobar_api::rtt::RttMatrix;

const SURVIVOR: ShardId = ShardId(4);
const RIGHT: ShardId = ShardId(5);

/// A shard of one replica that is frozen, and at which index.
async fn frozen() -> (MemoryDisk, Merges, Arc<Replica>, u64) {
    let disk = MemoryDisk::new();
    let state = Arc::new(disk.open());
    let registry = registry_of(Members::new(member(1, true), RttMatrix::default()), &state);
    let replica = leading(&registry, RIGHT.0).await;
    let epoch = replica.state.epoch();
    let freeze = FreezeCommand {
        into: SURVIVOR,
        round: 0,
        expected_shape: epoch.shape,
        expected_membership: epoch.membership,
    };
    let done = replica.propose_alone(Command::Freeze(freeze)).await.unwrap();
    let CommandResult::Frozen { index } = done else { panic!("{done}") };
    (disk, Merges::new(registry, ShardHints::default()), replica, index)
}

fn applied(index: u64) -> MergeCall {
    MergeCall::Applied { right: RIGHT, replica: ReplicaId(1), index }
}

#[tokio::test]
async fn a_node_says_that_it_has_the_freeze_once_that_is_durable() {
    let (disk, merges, _, index) = frozen().await;
    let before = disk.syncs();
    assert_eq!(merges.answer(applied(index)).await, Ok(MergeAnswer::Applied));
    assert!(disk.syncs() > before, "what is not durable is gone after a crash");

    let (disk, merges, _, index) = frozen().await;
    disk.fail_syncs(Some(EngineErrorKind::Io));
    merges.answer(applied(index)).await.expect_err("it is not durable");
}

#[tokio::test]
async fn a_node_that_has_thawed_says_so() {
    let (_, merges, replica, index) = frozen().await;
    propose(&replica, Command::Thaw { index }).await.unwrap();
    merges.answer(applied(index)).await.expect_err("it is not frozen any more");
    // Nor for a freeze that came later.
    let epoch = replica.state.epoch();
    let call = MergeCall::Freeze { right: RIGHT, into: SURVIVOR, round: 1, expected: epoch };
    let MergeAnswer::Frozen { index: later, .. } = merges.answer(call).await.unwrap() else {
        panic!("not frozen")
    };
    merges.answer(applied(index)).await.expect_err("it is frozen at another index");
    assert_eq!(merges.answer(applied(later)).await, Ok(MergeAnswer::Applied));
}
