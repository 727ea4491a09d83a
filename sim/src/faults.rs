//! What goes wrong, drawn from the seed, for as long as it is let.

use crate::{
    network::Weather,
    node::{self, DISK_US},
    world::{Place, World},
};
use isobar_api::NodeId;
use isobar_node::engine::EngineErrorKind;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Nodes that may be down at once.
const DOWN_MAX: usize = 2;

/// Makes trouble until told to stop. What it began it may leave: [`all_off`] ends it.
pub async fn run(world: Arc<World>, stop: CancellationToken) {
    let always = async {
        change_weather(&world);
        loop {
            tokio::time::sleep(world.millis(60..world.habits.fault_every_ms)).await;
            // Both may be at the same moment: a fault that begins after the end of all faults would stay.
            if stop.is_cancelled() {
                return;
            }
            one(&world, &stop).await;
        }
    };
    stop.run_until_cancelled(always).await;
}

async fn one(world: &Arc<World>, stop: &CancellationToken) {
    let nodes = world.nodes();
    let node = world.pick(&nodes).expect("a world has nodes");
    match world.number(0..100) {
        0..25 => down(world, node, stop),
        25..45 => isolate(world, leading(world).unwrap_or(node), stop),
        45..58 => part(world, &nodes, stop),
        58..72 => change_weather(world),
        72..82 => slow_disk(world, node, stop),
        82..90 => failing_disk(world, node, stop),
        _ => {
            let ahead_ms = world.number(0..6_000) as i64 - 3_000;
            world.note(format_args!("{node} has its clock {ahead_ms} ms ahead"));
            let inner = world.lock();
            inner.slots[&node].clock_ahead_ms.store(ahead_ms, Ordering::Relaxed);
        }
    }
}

fn change_weather(world: &World) {
    let weather = weather(world);
    world.note(format_args!("weather {weather:?}"));
    world.lock().weather = weather;
}

fn weather(world: &World) -> Weather {
    let part = |most: u64| world.number(0..most) as f64 / 1_000.0;
    Weather {
        loss: part(120),
        duplication: part(100),
        reordering: part(200),
        delay_ms_max: world.number(1..30),
        damage: part(900),
    }
}

/// Does something later, unless the faults are over by then.
fn later(
    stop: &CancellationToken,
    after: Duration,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tokio::spawn(async move {
        let waited = stop.run_until_cancelled(tokio::time::sleep(after)).await;
        if waited.is_some() {
            work.await;
        }
    });
}

fn may_go_down(world: &World, node: NodeId) -> bool {
    let down = world.nodes().len() - world.all_running().len();
    down < DOWN_MAX && world.running(node).is_some()
}

fn down(world: &Arc<World>, node: NodeId, stop: &CancellationToken) {
    if !may_go_down(world, node) {
        return;
    }
    let orderly = world.chance(0.2);
    let away = world.millis(50..2_000);
    let (world, stop) = (world.clone(), stop.clone());
    tokio::spawn(async move {
        if orderly {
            node::stop(&world, node).await;
        } else {
            node::crash(&world, node);
        }
        let back = world.clone();
        later(&stop, away, async move { start_again(&back, node).await });
    });
}

/// Starts a node that is down. One that cannot read its disk stays down for now.
pub async fn start_again(world: &Arc<World>, node: NodeId) {
    if world.running(node).is_some() {
        return;
    }
    if let Err(error) = node::start(world, node).await {
        world.note(format_args!("{node} does not start: {error}"));
    }
}

fn cut(world: &Arc<World>, ways: Vec<(Place, Place)>, lasts: Duration, stop: &CancellationToken) {
    world.note(format_args!("cut {ways:?}"));
    world.lock().cut.extend(ways.iter().copied());
    let back = world.clone();
    later(stop, lasts, async move {
        back.note(format_args!("mended {ways:?}"));
        back.lock().cut.retain(|way| !ways.contains(way));
    });
}

