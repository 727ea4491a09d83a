//! Which replicas a report lists, and how the reports of one subscription are numbered. Pure.

use isobar_api::{
    ReplicaId, ShardEntry, ShardId,
    report::{NodeReport, ReplicaReport},
};
use std::collections::{BTreeMap, BTreeSet};

/// Every so many reports of a subscription one is full, so that whatever a reader missed heals.
pub(super) const FULL_EVERY: u64 = 10;

/// What was last said of the replicas.
#[derive(Debug, Default)]
pub(super) struct ReportState {
    known: BTreeMap<ShardId, Known>,
}

/// A change of any of these is news.
#[derive(Debug, PartialEq)]
struct Known {
    shard: ShardEntry,
    table: String,
    replica_id: ReplicaId,
    is_leader: bool,
    fault: Option<String>,
}

/// One interval, for all subscribers.
#[derive(Debug)]
pub(super) struct Frame {
    /// Everything but what the three below and the subscription say.
    pub(super) head: NodeReport,
    /// All replicas.
    pub(super) replicas: Vec<ReplicaReport>,
    /// Which of them are listed in a report that is not full, ascending.
    pub(super) listed: Vec<usize>,
    /// Shards held in the interval before, but no more.
    pub(super) gone: Vec<ShardId>,
}

impl Known {
    fn of(report: &ReplicaReport) -> Self {
        Self {
            shard: report.shard.clone(),
            table: report.table.clone(),
            replica_id: report.replica_id,
            is_leader: report.is_leader,
            fault: report.fault.clone(),
        }
    }

    /// Whether [`Self::of`] the report would be equal to this.
    fn is(&self, report: &ReplicaReport) -> bool {
        let Self { shard, table, replica_id, is_leader, fault } = self;
        *shard == report.shard
            && *table == report.table
            && *replica_id == report.replica_id
            && *is_leader == report.is_leader
            && *fault == report.fault
    }
}

impl ReportState {
    /// The frame of an interval. What has not changed is compared and not copied.
    pub(super) fn frame(&mut self, head: NodeReport, replicas: Vec<ReplicaReport>) -> Frame {
        let mut listed = Vec::new();
        for (index, report) in replicas.iter().enumerate() {
            let shard = report.shard.shard_id;
            let same = self.known.get(&shard).is_some_and(|known| known.is(report));
            if !same {
                self.known.insert(shard, Known::of(report));
            }
            if !same || had_requests(report) {
                listed.push(index);
            }
        }
        let mut gone = Vec::new();
        if self.known.len() > replicas.len() {
            let held: BTreeSet<ShardId> = replicas.iter().map(|r| r.shard.shard_id).collect();
            gone = self.known.keys().filter(|shard| !held.contains(shard)).copied().collect();
            self.known.retain(|shard, _| held.contains(shard));
        }
        Frame { head, replicas, listed, gone }
    }
}

fn had_requests(report: &ReplicaReport) -> bool {
    !report.arrivals.is_empty() || report.latency.count > 0
}

impl Frame {
    /// The report of all replicas.
    pub(super) fn full(&self) -> NodeReport {
        self.report(self.replicas.clone(), true)
    }

    /// The report of the listed replicas.
    pub(super) fn delta(&self) -> NodeReport {
        let listed = self.listed.iter().map(|index| self.replicas[*index].clone());
        self.report(listed.collect(), false)
    }

    fn report(&self, replicas: Vec<ReplicaReport>, full: bool) -> NodeReport {
        NodeReport { replicas, full, gone: self.gone.clone(), ..self.head.clone() }
    }
}

/// The numbers of one subscription.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    last: u64,
    since_full: u64,
}

impl Numbering {
    /// The next report of this subscription.
    pub(super) fn next(&mut self, frame: &Frame) -> NodeReport {
        let full = self.last == 0 || self.since_full + 1 >= FULL_EVERY;
        let mut report = if full { frame.full() } else { frame.delta() };
        self.last += 1;
        self.since_full = if full { 0 } else { self.since_full + 1 };
        report.sequence = self.last;
        report
    }

