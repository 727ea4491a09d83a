//! A controller gone mad: thousands of stale, malformed, unsafe and repeated orders, while a sane one moves replicas.
//! Whatever is answered, no shard ever has fewer voters than its floor, lies outside its regions, is led by a
//! replica that is no voter, or has two replicas on one node; and no row is lost.
//!
//! `ISOBAR_FAULT_SEED` chooses other orders, `ISOBAR_FAULT_ORDERS` more of them.

#[path = "directive_faults/orders.rs"]
mod orders;
mod support;

use isobar_api::{
    NodeId, Region, ReplicaRole, ShardEntry, Term,
    directive::{Refusal, Step, StepOrder, StepResult},
    invariant,
    proto::{GetStatusRequest, node_client::NodeClient},
    report::NodeStatus,
    table::{AckLevel, TableRule},
};
use orders::{Draft, FIRST_TERM, FORBIDDEN, Made, World, drafts, judge};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use support::{Cluster, send_to};
use tonic::transport::Channel;

const TABLE: &str = "held";
const SENDERS: u64 = 4;
/// Whole moves (add, promote, lead, remove) of the sane controller.
const MOVES: usize = 8;
const ROWS: usize = 40;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    }
}

/// What all tasks share.
struct Trial {
    rule: TableRule,
    regions: BTreeMap<NodeId, Region>,
    channels: BTreeMap<NodeId, Channel>,
    world: Mutex<World>,
    ended: AtomicBool,
    /// How often each kind of answer came.
    answers: Mutex<BTreeMap<String, u64>>,
    looks: AtomicU64,
}

impl Trial {
    fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().expect("no test thread panics here"))
    }

    /// Sends an order, notes the answer, and looks at the cluster after everything that was done.
    async fn send(&self, made: &Made) -> Result<StepResult, Refusal> {
        let answer = send_to(self.channels[&made.node].clone(), made.json.clone()).await;
        let kind = match &answer {
            Ok(done) if done.already => "already".to_owned(),
            Ok(_) => "done".to_owned(),
            Err(refusal) => {
                let text = serde_json::to_value(refusal).expect("plain data");
                text["refusal"].as_str().expect("a tag").to_owned()
            }
        };
        *self.answers.lock().expect("no test thread panics here").entry(kind).or_default() += 1;
        if answer.is_ok() {
            self.look().await;
        }
        answer
    }

    /// Holds every replica's own words against the invariants, and remembers what leaders say.
    async fn look(&self) {
        let mut led = Vec::new();
        for (node, channel) in &self.channels {
            let status = NodeClient::new(channel.clone()).get_status(GetStatusRequest {}).await;
            let status = status.expect("no order stops a node").into_inner();
            let status: NodeStatus = serde_json::from_slice(&status.status_json).expect("a status");
            for report in status.replicas.into_iter().filter(|report| report.table == TABLE) {
                assert_eq!(report.fault, None, "{node}: {}", report.shard.shard_id);
                // A learner that has heard nothing yet knows of no replica at all.
                if !report.shard.replicas.is_empty() {
                    self.check(&report.shard);
                }
                if report.is_leader {
                    led.push(report.shard);
                }
            }
        }
        self.looks.fetch_add(1, SeqCst);
        self.world(|world| {
            for entry in led {
                // What was merged is known no more.
                let older = |known: &ShardEntry| {
                    known.shard_id == entry.shard_id
                        || (known.range.overlaps(&entry.range)
                            && known.epoch.shape < entry.epoch.shape)
                };
                world.entries.retain(|known| !older(known));
                world.entries.push(entry);
            }
            world.entries.sort_by_key(|entry| entry.shard_id);
        });
    }

    fn check(&self, entry: &ShardEntry) {
        let found = invariant::voter_floor(entry, &self.rule)
            .and_then(|()| invariant::residency(entry, &self.rule, &self.regions))
            .and_then(|()| invariant::leader_is_voter(entry))
            .and_then(|()| invariant::one_replica_per_node(entry));
        assert_eq!(found, Ok(()), "{entry:?}");
    }

    /// From here on every node knows the term, so every lower one is fenced everywhere.
    async fn tell_the_term(&self) {
        for node in self.regions.keys() {
            let made = self.world(|world| {
                let entry = world.entries[0].clone();
                let order = world.order(&entry, Step::Promote { node: NodeId(77) });
                let json = serde_json::to_vec(&order).expect("plain data");
                Made { node: *node, json, order, earlier: None }
            });
            self.send(&made).await.expect_err("nobody can be promoted there");
        }
    }

    /// The mad controller.
    async fn go_mad(&self, seed: u64, drafts: Vec<Draft>) {
        for draft in drafts {
            let made = self.world(|world| world.make(&draft));
            let answer = self.send(&made).await;
            judge(&draft, &made, &answer).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            // Only what was sent as it stands can be asked for again.
            if let (Ok(done), orders::Fault::BadStep) = (answer, &draft.fault) {
                self.world(|world| world.done.push((made.order, done)));
            }
        }
    }

    /// The sane controller: moves a replica to the allowed node that has none, again and again.
    async fn move_replicas(&self) -> usize {
        let mut moves = 0;
        while moves < MOVES && !self.ended.load(SeqCst) {
            let entry = self.world(|world| world.entries[moves % world.entries.len()].clone());
            let allowed = |node: &NodeId| *node != FORBIDDEN;
            let free = self
                .channels
                .keys()
                .copied()
                .filter(allowed)
                .find(|n| entry.replica_on(*n).is_none());
            let Some(fresh) = free else {
                // The mad one has put one everywhere: take one away, a learner first.
                let mut extra: Vec<_> =
                    entry.replicas.iter().filter(|r| Some(r.node_id) != entry.leader).collect();
                extra.sort_by_key(|replica| replica.role == ReplicaRole::Voter);
                let _ = self
                    .order(entry.shard_id.0, Step::RemoveReplica { node: extra[0].node_id })
                    .await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.look().await;
                continue;
            };
            let old = entry.voters().next().expect("a voter");
            let steps = [
                Step::AddLearner { node: fresh },
                Step::Promote { node: fresh },
                Step::TransferLeader { node: fresh },
                Step::RemoveReplica { node: old },
            ];
            let mut done = 0;
            for step in steps {
                done += usize::from(self.order(entry.shard_id.0, step).await.is_some());
            }
            moves += usize::from(done == 4);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        moves
    }

    /// One sane order, planned again while somebody else is in its way.
    async fn order(&self, shard: u64, step: Step) -> Option<StepResult> {
        for _ in 0..40 {
            let made = self.world(|world| {
                // None: it was merged meanwhile.
                let entry = world.entries.iter().find(|e| e.shard_id.0 == shard)?.clone();
                let order: StepOrder = world.order(&entry, step.clone());
                let json = serde_json::to_vec(&order).expect("plain data");
                let node = entry.leader.expect("entries are led");
                Some(Made { node, json, order, earlier: None })
            })?;
            match self.send(&made).await {
                Ok(done) => {
                    self.world(|world| world.done.push((made.order, done.clone())));
                    return Some(done);
                }
                Err(refusal) if refusal.is_retryable() || passes(&refusal) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    self.look().await;
                }
                Err(_) => return None,
            }
        }
        None
    }
}

