//! What shards cost that nobody uses.

use super::{GRACE, Machine, servers::isobar, temporary_folder};
use crate::{
    commands::bench::Idle,
    failure::{INTERRUPTED, Outcome},
    processes::{self, Process, ProcessSpec, stop_on_signal},
    screen::{Screen, table},
};
use isobar_api::{
    ApiError, ErrorCode,
    table::{AckLevel, TableRule, TableSpec},
};
use isobar_benches::{
    load::Samples,
    usage::{process_cpu, process_rss_bytes},
};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use isobar_node::{NodeConfig, config::RaftTiming};
use serde::Serialize;
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::time::{Instant, sleep};

const NODES: usize = 3;
const TABLE: &str = "idle";
const READY_WITHIN: Duration = Duration::from_secs(120);
const CREATED_WITHIN: Duration = Duration::from_secs(600);
/// Before memory and processor are measured: what the start began is over.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Groups that are woken to take the time of it.
const WOKEN_MAX: u64 = 100;

/// What was measured.
#[derive(Serialize)]
struct Figures {
    machine: Machine,
    shards: u64,
    seconds: u64,
    /// 0: no group ever sleeps.
    quiesce_after_ms: u64,
    nodes: Vec<NodeFigures>,
    /// From the last shard's first leader until every replica slept, seconds; none: none was to sleep.
    asleep_after_s: Option<f64>,
    wake: Wake,
    start: Start,
}

#[derive(Serialize)]
struct NodeFigures {
    node: String,
    replicas: f64,
    asleep: f64,
    /// Of one core, percent, over the seconds.
    cpu_percent: f64,
    rss_mib: f64,
    /// What the shards have added, per replica.
    rss_kib_per_replica: f64,
}

/// One group after the other is used, from one client.
#[derive(Serialize)]
struct Wake {
    groups: u64,
    /// Linearizable reads of groups that slept.
    read_asleep: Times,
    /// The same reads again, of the groups that were woken by them.
    read_awake: Times,
    /// Writes to other groups that slept.
    write_asleep: Times,
    write_awake: Times,
}

#[derive(Serialize)]
struct Times {
    p50_ms: f64,
    p99_ms: f64,
}