    /// The reader was too slow for `frames` frames: a gap in the numbers, and a full report to heal it.
    pub(super) fn missed(&mut self, frames: u64) {
        self.last += frames;
        self.since_full = FULL_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{
        KeyRange, NodeId, Region, TableId, Term,
        report::{Arrivals, LatencySummary},
    };

    fn head() -> NodeReport {
        NodeReport {
            cluster_id: "c".into(),
            node_id: NodeId(1),
            region: Region::new("r").unwrap(),
            zone: "z".into(),
            address: "a:1".into(),
            incarnation: 5,
            sequence: 0,
            at_unix_ms: 1_000,
            interval_ms: 1_000,
            controller_term: Term(0),
            full: false,
            load: Default::default(),
            replicas: vec![],
            gone: vec![],
            alive: vec![],
        }
    }

    fn replica(shard: u64) -> ReplicaReport {
        let shard = ShardEntry {
            shard_id: ShardId(shard),
            table_id: TableId(1),
            range: KeyRange::all(),
            epoch: Default::default(),
            replicas: vec![],
            leader: None,
            term: 1,
        };
        ReplicaReport {
            shard,
            table: "t".into(),
            replica_id: ReplicaId(1),
            is_leader: false,
            last_log_index: 0,
            applied_index: 0,
            matched: vec![],
            size_bytes: 0,
            arrivals: vec![],
            latency: LatencySummary::default(),
            hot_keys: vec![],
            access_octiles: vec![],
            fault: None,
        }
    }

    fn shards(report: &NodeReport) -> Vec<u64> {
        report.replicas.iter().map(|replica| replica.shard.shard_id.0).collect()
    }

    #[test]
    fn a_delta_lists_requests_and_changes_and_nothing_else() {
        let mut state = ReportState::default();
        let all = || vec![replica(1), replica(2), replica(3)];
        let first = state.frame(head(), all());
        assert_eq!(shards(&first.delta()), [1, 2, 3], "all are new");
        let quiet = state.frame(head(), all());
        assert_eq!((shards(&quiet.delta()), shards(&quiet.full())), (vec![], vec![1, 2, 3]));

        type Change = fn(&mut ReplicaReport);
        let news: [(&str, Change); 7] = [
            ("arrivals", |r| {
                r.arrivals = vec![Arrivals { region: None, reads: 1, writes: 0, scans: 0 }];
            }),
            ("requests without arrivals", |r| r.latency.count = 1),
            ("entry", |r| r.shard.term = 2),
            ("leader", |r| r.is_leader = true),
            ("fault", |r| r.fault = Some("disk".into())),
            ("replica", |r| r.replica_id = ReplicaId(2)),
            ("table", |r| r.table = "renamed".into()),
        ];
        for (what, change) in news {
            state.frame(head(), all());
            let mut changed = all();
            change(&mut changed[1]);
            assert_eq!(shards(&state.frame(head(), changed).delta()), [2], "{what}");
        }
        state.frame(head(), all());
        let mut grown = all();
        (grown[0].size_bytes, grown[0].applied_index) = (9, 9);
        assert!(state.frame(head(), grown).delta().replicas.is_empty(), "growth alone is no news");
    }

    #[test]
    fn gone_shards_are_named_once() {
        let mut state = ReportState::default();
        state.frame(head(), vec![replica(1), replica(2)]);
        let frame = state.frame(head(), vec![replica(2)]);
        assert_eq!((frame.delta().gone, frame.full().gone), (vec![ShardId(1)], vec![ShardId(1)]));
        assert!(state.frame(head(), vec![replica(2)]).gone.is_empty());
        let back = state.frame(head(), vec![replica(1), replica(2)]);
        assert_eq!((shards(&back.delta()), back.gone), (vec![1], vec![]));
    }

    #[test]
    fn subscriptions_count_from_one_and_every_tenth_report_is_full() {
        let mut state = ReportState::default();
        let (mut early, mut late) = (Numbering::default(), Numbering::default());
        for tick in 1..=35 {
            let frame = state.frame(head(), vec![replica(1)]);
            let report = early.next(&frame);
            assert_eq!((report.sequence, report.full), (tick, tick % 10 == 1), "{tick}");
            if tick > 4 {
                let report = late.next(&frame);
                assert_eq!((report.sequence, report.full), (tick - 4, tick % 10 == 5), "{tick}");
                assert_eq!(report.replicas.len(), usize::from(report.full));
            }
        }
    }

    #[test]
    fn missed_frames_leave_a_gap_and_are_healed_by_a_full_report() {
        let mut state = ReportState::default();
        let frame = state.frame(head(), vec![replica(1)]);
        let mut numbers = Numbering::default();
        assert_eq!(numbers.next(&frame).sequence, 1);
        assert!(!numbers.next(&frame).full);
        numbers.missed(3);
        let report = numbers.next(&frame);
        assert_eq!((report.sequence, report.full), (6, true));
        let report = numbers.next(&frame);
        assert_eq!((report.sequence, report.full), (7, false));
    }
}