/// The orders of one sender.
fn choose(seed: u64, count: u64) -> Vec<Draft> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = drafts();
    let mut draw = || strategy.new_tree(&mut runner).expect("orders can be made").current();
    (0..count).map(|_| draw()).collect()
}

/// Refusals that mean "plan again".
fn passes(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::EpochMoved { .. } | Refusal::StaleTerm { .. })
}

async fn start() -> (Cluster, Trial) {
    let mut cluster = Cluster::start(4).await;
    let regions: BTreeMap<NodeId, Region> =
        (1..=4).map(NodeId).map(|node| (node, cluster.region(node))).collect();
    let rule = TableRule {
        regions: vec![regions[&NodeId(1)].clone(), regions[&NodeId(2)].clone()],
        replicas: 2,
        replicas_max: 3,
        ack: AckLevel::Majority,
    };
    assert!(!rule.allows(&regions[&FORBIDDEN]) && rule.allows(&regions[&NodeId(4)]));
    cluster.create_table_with(TABLE, rule.clone(), &["k020"]).await;
    for i in 0..ROWS {
        cluster.put(TABLE, format!("k{i:03}").as_bytes(), format!("v{i}").as_bytes()).await;
    }
    let entries = cluster.shards(TABLE).await;
    let channels: BTreeMap<_, _> =
        regions.keys().map(|node| (*node, cluster.channel(*node))).collect();
    let world = World {
        cluster_id: cluster.cluster_id().to_owned(),
        term: FIRST_TERM,
        entries,
        ..World::default()
    };
    let trial = Trial {
        rule,
        regions,
        channels,
        world: Mutex::new(world),
        ended: AtomicBool::new(false),
        answers: Mutex::default(),
        looks: AtomicU64::new(0),
    };
    (cluster, trial)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_whatever_breaks_a_shard() {
    let seed = setting("ISOBAR_FAULT_SEED", 1);
    let count = setting("ISOBAR_FAULT_ORDERS", 4_000);
    let (mut cluster, trial) = start().await;
    trial.tell_the_term().await;
    let trial = Arc::new(trial);
    let mover = tokio::spawn({
        let trial = trial.clone();
        async move { trial.move_replicas().await }
    });
    let watcher = tokio::spawn({
        let trial = trial.clone();
        async move {
            while !trial.ended.load(SeqCst) {
                trial.look().await;
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let trial = trial.clone();
            let seed = seed * 1_000 + sender;
            let drafts = choose(seed, count / SENDERS);
            tokio::spawn(async move { trial.go_mad(seed, drafts).await })
        })
        .collect();
    for sender in senders {
        sender.await.expect("every answer is right");
    }
    trial.ended.store(true, SeqCst);
    watcher.await.expect("the invariants hold");
    let moves = mover.await.expect("the invariants hold");

    trial.look().await;
    cluster.term = Term(u64::MAX);
    cluster.check_rows(TABLE, ROWS).await;
    cluster.put(TABLE, b"k999", b"still writable").await;
    let answers = trial.answers.lock().expect("all tasks have ended").clone();
    println!(
        "seed {seed}: {count} orders, {moves} sane moves, {} looks; {answers:?}",
        trial.looks.load(SeqCst)
    );
    let expected = [
        "malformed",
        "other_cluster",
        "stale_term",
        "epoch_moved",
        "expired",
        "shard_not_here",
        "not_leader",
        "region_not_allowed",
        "target_unavailable",
        "wrong_role",
        "below_floor",
        "target_leads",
        "key_outside",
        "not_mergeable",
        "done",
        "already",
    ];
    for kind in expected {
        assert!(answers.contains_key(kind), "no order was answered `{kind}`: {answers:?}");
    }
    assert!(moves > 0, "the sane controller could do nothing");
}
