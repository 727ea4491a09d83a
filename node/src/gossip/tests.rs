//! Several gossips in one process, over loopback UDP.

use super::*;
use isobar_api::{
    Epoch, KeyRange, Region, Replica, ReplicaId, ReplicaRole, ShardId, TableId, report::MemberInfo,
    rtt::RttMatrix,
};

pub(super) fn entry(shard: u64, term: u64) -> ShardEntry {
    let replica = |id: u64| Replica {
        replica_id: ReplicaId(id),
        node_id: NodeId(id),
        role: ReplicaRole::Voter,
    };
    ShardEntry {
        shard_id: ShardId(shard),
        table_id: TableId(1),
        range: KeyRange {
            start: format!("user/{shard:08}").into(),
            end: format!("user/{:08}", u128::from(shard) + 1).into(),
        },
        epoch: Epoch { shape: 1, membership: 3 },
        replicas: (1..=3).map(replica).collect(),
        leader: Some(NodeId(1)),
        term,
    }
}

struct Node {
    gossip: Gossip,
    members: Members,
    hints: ShardHints,
}

fn own(node: u64, address: SocketAddr) -> MemberInfo {
    MemberInfo {
        node_id: NodeId(node),
        address: address.to_string(),
        region: Region::new(format!("region-{node}")).unwrap(),
        zone: format!("zone-{node}"),
        alive: true,
        load: NodeLoad::default(),
    }
}

fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn start(node: u64, address: SocketAddr, seed: SocketAddr, incarnation: u64) -> Node {
    let seeds = if seed == address { vec![] } else { vec![seed.to_string()] };
    let mut config = GossipConfig::new(address, seeds, "test");
    (config.interval_ms, config.silence_ms_min) = (40, 600);
    let members = Members::new(own(node, address), RttMatrix::default());
    let hints = ShardHints::default();
    let gossip = Gossip::start(config, members.clone(), hints.clone(), incarnation).await.unwrap();
    Node { gossip, members, hints }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("30 s have passed and not yet: {what}");
}

