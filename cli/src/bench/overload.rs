//! `isobar bench overload`: more load than the cluster can carry. First as much as it can do, then so many times as much,
//! whether it is answered or not (open loop).
//!
//! There are two peaks. In the *closed* loop each client waits for its answer: requests come in the batches in which
//! answers left, which costs client and nodes least. In the *open* loop they come one by one, as those of many
//! independent users do. The loads are compared with the open peak, which the same generator reaches; the closed one
//! stands beside it.

use super::{
    finish,
    results::Machine,
    runs::{TEMPLATE, WARM_UP_MAX, own_cpu},
    servers::{Kind, Servers},
    show::print,
    temporary_folder, with_servers,
};
use crate::{
    commands::bench::{Connections, Kv, Overload, Skew},
    failure::Outcome,
    processes::stop_on_signal,
    screen::{Screen, table},
};
use isobar_api::{ApiError, table::AckLevel};
use isobar_benches::{
    drivers::Handle,
    load::{self, Pace},
    report::{Figures, Round, Spread},
    work::{Rows, Work},
};
use isobar_client::ReadLevel;
use isobar_node::config::EngineKind;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Clients of the closed loop that are tried; the number that gets most answers is taken.
const CLIENTS: [usize; 5] = [64, 128, 256, 512, 1_024];
const TRIAL: Duration = Duration::from_secs(1);
/// Streams of requests in the open loop.
const STREAMS: usize = 64;
/// Requests under way at most in the open loop: far more than clients and nodes let in, so that the generator itself
/// never makes one wait.
const IN_FLIGHT_MAX: u32 = 65_536;
/// Where the search for the open peak begins, in times the closed one, and by how much more each step offers.
const OFFERED_FIRST: f64 = 0.25;
const OFFERED_STEP: f64 = 1.2;
/// The search ends when so many steps in a row brought no more answers than this share above the most.
const STEPS_IN_VAIN: u32 = 2;
const RISES_BY: f64 = 1.02;
/// As long as nearly all of what is offered is answered, the peak is not reached, whatever a step brought.
const KEEPS_UP: f64 = 0.95;
/// It also ends when so many times the closed peak are offered.
const OFFERED_MAX: f64 = 2.0;
/// The load whose times the others are compared with.
const HALF: f64 = 0.5;

/// Runs the command. No process and no file is left in any case.
pub(crate) async fn overload(args: &Overload, screen: &mut Screen<'_>) -> Outcome {
    let kv = as_kv(args);
    let rows = super::rows(&kv)?;
    let stop = stop_on_signal()?;
    let folder = temporary_folder(screen)?;
    let measured = with_servers(&stop, screen, async |servers, screen| {
        measure(args, &kv, &rows, folder.path(), servers, screen).await
    })
    .await;
    match finish(folder, measured, screen)? {
        Ok(document) => print(screen, &describe(args, &document), &document),
        Err(interrupted) => Ok(interrupted),
    }
}

/// The same rows, table and servers as for `isobar bench kv`, and as many handles.
fn as_kv(args: &Overload) -> Kv {
    Kv {
        against: Vec::new(),
        work: args.work.clone(),
        seconds: args.seconds,
        rounds: args.rounds,
        clients: args.handles,
        connections: vec![Connections::Own],
        rate: None,
        skew: Skew::Uniform,
        keys: args.keys,
        value_bytes: args.value_bytes,
        trace: None,
        shards: args.shards,
        ack: AckLevel::Majority,
        read: ReadLevel::Linearizable,
        engine: EngineKind::default(),
        seed: args.seed,
    }
}

/// The document of `-o json`.
#[derive(Serialize)]
struct Document {
    machine: Machine,
    seconds: u64,
    rounds: u32,
    handles: usize,
    rows: u64,
    value_bytes: usize,
    shards: u64,
    seed: u64,
    works: BTreeMap<String, WorkFigures>,
}

#[derive(Serialize)]
struct WorkFigures {
    /// Clients of the closed loop that got most answers.
    peak_clients: usize,
    /// Answers per second in the closed loop.
    closed_peak_per_s: Spread,
    /// Requests per second that have to be offered in the open loop to get the most answers.
    peak_offered_per_s: f64,
    /// Answers per second then; the loads are multiples of it.
    found_per_s: Spread,
    /// The same, or what was answered at a later load of the round if that was more.
    peak_per_s: Spread,
    loads: Vec<LoadFigures>,
}

