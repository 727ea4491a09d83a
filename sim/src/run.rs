//! One run: a cluster is founded, works under faults, and is judged.

use crate::{
    clients::Client,
    controller::{Controller, Counters},
    faults,
    heal::{acknowledged_is_durable, heal},
    invariants::{self, Invariant, Seen},
    linearizability,
    node::{self, Slot},
    world::{Broken, World},
};
use isobar_api::{
    NodeId, TableId,
    report::MemberInfo,
    table::{TableRule, TableSpec},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const REGIONS: [&str; 5] = ["eu", "eu", "us", "us", "ap"];
const CLIENTS: u64 = 5;
/// As many more only read.
const READERS: u64 = 3;
/// The client that reads everything at the end.
const READER: u64 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// Every so manieth look is a costly one.
const COSTLY_EVERY: u64 = 12;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first property that did not hold.
    pub broken: Option<Broken>,
    /// Operations of clients.
    pub operations: usize,
    /// Events in the trace.
    pub events: u64,
    /// Hash over all of them.
    pub trace: String,
    /// Virtual time that passed.
    pub took: Duration,
}

static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs a seed, in this thread alone. For the same run every time, the process must have been started with the seed in
/// `ISOBAR_SIM_SEED`, and the thread must be new.
pub fn run(seed: u64, verbose: bool) -> Outcome {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built = builder.enable_time().start_paused(true).build();
    let runtime = built.expect("a runtime of one thread needs nothing but memory");
    runtime.block_on(async {
        let world = World::new(seed, verbose);
        let judged = live(&world).await;
        if let Err(broken) = judged {
            world.breaks(&broken.property, broken.seen);
        }
        let panicked = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panicked {
            world.breaks("nothing_panics", panic.replace('\n', " "));
        }
        let (events, trace) = world.trace();
        let operations = world.lock().history.operations().len();
        let (broken, took) = (world.broken(), world.elapsed());
        Outcome { seed, broken, operations, events, trace, took }
    })
}

fn broken(property: &str, seen: impl Into<String>) -> Broken {
    Broken { property: property.to_owned(), seen: seen.into() }
}

async fn live(world: &Arc<World>) -> Result<(), Broken> {
    let (table, rules) = found(world).await.map_err(|why| broken("a_calm_cluster_starts", why))?;
    let stop = CancellationToken::new();
    let mut working = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        working.spawn(Client::new(world.clone(), number, table).run(stop.clone()));
    }
    for number in CLIENTS..CLIENTS + READERS {
        working.spawn(Client::reader(world.clone(), number, table).run(stop.clone()));
    }
    let counters = Arc::new(Counters::default());
    let controller = |number| Controller::new(world.clone(), table, number, counters.clone());
    for number in 0..2 {
        working.spawn(controller(number).run(stop.clone()));
    }
    working.spawn(controller(2).run_hostile(stop.clone()));
    working.spawn(faults::run(world.clone(), stop.clone()));
    let mut watch = Watch { invariants: invariants::all(), rules: rules.clone(), looks: 0 };
    let until = world.elapsed() + world.millis(6_000..10_000);
    while world.elapsed() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        watch.look(world)?;
    }
    stop.cancel();
    faults::all_off(world).await;
    while working.join_next().await.is_some() {}
    heal(world, &rules).await.map_err(|missing| broken("a_calm_cluster_heals", missing))?;
    watch.looks = 0;
    watch.look(world)?;
    let mut reader = Client::new(world.clone(), READER, table);
    reader.read_all().await;
    let history = world.lock().history.clone();
    acknowledged_is_durable(&history, READER)
        .map_err(|why| broken("acknowledged_is_durable", why))?;
    match linearizability::check(&history).into_iter().next() {
        Some(violation) => Err(broken("clients_see_one_order", violation.to_string())),
        None => Ok(()),
    }
}

/// Starts the nodes, founds the cluster and makes a table.
async fn found(world: &Arc<World>) -> Result<(TableId, BTreeMap<TableId, TableRule>), String> {
    for (id, region) in (1..).zip(REGIONS) {
        world.lock().slots.insert(NodeId(id), Slot::new(NodeId(id), region));
        node::start(world, NodeId(id)).await.map_err(|why| why.to_string())?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = world.running(NodeId(1)).ok_or("the first node is not there")?;
    let members = first.parts.registry.transport().members().all();
    let founders: Vec<MemberInfo> = members.into_iter().take(3).collect();
    let catalog = &first.parts.catalog;
    catalog.make_meta_shard(&founders).await.map_err(|why| why.to_string())?;
    let spec: TableSpec = serde_json::from_value(serde_json::json!({
        "name": "rows",
        "rule": { "replicas": 3, "replicas_max": 5, "regions": ["eu", "us"] },
        "split_keys": ["k03"],
    }))
    .map_err(|why| why.to_string())?;
    let info = catalog.create_table(&spec).await.map_err(|why| why.to_string())?;
    world.note(format_args!("table {} is ready", info.table_id));
    let meta = TableRule { regions: Vec::new(), replicas_max: 7, ..spec.rule.clone() };
    let rules = [(isobar_node::catalog::META_TABLE, meta), (info.table_id, spec.rule)];
    Ok((info.table_id, rules.into()))
}

struct Watch {
    invariants: Vec<Box<dyn Invariant>>,
    rules: BTreeMap<TableId, TableRule>,
    looks: u64,
}

impl Watch {
    fn look(&mut self, world: &World) -> Result<(), Broken> {
        let seen = Seen::of(world, &self.rules);
        let costly = self.looks.is_multiple_of(COSTLY_EVERY);
        self.looks += 1;
        for invariant in &mut self.invariants {
            if costly || !invariant.is_costly() {
                let held = invariant.check(&seen);
                held.map_err(|why| broken(invariant.name(), why))?;
            }
        }
        match world.broken() {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }
}
