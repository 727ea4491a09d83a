//! What all runs brought, and the one document made of it.

use super::{disk, servers::Kind};
use crate::commands::bench::{Connections, Kv};
use isobar_benches::{
    report::{Figures, Ratio, Round},
    work::Work,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of the floors, by name.
pub(super) type Floors = BTreeMap<&'static str, Vec<Round>>;

/// One way of connecting to one kind of servers.
pub(super) struct System {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) how: Connections,
    pub(super) rounds: Vec<(Work, Vec<Round>)>,
}

/// All rounds.
pub(super) struct Results {
    /// Rows that were loaded first.
    pub(super) rows: u64,
    pub(super) systems: Vec<System>,
    pub(super) floors: Floors,
}

impl System {
    /// Adds a round, in the order in which they ran.
    pub(super) fn add(&mut self, work: Work, round: Round) {
        match self.rounds.iter_mut().find(|(other, _)| *other == work) {
            Some((_, rounds)) => rounds.push(round),
            None => self.rounds.push((work, vec![round])),
        }
    }

    fn of(&self, work: Work) -> &[Round] {
        let found = self.rounds.iter().find(|(other, _)| *other == work);
        found.map_or(&[], |(_, rounds)| rounds)
    }
}

/// The document of `-o json`.
#[derive(Serialize)]
pub(super) struct Document {
    pub(super) machine: Machine,
    pub(super) load: Load,
    /// By system, then by work.
    pub(super) systems: BTreeMap<String, BTreeMap<String, Figures>>,
    /// Isobar by a peer that is connected to in the same way; by peer, then by work.
    pub(super) ratio: BTreeMap<String, BTreeMap<String, Ratio>>,
    pub(super) floors: BTreeMap<&'static str, Figures>,
}

/// Where it was measured.
#[derive(Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    /// How this program was built.
    pub(super) profile: &'static str,
    /// Whether all data was in memory.
    pub(super) tmpfs: bool,
}

impl Machine {
    /// The one that this program runs on.
    pub(super) fn this() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            tmpfs: disk::is_tmpfs(&std::env::temp_dir()),
        }
    }
}

/// What was asked for.
#[derive(Serialize)]
pub(super) struct Load {
    seconds: u64,
    rounds: u32,
    clients: usize,
    /// Requests that came per second; none: as fast as answers allowed.
    rate_per_s: Option<u64>,
    pub(super) rows: u64,
    value_bytes: usize,
    skew: String,
    seed: u64,
    shards: u64,
    engine: &'static str,
    ack: String,
    read: String,
}

impl Results {
    /// Every kind of work that was done.
    pub(super) fn works(&self) -> BTreeSet<Work> {
        let rounds = self.systems.iter().flat_map(|system| &system.rounds);
        rounds.map(|(work, _)| *work).collect()
    }

    /// Puts it together.
    pub(super) fn document(&self, args: &Kv) -> Document {
        Document {
            machine: Machine::this(),
            load: Load::of(args, self.rows),
            systems: self.systems.iter().map(|s| (s.name.clone(), figures(s))).collect(),
            ratio: self
                .systems
                .iter()
                .filter_map(|s| Some((s.name.clone(), self.ratios(s)?)))
                .collect(),
            floors: self.floors.iter().filter_map(|(n, r)| Some((*n, Figures::of(r)?))).collect(),
        }
    }

    /// Isobar by this peer; none for Isobar itself.
    fn ratios(&self, peer: &System) -> Option<BTreeMap<String, Ratio>> {
        let ours = |system: &&System| system.kind == Kind::Isobar && system.how == peer.how;
        let ours = self.systems.iter().find(ours).filter(|_| peer.kind != Kind::Isobar)?;
        let ratio = |(work, theirs): &(Work, Vec<Round>)| {
            Some((work.to_string(), Ratio::of(ours.of(*work), theirs)?))
        };
        Some(peer.rounds.iter().filter_map(ratio).collect())
    }
}

fn figures(system: &System) -> BTreeMap<String, Figures> {
    let each = system.rounds.iter();
    each.filter_map(|(work, rounds)| Some((work.to_string(), Figures::of(rounds)?))).collect()
}

impl Load {
    fn of(args: &Kv, rows: u64) -> Self {
        Self {
            seconds: args.seconds,
            rounds: args.rounds,
            clients: args.clients,
            rate_per_s: args.rate,
            rows,
            value_bytes: args.value_bytes,
            skew: format!("{:?}", args.skew).to_lowercase(),
            seed: args.seed,
            shards: args.shards,
            engine: args.engine.name(),
            ack: args.ack.to_string(),
            read: args.read.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use crate::commands::bench::Bench;
    use clap::Parser;
    use isobar_benches::load::Samples;
    use std::time::Duration;

    fn system(kind: Kind, how: Connections, name: &str, per_s: [u64; 3]) -> System {
        let mut system = System { name: name.into(), kind, how, rounds: Vec::new() };
        for count in per_s {
            let mut samples = Samples::new(Duration::from_secs(1));
            (0..count).for_each(|_| samples.record(Ok(()), Duration::from_millis(2), false, true));
            let (server_cpu, client_cpu) = (Duration::from_millis(count), Duration::ZERO);
            system.add(Work::Write, Round { samples, server_cpu, client_cpu, rss_bytes: 1 << 20 });
        }
        system
    }

    #[test]
    fn the_document_has_what_scripts_look_for() {
        let line = ["isobar", "bench", "kv", "--against", "etcd,redis", "-o", "json"];
        let cli = Cli::try_parse_from(line).expect("a legal line");
        let Command::Bench(Bench::Kv(args)) = cli.command else { panic!("another command") };
        let (shared, own) = (Connections::Shared, Connections::Own);
        let systems = vec![
            system(Kind::Isobar, shared, "isobar", [40, 60, 50]),
            system(Kind::Isobar, own, "isobar-own", [30, 30, 30]),
            system(Kind::Etcd, shared, "etcd", [10, 20, 25]),
            system(Kind::Etcd, own, "etcd-own", [10, 10, 15]),
        ];
        let results = Results { rows: 1, systems, floors: Floors::new() };
        let document = serde_json::to_value(results.document(&args)).expect("plain data");
        let at = |path: &str| document.pointer(path).and_then(serde_json::Value::as_f64);
        assert_eq!(at("/systems/isobar/write/ops_per_s"), Some(50.0));
        assert_eq!(at("/systems/etcd/write/cpu_s_per_mop"), Some(1_000.0));
        for name in ["p50_ms", "p99_ms", "p999_ms", "rss_mib"] {
            assert!(at(&format!("/systems/etcd-own/write/{name}")).is_some(), "{name}");
        }
        assert_eq!(at("/ratio/etcd/write/median"), Some(3.0), "4, 3 and 2");
        assert_eq!(at("/ratio/etcd-own/write/min"), Some(2.0), "own is compared with own");
        assert_eq!(at("/ratio/etcd-own/write/p99_ms/max"), Some(1.0));
        assert!(document.pointer("/ratio/isobar").is_none());
    }
}
