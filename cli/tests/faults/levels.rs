//! What each acknowledgement level loses in which fault: four tables side by side, the same faults for all of them.

use crate::{
    record::Record,
    support::cluster::Plan,
    trial::{Span, TableOf, Trial},
    verdict::Verdict,
};
use isobar_api::{NodeId, table::AckLevel};
use nix::sys::signal::Signal;
use std::time::Duration;

const N1: NodeId = NodeId(1);
/// Long enough for the others to elect and for clients to find out.
const LASTS: Duration = Duration::from_secs(6);
/// What is acknowledged shortly before a fault may be lost in it.
const BEFORE_MS: u64 = 1_000;

const fn table(name: &'static str, ack: AckLevel) -> TableOf {
    TableOf { name, replicas: 3, ack, split_keys: &[] }
}

const TABLES: [TableOf; 4] = [
    table("majority", AckLevel::Majority),
    table("two", AckLevel::Count(2)),
    table("all", AckLevel::All),
    table("leader", AckLevel::Leader),
];

/// Each fault in turn, with `n1` leading everything before it.
fn faults(trial: &mut Trial) -> Vec<(&'static str, Span)> {
    let mut spans = Vec::new();
    let mut add = |trial: &mut Trial, what, begin: fn(&mut Trial), end: fn(&mut Trial)| {
        trial.make_leader(N1);
        spans.push((what, trial.during(what, LASTS, begin, end)));
    };
    let start_all = |trial: &mut Trial| trial.cluster.start_all();
    add(trial, "kill -9 of the leader's node", |trial| trial.cluster.kill_node(N1), start_all);
    let isolate = |trial: &mut Trial| trial.network.isolate(N1, true, true);
    add(trial, "the leader's node cut off", isolate, |trial| trial.network.heal());
    let stop = |trial: &mut Trial| trial.cluster.node(N1).signal(Signal::SIGSTOP);
    let go_on = |trial: &mut Trial| trial.cluster.node(N1).signal(Signal::SIGCONT);
    add(trial, "the leader's process stopped", stop, go_on);
    add(trial, "kill -9 of all nodes", |trial| trial.cluster.kill_all(), start_all);
    spans
}

/// Of the writes of a table that were acknowledged around a fault: how many, and how many of them are gone.
fn around(
    spans: &[(&str, Span)],
    at: usize,
    record: &Record,
    table: &str,
    verdict: &Verdict,
) -> (usize, usize) {
    let from = spans[at].1.began - BEFORE_MS;
    let to = spans.get(at + 1).map_or(u64::MAX, |(_, next)| next.began - BEFORE_MS);
    let inside = record.acks.iter().filter(|ack| ack.is_of(table) && (from..to).contains(&ack.at));
    let acks: Vec<&str> = inside.map(|ack| ack.key.as_str()).collect();
    let gone = acks.iter().filter(|key| verdict.lost_keys.iter().any(|lost| lost == *key));
    (acks.len(), gone.count())
}

#[test]
fn every_acknowledgement_but_the_leaders_own_survives_every_fault() {
    let mut trial = Trial::start("levels", Plan::nodes(&["eu", "us", "asia"]), &TABLES, 1);
    let spans = faults(&mut trial);
    let mut lost_when_cut_off = 0;
    for (table, record, verdict) in trial.end() {
        let name = table.name;
        for (at, (what, span)) in spans.iter().enumerate() {
            let (acks, gone) = around(&spans, at, &record, name, &verdict);
            let failed = record.failures_between(span.began, span.ended);
            let writes = failed.iter().filter(|line| line.contains(&format!(" {name}/"))).count();
            println!(
                "{what}: {name}: {acks} writes acknowledged around it, {gone} lost, {writes} operations failed during it"
            );
            if name == "leader" && at == 1 {
                lost_when_cut_off = gone;
            }
        }
        if table.ack != AckLevel::Leader {
            assert_eq!(verdict.lost, Vec::<String>::new(), "{name}: acknowledged writes are gone");
            assert_eq!(verdict.late, Vec::<String>::new(), "{name}: a read did not see them");
            let of_table = |line: &&String| line.contains(&format!(" {name}/"));
            let wrong: Vec<&String> = record.wrong.iter().filter(of_table).collect();
            assert_eq!(wrong, Vec::<&String>::new(), "{name}: reads that nothing explains");
        }
    }
    // Its leader goes on alone, and what it said yes to is gone: if the check does not see that, it sees nothing.
    assert!(lost_when_cut_off > 0, "writes that only the cut-off leader had were not missed");
}