/// One offered load, over all rounds.
#[derive(Serialize)]
struct LoadFigures {
    /// By how much it is more than the open peak that its round began with.
    load: f64,
    /// First attempts that came per second.
    offered_per_s: f64,
    /// Answered in time, per second.
    goodput_per_s: f64,
    /// Refused with `ISO-2006`, per second.
    refused_per_s: f64,
    /// Failed otherwise.
    errors: u64,
    /// Due and not sent before the end, because the generator itself was late.
    unsent: u64,
    /// Times of the answered ones.
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// Goodput by the open peak of the same round.
    to_peak: Spread,
    /// The same by the closed peak.
    to_closed_peak: Spread,
    /// 99.9th percentile by that at half load in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    p999_to_half: Option<Spread>,
    /// CPU seconds of the nodes, and of the generator with its clients, for a million answers.
    cpu_s_per_mop: f64,
    client_cpu_s_per_mop: f64,
    rss_mib: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<ApiError>,
}

/// What one round of one kind of work brought.
struct Turn {
    closed_peak_per_s: f64,
    found_per_s: f64,
    peak_per_s: f64,
    loads: Vec<Round>,
}

async fn measure(
    args: &Overload,
    kv: &Kv,
    rows: &Rows,
    folder: &Path,
    servers: &mut Vec<Servers>,
    screen: &mut Screen<'_>,
) -> Result<Document, ApiError> {
    servers.push(Servers::start(Kind::Isobar, folder, kv.engine)?);
    let nodes = servers.last_mut().expect("it was just added");
    nodes.prepare(kv, rows).await?;
    let handles = nodes.connect(Connections::Own, kv).await?;
    let mut bench = Bench { args, rows, nodes, handles, runs: 0 };
    let runs = args.work.len() * args.rounds as usize * (2 + args.loads.len());
    let bar = screen.progress(runs as u64, TEMPLATE);
    let mut works = BTreeMap::new();
    for work in &args.work {
        bar.set_message(format!("{work}: looking for the peak"));
        let (peak_clients, closed_per_s) = bench.peak_clients(*work).await?;
        let offered_per_s = bench.peak_offered(*work, closed_per_s).await?;
        let mut turns = Vec::new();
        for round in 1..=args.rounds {
            bar.set_message(format!("{work}, round {round}"));
            let turn = bench.turn(*work, peak_clients, offered_per_s).await?;
            bar.inc(2 + args.loads.len() as u64);
            if !screen.terminal || screen.json {
                screen.say(&line(args, *work, round, &turn));
            }
            turns.push(turn);
        }
        works
            .insert(work.to_string(), WorkFigures::of(args, (peak_clients, offered_per_s), &turns));
    }
    bar.finish_and_clear();
    Ok(Document {
        machine: Machine::this(),
        seconds: args.seconds,
        rounds: args.rounds,
        handles: args.handles,
        rows: rows.count,
        value_bytes: args.value_bytes,
        shards: args.shards,
        seed: args.seed,
        works,
    })
}

struct Bench<'a> {
    args: &'a Overload,
    rows: &'a Rows,
    nodes: &'a mut Servers,
    handles: Vec<Handle>,
    /// Runs so far: each asks for something else.
    runs: u64,
}