/// A node that leads a shard: its loss is felt.
fn leading(world: &World) -> Option<NodeId> {
    let leads = |running: &std::sync::Arc<node::Running>| {
        running.parts.registry.all().iter().any(|replica| replica.is_leader())
    };
    let leaders: Vec<NodeId> =
        world.all_running().iter().filter(|r| leads(r)).map(|r| r.node).collect();
    world.pick(&leaders)
}

/// A node loses all others, or only hears them, or is only heard; clients still reach it.
fn isolate(world: &Arc<World>, node: NodeId, stop: &CancellationToken) {
    let others: Vec<Place> =
        world.nodes().iter().filter(|other| **other != node).map(|other| other.0).collect();
    let from = others.iter().map(|other| (node.0, *other));
    let to = others.iter().map(|other| (*other, node.0));
    let ways = match world.number(0..4) {
        0 => from.collect(),
        1 => to.collect(),
        _ => from.chain(to).collect(),
    };
    // Often long enough for another leader, which takes a lease and an election.
    cut(world, ways, world.millis(300..3_500), stop);
}

/// The nodes fall into two parts.
fn part(world: &Arc<World>, nodes: &[NodeId], stop: &CancellationToken) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for node in nodes {
        if world.chance(0.5) { left.push(node.0) } else { right.push(node.0) }
    }
    let both = left.iter().flat_map(|l| right.iter().flat_map(|r| [(*l, *r), (*r, *l)]));
    cut(world, both.collect(), world.millis(200..2_500), stop);
}

fn slow_disk(world: &Arc<World>, node: NodeId, stop: &CancellationToken) {
    let micros = world.number(5_000..120_000);
    world.note(format_args!("{node} has a disk that takes {micros} us"));
    let speed = world.lock().slots[&node].speed.clone();
    speed.set_micros(micros);
    later(stop, world.millis(200..1_500), async move { speed.set_micros(DISK_US) });
}

/// A disk fails; the node is started again on a good one with the same bytes.
fn failing_disk(world: &Arc<World>, node: NodeId, stop: &CancellationToken) {
    if !may_go_down(world, node) {
        return;
    }
    let of_the_log = world.chance(0.5);
    let disk = {
        let inner = world.lock();
        let slot = &inner.slots[&node];
        if of_the_log { slot.log.clone() } else { slot.state.clone() }
    };
    let kind = if world.chance(0.3) { EngineErrorKind::DiskFull } else { EngineErrorKind::Io };
    let syncs = world.chance(0.5);
    world.note(format_args!("{node} has a failing disk: log {of_the_log}, syncs {syncs}"));
    if syncs {
        disk.fail_syncs(Some(kind));
    } else {
        disk.fail_write_after(world.number(0..20) as usize, kind);
    }
    let (world, stop_too) = (world.clone(), stop.clone());
    let lasts = world.millis(100..1_200);
    later(stop, lasts, async move {
        disk.fail_syncs(None);
        disk.fail_writes(None);
        node::crash(&world, node);
        let (back, away) = (world.clone(), world.millis(50..500));
        later(&stop_too, away, async move { start_again(&back, node).await });
    });
}

/// Ends every fault. Nodes that are down, or whose storage has failed, are started again.
pub async fn all_off(world: &Arc<World>) {
    world.note(format_args!("all faults off"));
    {
        let mut inner = world.lock();
        inner.weather = Weather::calm();
        inner.cut.clear();
        for slot in inner.slots.values() {
            slot.speed.set_micros(DISK_US);
            for disk in [&slot.log, &slot.state] {
                disk.fail_syncs(None);
                disk.fail_writes(None);
                disk.fail_write_after(usize::MAX, EngineErrorKind::Io);
            }
        }
    }
    for node in world.nodes() {
        if world.running(node).is_some_and(|running| running.is_damaged()) {
            node::crash(world, node);
        }
        start_again(world, node).await;
    }
}
