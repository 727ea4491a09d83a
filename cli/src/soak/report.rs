//! What a soak says: a line a minute, and the end.

use super::{
    load::Minute,
    usage::{Judged, Usage},
};
use isobar_api::{
    DirectiveId,
    directive::{DirectiveKind, DirectiveState},
    plan::DirectiveRecord,
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// Directives that were carried out, by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Done {
    pub(super) splits: usize,
    pub(super) merges: usize,
    pub(super) moves: usize,
    pub(super) lead_transfers: usize,
    #[serde(skip)]
    seen: BTreeMap<DirectiveId, DirectiveKind>,
}

impl Done {
    /// Takes over what the controller lists; what it forgot stays.
    pub(super) fn learn(&mut self, records: &[DirectiveRecord]) {
        let done = |r: &&DirectiveRecord| {
            matches!(r.state, DirectiveState::Applied | DirectiveState::Verified)
        };
        for record in records.iter().filter(done) {
            if self.seen.insert(record.directive.id, record.directive.kind).is_some() {
                continue;
            }
            match record.directive.kind {
                DirectiveKind::Split => self.splits += 1,
                DirectiveKind::Merge => self.merges += 1,
                DirectiveKind::MoveReplica => self.moves += 1,
                DirectiveKind::TransferLeader => self.lead_transfers += 1,
                DirectiveKind::Repair | DirectiveKind::Drain => {}
            }
        }
    }
}

/// Faults that were injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Injected {
    pub(super) kills: u64,
    pub(super) stops: u64,
}

/// Everything, at the end.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) minutes: f64,
    pub(super) nodes: u8,
    pub(super) seed: u64,
    pub(super) writes_acknowledged: u64,
    pub(super) operations_failed: u64,
    pub(super) keys: usize,
    /// Keys whose last acknowledged write is neither there nor replaced by a later one.
    pub(super) lost: u64,
    /// Reads during the load that no order of the writes explains, and some of them.
    pub(super) reads_wrong: u64,
    pub(super) examples: Vec<String>,
    pub(super) shards: usize,
    pub(super) done: Done,
    pub(super) injected: Injected,
    /// Worst minute.
    pub(super) write_p99_ms_max: f64,
    pub(super) read_p99_ms_max: f64,
    pub(super) processes: Vec<Judged>,
    /// Why it failed; empty: it did not.
    pub(super) breaches: Vec<String>,
    /// Where data and logs were kept.
    pub(super) kept: Option<String>,
}

impl Report {
    /// What must hold, and does not.
    pub(super) fn find_breaches(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut need = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        need(self.writes_acknowledged > 0, "nothing was acknowledged".into());
        need(self.lost == 0, format!("{} keys lost an acknowledged write", self.lost));
        need(self.reads_wrong == 0, format!("{} reads went back in time", self.reads_wrong));
        for process in self.processes.iter().filter(|process| !process.is_flat()) {
            let (memory, handles) = (process.rss_mib, process.handles);
            need(
                memory.is_flat(),
                format!(
                    "{}: memory grew by {:.1} MiB over the second half, more than {:.1}",
                    process.name, memory.gained, memory.gained_max
                ),
            );
            need(
                handles.is_flat(),
                format!(
                    "{}: file handles grew by {:.0} over the second half, more than {:.0}",
                    process.name, handles.gained, handles.gained_max
                ),
            );
        }
        found
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{:.1} minutes, {} nodes, seed {}: {} writes acknowledged on {} keys, {} lost, {} reads wrong, {} operations failed\n\
             {} splits, {} moves, {} lead transfers, {} shards at the end; {} kills, {} stops; \
             p99 of the worst minute: writes {:.0} ms, reads {:.0} ms\n",
            self.minutes,
            self.nodes,
            self.seed,
            self.writes_acknowledged,
            self.keys,
            self.lost,
            self.reads_wrong,
            self.operations_failed,
            self.done.splits,
            self.done.moves,
            self.done.lead_transfers,
            self.shards,
            self.injected.kills,
            self.injected.stops,
            self.write_p99_ms_max,
            self.read_p99_ms_max,
        );
        for process in &self.processes {
            let verdict = match (process.judged, process.is_flat()) {
                (false, _) => "killed in the second half or too short, not judged",
                (true, true) => "flat",
                (true, false) => "GROWS",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<11} memory {:>6.1} MiB, {:+.1} over the second half (at most {:.1}); handles {:>4.0}, {:+.1} (at most {:.0}): {verdict}",
                process.name,
                process.rss_mib.median,
                process.rss_mib.gained,
                process.rss_mib.gained_max,
                process.handles.median,
                process.handles.gained,
                process.handles.gained_max,
            );
        }
        for what in self.examples.iter().chain(&self.breaches) {
            let _ = writeln!(text, "{what}");
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "data and logs are in {kept}");
        }
        text
    }
}

/// The line of a minute.
pub(super) fn minute_line<'u>(
    minute: &Minute,
    length_s: f64,
    usage: impl Iterator<Item = (&'u str, Usage)>,
    shards: usize,
    (done, injected): (&Done, Injected),
    wrong: u64,
) -> String {
    let (mut memory, mut handles) = (Vec::new(), Vec::new());
    for (name, usage) in usage {
        memory.push(format!("{name} {:.0}", usage.rss_mib));
        handles.push(format!("{name} {:.0}", usage.handles));
    }
    format!(
        "{:.0} writes/s p99 {:.0} ms, {:.0} reads/s p99 {:.0} ms, {} failed; MiB {}; handles {}; \
         {shards} shards, {} splits, {} moves, {} lead transfers; {} kills, {} stops; lost {wrong}",
        minute.writes as f64 / length_s,
        minute.write_p99_ms,
        minute.reads as f64 / length_s,
        minute.read_p99_ms,
        minute.failed,
        memory.join(" "),
        handles.join(" "),
        done.splits,
        done.moves,
        done.lead_transfers,
        injected.kills,
        injected.stops,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::growth::Growth, *};

    fn judged(gained: f64) -> Judged {
        let flat = Growth { median: 100.0, gained: 0.0, gained_max: 32.0 };
        Judged {
            name: "n1".into(),
            rss_mib: Growth { gained, gained_max: 16.0, ..flat },
            handles: flat,
            rss_mib_max: 120.0,
            handles_max: 100.0,
            judged: true,
        }
    }

    fn report() -> Report {
        Report {
            minutes: 5.0,
            nodes: 5,
            seed: 1,
            writes_acknowledged: 1_000,
            operations_failed: 3,
            keys: 100,
            lost: 0,
            reads_wrong: 0,
            examples: Vec::new(),
            shards: 4,
            done: Done::default(),
            injected: Injected::default(),
            write_p99_ms_max: 10.0,
            read_p99_ms_max: 5.0,
            processes: vec![judged(15.0)],
            breaches: Vec::new(),
            kept: None,
        }
    }

    #[test]
    fn each_breach_is_found() {
        assert_eq!(report().find_breaches(), Vec::<String>::new());
        let breaches = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            report.find_breaches().len()
        };
        assert_eq!(breaches(|report| report.lost = 1), 1);
        assert_eq!(breaches(|report| report.reads_wrong = 2), 1);
        assert_eq!(breaches(|report| report.writes_acknowledged = 0), 1);
        assert_eq!(breaches(|report| report.processes = vec![judged(17.0)]), 1);
        assert!(report().text().contains("flat"));
    }
}