impl Bench<'_> {
    async fn run(
        &mut self,
        work: Work,
        clients: usize,
        pace: Pace,
        length: Duration,
    ) -> Result<Round, ApiError> {
        self.runs += 1;
        let streams = self.rows.streams(work, clients, self.runs);
        let before = (self.nodes.usage().0, own_cpu()?);
        let samples = load::run(&self.handles, streams, pace, length).await;
        let (cpu, rss_bytes) = self.nodes.usage();
        self.nodes.check()?;
        let server_cpu = cpu.saturating_sub(before.0);
        let client_cpu = own_cpu()?.saturating_sub(before.1);
        Ok(Round { samples, server_cpu, client_cpu, rss_bytes })
    }

    /// How many clients of a closed loop get most answers, and how many per second.
    async fn peak_clients(&mut self, work: Work) -> Result<(usize, f64), ApiError> {
        let (mut best, mut most_per_s) = (CLIENTS[0], 0.0);
        for clients in CLIENTS {
            self.run(work, clients, Pace::Closed, WARM_UP_MAX).await?;
            let per_s = self.run(work, clients, Pace::Closed, TRIAL).await?.samples.ops_per_s();
            if per_s > most_per_s {
                (best, most_per_s) = (clients, per_s);
            }
        }
        Ok((best, most_per_s))
    }

    /// How much has to be offered in the open loop to get most answers: more brings no more.
    async fn peak_offered(&mut self, work: Work, closed_per_s: f64) -> Result<f64, ApiError> {
        let mut offered = (closed_per_s * OFFERED_FIRST).max(1.0);
        let (mut best, mut most_per_s, mut in_vain) = (offered, 0.0, 0);
        while in_vain < STEPS_IN_VAIN && offered <= closed_per_s * OFFERED_MAX {
            let answered = self.offer(work, offered, TRIAL).await?.samples.ops_per_s();
            in_vain += u32::from(answered < offered * KEEPS_UP);
            if answered > most_per_s * RISES_BY {
                (best, most_per_s, in_vain) = (offered, answered, 0);
            }
            offered *= OFFERED_STEP;
        }
        Ok(best)
    }

    async fn offer(&mut self, work: Work, per_s: f64, length: Duration) -> Result<Round, ApiError> {
        let seed = self.args.seed.wrapping_add(self.runs);
        let pace = Pace::Open { per_s, in_flight_max: IN_FLIGHT_MAX, seed };
        self.run(work, STREAMS, pace, length).await
    }

    /// Both peaks, and right after them each load in times of the open one.
    async fn turn(
        &mut self,
        work: Work,
        clients: usize,
        offered_per_s: f64,
    ) -> Result<Turn, ApiError> {
        let length = Duration::from_secs(self.args.seconds);
        self.run(work, clients, Pace::Closed, WARM_UP_MAX).await?;
        let closed = self.run(work, clients, Pace::Closed, length).await?;
        let open = self.offer(work, offered_per_s, length).await?;
        let found_per_s = open.samples.ops_per_s();
        // On a busy machine the search may end too early: the peak is what was reached, whenever that was.
        let mut peak_per_s = found_per_s;
        let mut loads = Vec::new();
        for load in &self.args.loads {
            let round = self.offer(work, (found_per_s * load).max(1.0), length).await?;
            peak_per_s = peak_per_s.max(round.samples.ops_per_s());
            loads.push(round);
        }
        Ok(Turn { closed_peak_per_s: closed.samples.ops_per_s(), found_per_s, peak_per_s, loads })
    }
}

impl WorkFigures {
    fn of(args: &Overload, found: (usize, f64), turns: &[Turn]) -> Self {
        let (peak_clients, peak_offered_per_s) = found;
        let spread = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of)).unwrap_or_default();
        let half = args.loads.iter().position(|load| *load == HALF);
        let loads = args.loads.iter().enumerate();
        Self {
            peak_clients,
            closed_peak_per_s: spread(|turn| turn.closed_peak_per_s),
            peak_offered_per_s,
            found_per_s: spread(|turn| turn.found_per_s),
            peak_per_s: spread(|turn| turn.peak_per_s),
            loads: loads.filter_map(|(at, load)| LoadFigures::of(*load, at, half, turns)).collect(),
        }
    }
}