fn ids(nodes: &[u64]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

#[tokio::test]
async fn nodes_find_each_other_and_news_travel() {
    let addresses = [free_address(), free_address(), free_address()];
    let mut nodes = Vec::new();
    for (node, address) in (1..).zip(addresses) {
        nodes.push(start(node, address, addresses[0], 1).await);
    }
    for node in &nodes {
        until("all three alive", || node.gossip.alive() == ids(&[1, 2, 3])).await;
    }
    // Nodes 2 and 3 know only the seed: they have met through it.
    let third = nodes[1].members.get(NodeId(3)).unwrap();
    assert_eq!(third, own(3, addresses[2]));

    let load = NodeLoad { cpu_cores: 1.5, replicas: 4, ..NodeLoad::default() };
    nodes[0].gossip.set_load(load.clone());
    nodes[0].gossip.set_cluster_id("c-1");
    nodes[0].gossip.set_led([entry(1, 1), entry(2, 1)]);
    let far = &nodes[2];
    until("load, cluster and hints arrive", || {
        far.members.get(NodeId(1)).is_some_and(|member| member.load == load)
            && far.gossip.cluster_ids().contains("c-1")
            && far.hints.all() == [entry(1, 1), entry(2, 1)]
    })
    .await;

    // Node 2 takes over shard 2; the hint of node 1 is older and does not come back.
    nodes[0].gossip.set_led([entry(1, 1)]);
    nodes[1].gossip.set_led([entry(2, 5)]);
    until("the fresher hint wins", || far.hints.get(ShardId(2)) == Some(entry(2, 5))).await;
}

#[tokio::test]
async fn a_stopped_node_is_seen_dead_and_its_next_self_alive() {
    let (first, second) = (free_address(), free_address());
    let watching = start(1, first, first, 1).await;
    let other = start(2, second, first, 100).await;
    other.gossip.set_led([entry(9, 1)]);
    until("node 2 alive", || watching.gossip.alive() == ids(&[1, 2])).await;
    until("its hint", || watching.hints.get(ShardId(9)).is_some()).await;

    other.gossip.shutdown().await;
    until("node 2 dead", || watching.gossip.alive() == ids(&[1])).await;
    assert_eq!(watching.members.get(NodeId(2)).map(|member| member.alive), Some(false));

    // It comes back elsewhere, having forgotten nothing that matters.
    let moved = free_address();
    let other = start(2, moved, first, 200).await;
    other.gossip.set_led([entry(9, 2)]);
    until("node 2 alive again, at its new address", || {
        let member = watching.members.get(NodeId(2));
        member.is_some_and(|member| member.alive && member.address == moved.to_string())
    })
    .await;
    until("and its new hint", || watching.hints.get(ShardId(9)) == Some(entry(9, 2))).await;
}

#[tokio::test]
async fn a_thousand_shards_travel_and_are_taken_back() {
    let (first, second) = (free_address(), free_address());
    let leading = start(1, first, first, 1).await;
    let other = start(2, second, first, 1).await;
    leading.gossip.set_led((0..1_000).map(|shard| entry(shard, 1)));
    until("a thousand hints", || other.hints.all().len() == 1_000).await;
    // One change among them travels too.
    let changed = |shard| entry(shard, if shard == 500 { 2 } else { 1 });
    leading.gossip.set_led((0..1_000).map(changed));
    until("one change", || other.hints.get(ShardId(500)) == Some(entry(500, 2))).await;

    leading.gossip.set_led([]);
    let late = start(3, free_address(), first, 1).await;
    leading.gossip.set_cluster_id("after");
    until("what was published last", || late.gossip.cluster_ids().contains("after")).await;
    let chitchat = other.gossip.inner.handle.chitchat();
    for _ in 0..1_500 {
        let hints_left = {
            let chitchat = chitchat.lock().await;
            let states = chitchat.node_states().values();
            states.map(|state| state.iter_prefix(view::HINT_PREFIX).count()).sum::<usize>()
        };
        if hints_left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("hints that were taken back are still published");
}

#[tokio::test]
async fn clusters_of_other_names_stay_strangers() {
    let (first, second, third) = (free_address(), free_address(), free_address());
    let ours = start(1, first, first, 1).await;
    let mut config = GossipConfig::new(second, vec![first.to_string()], "another");
    config.interval_ms = 40;
    let members = Members::new(own(2, second), RttMatrix::default());
    let foreign = Gossip::start(config, members, ShardHints::default(), 1).await.unwrap();
    // By the time that a third has come, the second has knocked many times.
    let _friend = start(3, third, first, 1).await;
    until("the third", || ours.gossip.alive().contains(&NodeId(3))).await;
    assert_eq!(ours.gossip.alive(), ids(&[1, 3]));
    assert_eq!(foreign.alive(), ids(&[2]));
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_start() {
    let address = free_address();
    let _taken = std::net::UdpSocket::bind(address).unwrap();
    let code = async |address: SocketAddr, advertised: &str, seed: &str| {
        let seeds = if seed.is_empty() { vec![] } else { vec![seed.to_owned()] };
        let own = MemberInfo { address: advertised.into(), ..own(1, address) };
        let members = Members::new(own, RttMatrix::default());
        let config = GossipConfig::new(address, seeds, "test");
        let started = Gossip::start(config, members, ShardHints::default(), 1).await;
        started.err().expect("must be refused").code
    };
    let local = address.to_string();
    assert_eq!(code(address, &local, "").await, ErrorCode::BadAddress, "the port is taken");
    let free = free_address();
    assert_eq!(code(free, "0.0.0.0:7411", "").await, ErrorCode::BadAddress);
    assert_eq!(code(free, "127.0.0.1:0", "").await, ErrorCode::BadAddress);
    assert_eq!(code(free, "[::1]:7411", "").await, ErrorCode::BadAddress, "another family");
    assert_eq!(code(free, "nowhere", "").await, ErrorCode::BadAddress);
    for seed in ["host", ":7411", "host:0", "host:x"] {
        assert_eq!(code(free, &free.to_string(), seed).await, ErrorCode::BadConfig, "{seed}");
    }
}
