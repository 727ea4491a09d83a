//! The runs: each round lets every system do the same, one after the other, so that what is compared ran side by side.

use super::{
    results::{Floors, Results, System},
    servers::Servers,
    system_name,
};
use crate::{commands::bench::Kv, screen::Screen};
use indicatif::ProgressBar;
use isobar_api::{ApiError, ErrorCode};
use isobar_benches::{
    drivers::Handle,
    load::{self, Pace},
    report::Round,
    usage::process_cpu,
    work::{Rows, Work},
};
use std::time::Duration;

/// Before each run, not counted: buffers fill, and the processors leave their sleep.
pub(super) const WARM_UP_MAX: Duration = Duration::from_millis(500);
/// Requests under way at most in an open run.
const IN_FLIGHT_MAX: u32 = 4_096;
pub(super) const TEMPLATE: &str = "{msg:40} {bar:30} {pos}/{len} {eta}";

/// Everything that is connected.
pub(super) struct Runs<'a> {
    args: &'a Kv,
    rows: &'a Rows,
    servers: &'a mut [Servers],
    /// Index into the servers, handles of the clients.
    connected: Vec<(usize, Vec<Handle>)>,
    systems: Vec<System>,
}

impl<'a> Runs<'a> {
    /// Connects the clients to all servers, in each way that was asked for.
    pub(super) async fn connect(
        args: &'a Kv,
        rows: &'a Rows,
        servers: &'a mut [Servers],
    ) -> Result<Self, ApiError> {
        let (mut connected, mut systems) = (Vec::new(), Vec::new());
        for (index, of) in servers.iter().enumerate() {
            for how in &args.connections {
                let name = system_name(of.kind, *how);
                if systems.iter().any(|system: &System| system.name == name) {
                    continue;
                }
                connected.push((index, of.connect(*how, args).await?));
                systems.push(System { name, kind: of.kind, how: *how, rounds: Vec::new() });
            }
        }
        Ok(Self { args, rows, servers, connected, systems })
    }

    /// All kinds of work, all rounds, all systems.
    pub(super) async fn all(mut self, screen: &mut Screen<'_>) -> Result<Results, ApiError> {
        let mut works = self.args.work.clone();
        works.sort();
        works.dedup();
        let runs = works.len() * self.args.rounds as usize * self.systems.len();
        let bar = screen.progress(runs as u64, TEMPLATE);
        let mut number = 0;
        for work in works {
            for round in 1..=self.args.rounds {
                for system in 0..self.systems.len() {
                    self.one(system, work, round, number, &bar, screen).await?;
                    bar.inc(1);
                }
                number += 1;
            }
        }
        bar.finish_and_clear();
        Ok(Results { rows: self.rows.count, systems: self.systems, floors: Floors::new() })
    }

    async fn one(
        &mut self,
        system: usize,
        work: Work,
        round: u32,
        number: u64,
        bar: &ProgressBar,
        screen: &mut Screen<'_>,
    ) -> Result<(), ApiError> {
        let (server, handles) = &self.connected[system];
        if work.scans() && !handles[0].can_scan() {
            return Ok(());
        }
        let name = &self.systems[system].name;
        bar.set_message(format!("{work}, round {round}: {name}"));
        let length = round_length(self.args);
        // Two runs of requests for each run: the warm-up must not insert what is inserted afterwards.
        let (warm_up, streams) = (2 * number, 2 * number + 1);
        let clients = self.args.clients;
        let warm_up = self.rows.streams(work, clients, warm_up);
        load::run(handles, warm_up, Pace::Closed, WARM_UP_MAX.min(length / 4)).await;
        let streams = self.rows.streams(work, clients, streams);
        let before = (self.servers[*server].usage().0, own_cpu()?);
        let samples = load::run(handles, streams, pace(self.args, number), length).await;
        let (cpu, rss_bytes) = self.servers[*server].usage();
        let client_cpu = own_cpu()?.saturating_sub(before.1);
        self.servers.iter_mut().try_for_each(Servers::check)?;
        let server_cpu = cpu.saturating_sub(before.0);
        let round_done = Round { samples, server_cpu, client_cpu, rss_bytes };
        if !screen.terminal || screen.json {
            screen.say(&line(name, work, round, &round_done));
        }
        self.systems[system].add(work, round_done);
        Ok(())
    }
}

/// How long one system runs at a time.
pub(super) fn round_length(args: &Kv) -> Duration {
    Duration::from_secs(args.seconds) / args.rounds
}

fn pace(args: &Kv, number: u64) -> Pace {
    match args.rate {
        None => Pace::Closed,
        Some(per_s) => Pace::Open {
            per_s: per_s as f64,
            in_flight_max: IN_FLIGHT_MAX,
            seed: args.seed.wrapping_add(number),
        },
    }
}

pub(super) fn own_cpu() -> Result<Duration, ApiError> {
    process_cpu(std::process::id())
        .map_err(|why| ApiError::new(ErrorCode::File, format!("/proc: {why}")))
}

fn line(system: &str, work: Work, round: u32, done: &Round) -> String {
    format!(
        "{work:<6} round {round}  {system:<14} {:>8.0} ops/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {} errors",
        done.samples.ops_per_s(),
        done.samples.quantile_ms(0.5),
        done.samples.quantile_ms(0.99),
        done.samples.errors,
    )
}