impl LoadFigures {
    fn of(load: f64, at: usize, half: Option<usize>, turns: &[Turn]) -> Option<Self> {
        let rounds: Vec<Round> = turns.iter().map(|turn| turn.loads[at].clone()).collect();
        let figures = Figures::of(&rounds)?;
        let seconds: f64 = rounds.iter().map(|r| r.samples.length.as_secs_f64()).sum();
        let per_s =
            |count: fn(&Round) -> u64| rounds.iter().map(count).sum::<u64>() as f64 / seconds;
        let p999 = |round: &Round| round.samples.quantile_ms(0.999);
        let to_half = |half: usize| {
            let pairs = turns.iter().map(|turn| (p999(&turn.loads[at]), p999(&turn.loads[half])));
            Spread::of(pairs.filter(|(_, half)| *half > 0.0).map(|(now, half)| now / half))
        };
        let by = |peak: fn(&Turn) -> f64| {
            Spread::of(turns.iter().map(|turn| turn.loads[at].samples.ops_per_s() / peak(turn)))
        };
        Some(Self {
            load,
            offered_per_s: per_s(|round| {
                let samples = &round.samples;
                samples.answered() + samples.refused + samples.errors + samples.unsent
            }),
            goodput_per_s: per_s(|round| round.samples.in_time),
            refused_per_s: per_s(|round| round.samples.refused),
            errors: rounds.iter().map(|round| round.samples.errors).sum(),
            unsent: figures.unsent,
            p50_ms: figures.p50_ms,
            p99_ms: figures.p99_ms,
            p999_ms: figures.p999_ms,
            to_peak: by(|turn| turn.peak_per_s)?,
            to_closed_peak: by(|turn| turn.closed_peak_per_s)?,
            cpu_s_per_mop: figures.cpu_s_per_mop,
            client_cpu_s_per_mop: figures.client_cpu_s_per_mop,
            p999_to_half: half.and_then(to_half),
            rss_mib: figures.rss_mib,
            first_error: rounds.iter().find_map(|round| round.samples.first_error.clone()),
        })
    }
}

fn line(args: &Overload, work: Work, round: u32, turn: &Turn) -> String {
    let mut text = format!(
        "{work} round {round}: peak {:.0}/s open, {:.0}/s closed",
        turn.peak_per_s, turn.closed_peak_per_s
    );
    for (load, round) in args.loads.iter().zip(&turn.loads) {
        let samples = &round.samples;
        text.push_str(&format!(
            "; {load}x: {:.0}/s, p99.9 {:.1} ms",
            samples.ops_per_s(),
            samples.quantile_ms(0.999)
        ));
    }
    text
}

fn describe(args: &Overload, document: &Document) -> String {
    let machine = &document.machine;
    let mut text = format!(
        "{} handles, {}-byte values, {} rows, {} shards, {} s at each load, {} rounds; {} cores, profile {}\n",
        args.handles,
        args.value_bytes,
        document.rows,
        args.shards,
        args.seconds,
        args.rounds,
        machine.cores,
        machine.profile,
    );
    let spread = |s: Spread| format!("{:.2} ({:.2} to {:.2})", s.median, s.min, s.max);
    for (work, figures) in &document.works {
        let (peak, closed) = (figures.peak_per_s, figures.closed_peak_per_s);
        text.push_str(&format!(
            "\n{work}: peak {:.0}/s ({:.0} to {:.0}) in the open loop, when {:.0}/s are offered; {:.0}/s ({:.0} to {:.0}) in a closed loop of {} clients\n",
            peak.median, peak.min, peak.max, figures.peak_offered_per_s,
            closed.median, closed.min, closed.max, figures.peak_clients
        ));
        let header = [
            "load",
            "offered/s",
            "goodput/s",
            "refused/s",
            "by peak",
            "by closed",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "by half load",
            "errors",
            "unsent",
            "node CPU",
            "client CPU",
            "MiB",
        ];
        let rows = figures.loads.iter().map(|load| {
            [
                load.load.to_string(),
                format!("{:.0}", load.offered_per_s),
                format!("{:.0}", load.goodput_per_s),
                format!("{:.0}", load.refused_per_s),
                spread(load.to_peak),
                format!("{:.2}", load.to_closed_peak.median),
                format!("{:.2}", load.p50_ms),
                format!("{:.2}", load.p99_ms),
                format!("{:.2}", load.p999_ms),
                load.p999_to_half.map_or_else(String::new, spread),
                load.errors.to_string(),
                load.unsent.to_string(),
                format!("{:.0}", load.cpu_s_per_mop),
                format!("{:.0}", load.client_cpu_s_per_mop),
                format!("{:.0}", load.rss_mib),
            ]
        });
        text.push_str(&table(header, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], rows));
        for load in &figures.loads {
            if let Some(error) = &load.first_error {
                text.push_str(&format!("first error at {}: {error}\n", load.load));
            }
        }
    }
    text
}
