//! A node of the simulated cluster: the parts of a real one, over a simulated disk, network and clock.

use crate::{
    disk::{DiskSpeed, SimEngine},
    network::{SimNetwork, send},
    world::World,
};
use isobar_api::{ApiError, NodeId, Region, ShardEntry, report::MemberInfo};
use isobar_node::{
    NodeConfig,
    caretaker::Caretaker,
    catalog::ClusterAdmission,
    config::RaftTiming,
    engine::{Engine, MemoryDisk},
    gossip::ShardHints,
    members::Members,
    parts::{Parts, Surroundings},
    quiesce::Quiesce,
    transport::{Transport, server::PeerServer},
    wall_clock::WallClock,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The cluster's id.
pub const CLUSTER: &str = "simulated";
/// The time of day at which every run begins, Unix milliseconds.
const BEGAN_UNIX_MS: u64 = 1_700_000_000_000;
const GOSSIP_EVERY: Duration = Duration::from_millis(250);
/// A node that was not heard for so long is believed to be dead.
const SILENT_FOR: Duration = Duration::from_millis(1_500);
/// A disk in order, microseconds per wait.
pub const DISK_US: u64 = 400;

/// A machine: what stays when the node on it dies.
pub struct Slot {
    /// Who it is.
    pub member: MemberInfo,
    /// Keeps the log.
    pub log: MemoryDisk,
    /// Keeps everything else.
    pub state: MemoryDisk,
    /// How fast its disks are.
    pub speed: DiskSpeed,
    /// How far its clock is ahead, milliseconds.
    pub clock_ahead_ms: Arc<AtomicI64>,
    /// How often a node was started on it.
    pub lives: u64,
    /// The node, while it runs.
    pub running: Option<Arc<Running>>,
}

impl Slot {
    /// A new machine.
    pub fn new(node: NodeId, region: &str) -> Self {
        let member = MemberInfo {
            node_id: node,
            address: format!("{node}:1"),
            region: Region::new(region).expect("a legal name"),
            zone: "a".into(),
            alive: true,
            load: Default::default(),
        };
        Self {
            member,
            log: MemoryDisk::new(),
            state: MemoryDisk::new(),
            speed: DiskSpeed::of_micros(DISK_US),
            clock_ahead_ms: Arc::default(),
            lives: 0,
            running: None,
        }
    }
}

/// A node that runs.
pub struct Running {
    /// Which.
    pub node: NodeId,
    /// The how manieth on its machine.
    pub number: u64,
    /// Over when it dies.
    pub life: CancellationToken,
    /// What it consists of.
    pub parts: Parts,
    /// Serves other nodes.
    pub peer: PeerServer,
    /// Its log.
    pub log: Arc<dyn Engine>,
    /// Its state.
    pub state: Arc<dyn Engine>,
    /// What it leads, for gossip.
    led: Arc<Mutex<Vec<ShardEntry>>>,
    heard: Mutex<BTreeMap<NodeId, (Instant, MemberInfo)>>,
}

fn config(world: &World, node: NodeId) -> NodeConfig {
    NodeConfig {
        node_id: node,
        data_dir: "/".into(),
        raft: RaftTiming {
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 500,
            checkpoint_entries: 15,
            keep_entries: 3,
            quiesce_after_ms: world.habits.quiesce_after_ms,
        },
        disk_reserve_bytes: 0,
        ..NodeConfig::default()
    }
}

/// Starts the node of a machine. Fails if what its disk holds cannot be opened.
pub async fn start(world: &Arc<World>, node: NodeId) -> Result<(), ApiError> {
    let (around, number, life, log, state) = {
        let mut inner = world.lock();
        let slot = inner.slots.get_mut(&node).expect("a machine of this world");
        slot.lives += 1;
        let life = CancellationToken::new();
        let log = SimEngine::open(&slot.log, &slot.speed);
        let state = SimEngine::open(&slot.state, &slot.speed);
        let network = SimNetwork { world: world.clone(), node, life: life.clone() };
        let members = Members::new(slot.member.clone(), Default::default());
        let (began, ahead_ms) = (Instant::now() - world.elapsed(), slot.clock_ahead_ms.clone());
        let clock = WallClock::simulated(move || {
            let now = BEGAN_UNIX_MS + began.elapsed().as_millis() as u64;
            now.saturating_add_signed(ahead_ms.load(Ordering::Relaxed))
        });
        let around = Surroundings {
            log: log.clone(),
            state: state.clone(),
            transport: Transport::over(members, Arc::new(network)),
            hints: ShardHints::default(),
            clock,
        };
        (around, slot.lives, life, log, state)
    };
    let members = around.transport.members().clone();
    let config = config(world, node);
    let parts = Parts::build(&config, around)?;
    let admission = ClusterAdmission::of(CLUSTER, parts.registry.clone());
    parts.registry.open_all().await?;
    let peer = PeerServer::new(parts.registry.clone(), members, admission, 0);
    let led: Arc<Mutex<Vec<ShardEntry>>> = Arc::default();
    let caretaker = Caretaker {
        registry: parts.registry.clone(),
        tell_led: Box::new({
            let led = led.clone();
            move |now| *led.lock().expect("no holder of this lock panics") = now
        }),
        hints: parts.hints.clone(),
    };
    tokio::spawn(caretaker.run(life.clone()));
    tokio::spawn(parts.catalog.clone().run(life.clone()));
    let (after_ms, heartbeat_ms) = (config.raft.quiesce_after_ms, config.raft.heartbeat_ms);
    let quiesce = Quiesce::new(parts.registry.clone(), number, after_ms, heartbeat_ms);
    tokio::spawn(quiesce.run(life.clone()));
    let heard = Mutex::default();
    let running =
        Arc::new(Running { node, number, life: life.clone(), parts, peer, log, state, led, heard });
    world.lock().slots.get_mut(&node).expect("a machine").running = Some(running.clone());
    world.note(format_args!("{node} starts, life {number}"));
    let gossip = gossip_always(world.clone(), running);
    tokio::spawn(async move { life.run_until_cancelled(gossip).await });
    Ok(())
}

/// The machine dies: what was not synced is gone, or a part of it.
pub fn crash(world: &Arc<World>, node: NodeId) {
    let (log_seed, state_seed) = (world.number(0..u64::MAX), world.number(0..u64::MAX));
    let Some((running, lost)) = ({
        let mut inner = world.lock();
        let slot = inner.slots.get_mut(&node).expect("a machine of this world");
        let lost = (slot.log.crash(log_seed), slot.state.crash(state_seed));
        slot.running.take().map(|running| (running, lost))
    }) else {
        return;
    };
    world.note(format_args!("{node} crashes, {} + {} batches are lost", lost.0, lost.1));
    running.life.cancel();
    // Its tasks end: they can neither store nor send anything any more.
    tokio::spawn(async move { running.parts.registry.shutdown().await });
}

/// The node stops in good order; its disks keep what was written.
pub async fn stop(world: &Arc<World>, node: NodeId) {
    let running = world.lock().slots.get_mut(&node).and_then(|slot| slot.running.take());
    let Some(running) = running else { return };
    world.note(format_args!("{node} stops"));
    let _ = tokio::time::timeout(Duration::from_secs(2), running.parts.registry.shutdown()).await;
    running.life.cancel();
}

async fn gossip_always(world: Arc<World>, running: Arc<Running>) {
    let own = running.parts.registry.transport().members().own().clone();
    loop {
        let led = running.led.lock().expect("no holder of this lock panics").clone();
        for node in world.nodes().into_iter().filter(|node| *node != running.node) {
            let (own, led) = (own.clone(), led.clone());
            send(&world, running.node.0, node, async move |there: Arc<Running>| {
                let now = Instant::now();
                let mut heard = there.heard.lock().expect("no holder of this lock panics");
                heard.insert(own.node_id, (now, own));
                drop(heard);
                for entry in led {
                    there.parts.hints.merge(entry);
                }
            });
        }
        running.judge_members();
        tokio::time::sleep(GOSSIP_EVERY).await;
    }
}

impl Running {
    /// Members not heard for long are dead, as far as this node knows.
    fn judge_members(&self) {
        let heard = self.heard.lock().expect("no holder of this lock panics");
        let member = |(node, (at, member)): (&NodeId, &(Instant, MemberInfo))| {
            (*node, MemberInfo { alive: at.elapsed() < SILENT_FOR, ..member.clone() })
        };
        let seen = heard.iter().map(member).collect();
        drop(heard);
        self.parts.registry.transport().members().update(seen);
    }

    /// Whether its storage has failed, as a whole or for one replica: it must be started again.
    pub fn is_damaged(&self) -> bool {
        let registry = &self.parts.registry;
        registry.log().failure().is_some()
            || !registry.faulted().is_empty()
            || registry.all().iter().any(|replica| replica.fault().is_some())
    }
}
