//! `isobar bench levels`: what each level of acknowledging a write, and of reading, costs and how long it takes.

use super::{
    finish, kinds, measure, results::Machine, rows, show::print, temporary_folder, with_servers,
};
use crate::{
    commands::bench::{Connections, Kv, Levels, Skew},
    failure::Outcome,
    processes::{self, stop_on_signal},
    screen::{Screen, table},
};
use isobar_api::{ApiError, ErrorCode, table::AckLevel};
use isobar_benches::{report::Figures, work::Work};
use isobar_client::ReadLevel;
use isobar_node::config::EngineKind;
use serde::Serialize;
use std::path::Path;

const ACKS: [AckLevel; 4] =
    [AckLevel::Leader, AckLevel::Majority, AckLevel::Count(2), AckLevel::All];
/// What a bounded read may be behind, milliseconds.
const BOUND_MS: u64 = 1_000;
const READS: [ReadLevel; 3] =
    [ReadLevel::Local, ReadLevel::Bounded(BOUND_MS), ReadLevel::Linearizable];
/// Mixed work: 95 reads of a hundred, the rest writes.
const MIXED: Work = Work::Ycsb('b');

/// The document of `-o json`.
#[derive(Serialize)]
struct Document {
    machine: Machine,
    seconds: u64,
    rounds: u32,
    clients: usize,
    /// Requests of the mixed work per second.
    mixed_per_s: u64,
    rows: u64,
    value_bytes: usize,
    shards: u64,
    levels: Vec<Level>,
}

/// One kind of work at one level.
#[derive(Serialize)]
struct Level {
    /// `ack` or `read`.
    of: &'static str,
    level: String,
    work: String,
    #[serde(flatten)]
    figures: Figures,
}

/// A set of runs against nodes of their own.
struct Plan {
    of: &'static str,
    level: String,
    kv: Kv,
}

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn levels(args: &Levels, screen: &mut Screen<'_>) -> Outcome {
    let stop = stop_on_signal()?;
    let folder = temporary_folder(screen)?;
    let measured = with_servers(&stop, screen, async |servers, screen| {
        let mut levels = Vec::new();
        for (number, plan) in plans(args).into_iter().enumerate() {
            let folder = folder.path().join(number.to_string());
            // In `servers`, so that they are stopped whatever happens; those of the last plan are in the way.
            let before = std::mem::take(servers);
            let processes = before.into_iter().flat_map(super::Servers::into_processes);
            processes::stop_all(processes, super::GRACE).await;
            screen.say(&format!("{} {}", plan.of, plan.level));
            levels.extend(one(&plan, &folder, servers, screen).await?);
        }
        Ok(levels)
    })
    .await;
    let levels = match finish(folder, measured, screen)? {
        Ok(levels) => levels,
        Err(interrupted) => return Ok(interrupted),
    };
    let document = Document {
        machine: Machine::this(),
        seconds: args.seconds,
        rounds: args.rounds,
        clients: args.clients,
        mixed_per_s: args.mixed_rate,
        rows: args.keys,
        value_bytes: args.value_bytes,
        shards: args.shards,
        levels,
    };
    print(screen, &describe(&document), &document)
}

fn plans(args: &Levels) -> Vec<Plan> {
    let acks = ACKS.into_iter().map(|ack| {
        let kv = Kv { ack, ..as_kv(args, Work::Write, None) };
        Plan { of: "ack", level: ack.to_string(), kv }
    });
    let mut plans: Vec<Plan> = acks.collect();
    for read in READS {
        for (work, rate) in [(Work::Read, None), (MIXED, Some(args.mixed_rate))] {
            let kv = Kv { read, ..as_kv(args, work, rate) };
            plans.push(Plan { of: "read", level: read.to_string(), kv });
        }
    }
    plans
}

fn as_kv(args: &Levels, work: Work, rate: Option<u64>) -> Kv {
    Kv {
        against: Vec::new(),
        work: vec![work],
        seconds: args.seconds,
        rounds: args.rounds,
        clients: args.clients,
        connections: vec![Connections::Shared],
        rate,
        skew: Skew::Uniform,
        keys: args.keys,
        value_bytes: args.value_bytes,
        trace: None,
        shards: args.shards,
        engine: EngineKind::default(),
        ack: AckLevel::Majority,
        read: ReadLevel::Linearizable,
        seed: args.seed,
    }
}

async fn one(
    plan: &Plan,
    folder: &Path,
    servers: &mut Vec<super::Servers>,
    screen: &mut Screen<'_>,
) -> Result<Vec<Level>, ApiError> {
    std::fs::create_dir_all(folder).map_err(|why| crate::failure::file_error(folder, &why))?;
    let results =
        measure(&plan.kv, &kinds(&plan.kv), &rows(&plan.kv)?, folder, servers, screen).await?;
    let document = results.document(&plan.kv);
    let works = document.systems.into_values().next();
    let works = works.ok_or_else(|| ApiError::new(ErrorCode::Internal, "nothing was measured"))?;
    let level = |(work, figures)| {
        let (of, level) = (plan.of, plan.level.clone());
        Level { of, level, work, figures }
    };
    Ok(works.into_iter().map(level).collect())
}

fn describe(document: &Document) -> String {
    let header = [
        "level",
        "work",
        "ops/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "reads' p99",
        "writes' p99",
        "CPU s/Mop",
        "client",
        "errors",
    ];
    let rows = document.levels.iter().map(|level| {
        let figures = &level.figures;
        let p99 = |times: Option<isobar_benches::report::Times>| {
            times.map_or_else(String::new, |times| format!("{:.2}", times.p99_ms))
        };
        [
            format!("{} {}", level.of, level.level),
            level.work.clone(),
            format!("{:.0}", figures.ops_per_s),
            format!("{:.2}", figures.p50_ms),
            format!("{:.2}", figures.p99_ms),
            format!("{:.2}", figures.p999_ms),
            p99(figures.reads),
            p99(figures.writes),
            format!("{:.0}", figures.cpu_s_per_mop),
            format!("{:.0}", figures.client_cpu_s_per_mop),
            figures.errors.to_string(),
        ]
    });
    format!(
        "{} clients on one handle (closed loop; mixed work: open loop at {}/s), {}-byte values, {} rows, {} shards, {} s in {} rounds; {} cores, profile {}\n\n{}",
        document.clients,
        document.mixed_per_s,
        document.value_bytes,
        document.rows,
        document.shards,
        document.seconds,
        document.rounds,
        document.machine.cores,
        document.machine.profile,
        table(header, &[2, 3, 4, 5, 6, 7, 8, 9, 10], rows)
    )
}