/// One node is stopped and started again.
#[derive(Serialize)]
struct Start {
    /// Until it answers that it is ready, seconds.
    ready_s: f64,
    /// Until each of its replicas knows a leader, seconds.
    led_s: f64,
}

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn idle(args: &Idle, screen: &mut Screen<'_>) -> Outcome {
    let stop = stop_on_signal()?;
    let folder = temporary_folder(screen)?;
    let mut nodes = Nodes { specs: Vec::new(), addresses: Vec::new(), processes: Vec::new() };
    let measured = tokio::select! {
        measured = nodes.measure(args, folder.path(), screen) => measured.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    processes::stop_all(nodes.processes, GRACE).await;
    if let Err(why) = folder.close() {
        screen.say(&format!("warning: the temporary folder could not be removed: {why}"));
    }
    match measured? {
        Some(figures) => screen.show(&figures, describe),
        None => {
            screen.say("interrupted; all processes are stopped");
            Ok(INTERRUPTED)
        }
    }
}

struct Nodes {
    specs: Vec<ProcessSpec>,
    addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
}

impl Nodes {
    async fn measure(
        &mut self,
        args: &Idle,
        folder: &Path,
        screen: &mut Screen<'_>,
    ) -> Result<Figures, ApiError> {
        let raft = RaftTiming { quiesce_after_ms: args.quiesce_after_ms, ..RaftTiming::default() };
        self.addresses = processes::free_addresses(NODES)?;
        let settings = NodeConfig { raft, ..NodeConfig::default() };
        self.specs = isobar::specs(folder, &self.addresses, &settings)?;
        for spec in &self.specs {
            self.processes.push(Process::start(spec.clone())?);
        }
        for node in &mut self.processes {
            node.wait_ready(READY_WITHIN).await?;
        }
        sleep(SETTLE).await;
        let empty = self.rss_bytes()?;
        screen.say(&format!("creating {} shards", args.shards));
        let handle = self.create_table(args).await?;
        let asleep_after_s = match args.quiesce_after_ms {
            0 => None,
            _ => Some(self.wait_asleep(args, screen).await?),
        };
        sleep(SETTLE).await;
        screen.say(&format!("measuring for {} s", args.seconds));
        let before = self.cpu()?;
        let began = Instant::now();
        sleep(Duration::from_secs(args.seconds)).await;
        let (cpu, length) = (self.cpu()?, began.elapsed());
        let mut nodes = Vec::new();
        for (index, process) in self.processes.iter_mut().enumerate() {
            process.check()?;
            let replicas = process.metric("isobar_replicas").await?;
            let rss_bytes = self_rss(process)?;
            let added = rss_bytes.saturating_sub(empty[index]);
            nodes.push(NodeFigures {
                node: format!("n{}", index + 1),
                replicas,
                asleep: process.metric("isobar_replicas_asleep").await?,
                cpu_percent: 100.0 * (cpu[index] - before[index]).as_secs_f64()
                    / length.as_secs_f64(),
                rss_mib: rss_bytes as f64 / f64::from(1 << 20),
                rss_kib_per_replica: added as f64 / 1_024.0 / args.shards as f64,
            });
        }
        let wake = wake(args, &handle).await?;
        let start = self.start_again(args).await?;
        Ok(Figures {
            machine: Machine::this(),
            shards: args.shards,
            seconds: args.seconds,
            quiesce_after_ms: args.quiesce_after_ms,
            nodes,
            asleep_after_s,
            wake,
            start,
        })
    }

    async fn create_table(&self, args: &Idle) -> Result<TableHandle, ApiError> {
        let rule =
            TableRule { regions: vec![], replicas: 3, replicas_max: 5, ack: AckLevel::Majority };
        let split_keys = (1..args.shards).map(key).collect();
        let spec = TableSpec { name: TABLE.into(), rule, split_keys, placed_like: None };
        let seeds = self.addresses.iter().map(ToString::to_string);
        let client = Client::connect(ClientConfig::with_seeds(seeds)).await?;
        let began = Instant::now();
        // Thousands of replicas take longer to make than a request may take; asking again goes on with it.
        while let Err(error) = client.create_table(&spec).await {
            if began.elapsed() > CREATED_WITHIN {
                return Err(error);
            }
            sleep(LOOK_EVERY).await;
        }
        client.table(TABLE).await
    }

    /// Waits until every replica of the table sleeps; how long that took, seconds.
    async fn wait_asleep(&self, args: &Idle, screen: &mut Screen<'_>) -> Result<f64, ApiError> {
        let began = Instant::now();
        let limit = READY_WITHIN + Duration::from_millis(2 * args.quiesce_after_ms);
        screen.say("waiting until all groups sleep");
        loop {
            let mut least = f64::INFINITY;
            for process in &self.processes {
                least = least.min(process.metric("isobar_replicas_asleep").await?);
            }
            if least >= args.shards as f64 {
                return Ok(began.elapsed().as_secs_f64());
            }
            if began.elapsed() > limit {
                let message = format!("after {} s only {least} replicas sleep", limit.as_secs());
                return Err(ApiError::new(ErrorCode::Unavailable, message));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn rss_bytes(&self) -> Result<Vec<u64>, ApiError> {
        self.processes.iter().map(self_rss).collect()
    }

    fn cpu(&self) -> Result<Vec<Duration>, ApiError> {
        let of = |process: &Process| process_cpu(id(process)?).map_err(|why| proc_error(&why));
        self.processes.iter().map(of).collect()
    }

    /// Stops the last node and starts it again.
    async fn start_again(&mut self, args: &Idle) -> Result<Start, ApiError> {
        let last = self.processes.pop().expect("three were started");
        last.stop(READY_WITHIN).await;
        let began = Instant::now();
        let spec = self.specs.last().expect("one for each node").clone();
        self.processes.push(Process::start(spec)?);
        let again = self.processes.last_mut().expect("just added");
        again.wait_ready(READY_WITHIN).await?;
        let ready_s = began.elapsed().as_secs_f64();
        let seeds = [self.addresses[NODES - 1].to_string()];
        let client = Client::connect(ClientConfig::with_seeds(seeds)).await?;
        let node = isobar_api::NodeId(NODES as u64);
        loop {
            let led = client.node_status(node).await.map_or(0, |status| {
                status.replicas.iter().filter(|r| r.shard.leader.is_some()).count()
            });
            if led as u64 >= args.shards {
                return Ok(Start { ready_s, led_s: began.elapsed().as_secs_f64() });
            }
            if began.elapsed() > READY_WITHIN {
                let message = format!("only {led} replicas of the node know a leader");
                return Err(ApiError::new(ErrorCode::Unavailable, message));
            }
            sleep(LOOK_EVERY / 5).await;
        }
    }
}

/// Uses sleeping groups one after the other, each twice.
async fn wake(args: &Idle, handle: &TableHandle) -> Result<Wake, ApiError> {
    let groups = WOKEN_MAX.min(args.shards.div_ceil(2));
    let times = || Samples::new(Duration::from_secs(1));
    let (mut read, mut write) = ([times(), times()], [times(), times()]);
    for group in 0..groups {
        for read in &mut read {
            let began = Instant::now();
            handle.get(key(2 * group).as_bytes(), ReadLevel::Linearizable).await?;
            read.record(Ok(()), began.elapsed(), true, true);
        }
        for write in &mut write {
            let began = Instant::now();
            handle.put(key(2 * group + 1).into_bytes(), "v").await?;
            write.record(Ok(()), began.elapsed(), false, true);
        }
    }
    let of = |all: &Samples| Times { p50_ms: all.quantile_ms(0.5), p99_ms: all.quantile_ms(0.99) };
    Ok(Wake {
        groups,
        read_asleep: of(&read[0]),
        read_awake: of(&read[1]),
        write_asleep: of(&write[0]),
        write_awake: of(&write[1]),
    })
}

/// The first key of a shard.
fn key(shard: u64) -> String {
    format!("{shard:05}")
}

fn id(process: &Process) -> Result<u32, ApiError> {
    let ended = || ApiError::new(ErrorCode::Unavailable, format!("{} ended", process.name()));
    process.id().ok_or_else(ended)
}

fn self_rss(process: &Process) -> Result<u64, ApiError> {
    process_rss_bytes(id(process)?).map_err(|why| proc_error(&why))
}

fn proc_error(why: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::File, format!("/proc: {why}"))
}

fn describe(figures: &Figures) -> String {
    let memory = if figures.machine.tmpfs { ", in memory (tmpfs)" } else { "" };
    let mut text = format!(
        "{} shards with three replicas, unused, {} s; {} cores, profile {}{memory}\n\n",
        figures.shards, figures.seconds, figures.machine.cores, figures.machine.profile
    );
    let rows = figures.nodes.iter().map(|node| {
        [
            node.node.clone(),
            format!("{:.0}", node.replicas),
            format!("{:.0}", node.asleep),
            format!("{:.2}", node.cpu_percent),
            format!("{:.0}", node.rss_mib),
            format!("{:.0}", node.rss_kib_per_replica),
        ]
    });
    let header = ["node", "replicas", "asleep", "cpu %", "MiB", "KiB/replica"];
    text.push_str(&table(header, &[1, 2, 3, 4, 5], rows));
    let wake = &figures.wake;
    let times = [
        ("read, asleep", &wake.read_asleep),
        ("read, awake", &wake.read_awake),
        ("write, asleep", &wake.write_asleep),
        ("write, awake", &wake.write_awake),
    ];
    let rows = times.map(|(what, times)| {
        [what.to_owned(), format!("{:.2}", times.p50_ms), format!("{:.2}", times.p99_ms)]
    });
    text.push_str(&format!("\n{} groups used one after the other\n", wake.groups));
    text.push_str(&table(["use", "p50 ms", "p99 ms"], &[1, 2], rows));
    if let Some(after) = figures.asleep_after_s {
        text.push_str(&format!("\nall asleep {after:.1} s after the last leader"));
    }
    let start = &figures.start;
    text.push_str(&format!(
        "\na node started again is ready after {:.1} s, and each of its replicas knows a leader after {:.1} s\n",
        start.ready_s, start.led_s
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_each_is_the_first_of_its_shard() {
        let keys: Vec<String> = (0..12).map(key).collect();
        assert!(keys.is_sorted() && keys[1] == "00001", "{keys:?}");
    }
}
