//! Reads meters, consensus groups, engine and process into the parts of a report.

use super::{FaultedReplica, ReportSource};
use crate::{
    engine::Space,
    replica::Replica,
    shard::{LocalReplica, keys},
};
use isobar_api::{
    Epoch, ReplicaId, ShardEntry, ShardId,
    report::{NodeLoad, ReplicaReport},
};
use isobar_telemetry::{
    ShardInterval,
    process::{self, CpuMeter},
};
use openraft::async_runtime::WatchReceiver;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// The size of a shard is asked for at most this often, milliseconds: it costs a look into every table file.
const SIZE_AGE_MS_MAX: u64 = 10_000;

/// What is kept from interval to interval.
#[derive(Debug)]
pub(super) struct Measure {
    data_dir: PathBuf,
    cpu: CpuMeter,
    load: NodeLoad,
    sizes: BTreeMap<ShardId, Size>,
    /// What the meters saw in the last interval.
    intervals: BTreeMap<ShardId, (ReplicaId, ShardInterval)>,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    bytes: u64,
    at_unix_ms: u64,
    shape: u64,
}

impl Measure {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            cpu: CpuMeter::default(),
            load: NodeLoad::default(),
            sizes: BTreeMap::new(),
            intervals: BTreeMap::new(),
        }
    }

    /// Ends an interval: takes every meter once.
    pub(super) fn interval(
        &mut self,
        source: &dyn ReportSource,
        now_unix_ms: u64,
        length: Duration,
    ) -> (NodeLoad, Vec<ReplicaReport>) {
        let held = source.replicas();
        let taken = held.iter().map(|r| (r.shard_id, (r.replica_id, r.meter.take(length))));
        self.intervals = taken.collect();
        self.sizes.retain(|shard, _| self.intervals.contains_key(shard));
        for replica in &held {
            self.refresh_size(replica, now_unix_ms);
        }
        let reports = self.reports(source);
        let requests: u64 = reports.iter().map(|report| report.latency.count).sum();
        self.measure_process(length);
        self.load.requests_per_s = requests as f64 / length.as_secs_f64().max(1e-3);
        self.load.in_flight = source.in_flight();
        self.load.fsync_ms_p99 = source.fsync_ms_p99();
        self.load.replicas = u32::try_from(reports.len()).unwrap_or(u32::MAX);
        let leaders = reports.iter().filter(|report| report.is_leader).count();
        self.load.leaders = u32::try_from(leaders).unwrap_or(u32::MAX);
        (self.load.clone(), reports)
    }

    /// The replicas as they are now, with what their meters saw in the last whole interval.
    pub(super) fn reports(&self, source: &dyn ReportSource) -> Vec<ReplicaReport> {
        let mut reports: BTreeMap<ShardId, ReplicaReport> = BTreeMap::new();
        for faulted in source.faulted() {
            let table = source.table_name(faulted.local.table_id);
            reports.insert(faulted.shard_id, faulted_report(faulted, table));
        }
        for replica in source.replicas() {
            reports.insert(replica.shard_id, self.report(&replica, source));
        }
        reports.into_values().collect()
    }

    pub(super) fn load(&self) -> NodeLoad {
        self.load.clone()
    }

    fn report(&self, replica: &Replica, source: &dyn ReportSource) -> ReplicaReport {
        let shard_id = replica.shard_id;
        // A replica that waits for its first snapshot knows only what this node wrote down when it made it. It is
        // reported all the same, at epoch 0.0: nobody could clean it up otherwise.
        let shard = replica.entry().unwrap_or_else(|| local_entry(shard_id, &replica.local));
        let of_this = self.intervals.get(&shard_id).filter(|(id, _)| *id == replica.replica_id);
        let interval = of_this.map(|(_, interval)| interval.clone()).unwrap_or_default();
        let table = source.table_name(shard.table_id);
        let size_bytes = self.sizes.get(&shard_id).map_or(0, |size| size.bytes);
        let (is_leader, fault) = (replica.is_leader(), replica.fault());
        let metrics = replica.raft.metrics();
        let metrics = metrics.borrow_watched();
        let others =
            metrics.replication.iter().flatten().filter(|(id, _)| **id != replica.replica_id.0);
        let matched = others.map(|(id, log_id)| {
            (ReplicaId(*id), log_id.as_ref().map_or(0, |log_id| log_id.index()))
        });
        ReplicaReport {
            table,
            replica_id: replica.replica_id,
            is_leader,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.as_ref().map_or(0, |log_id| log_id.index()),
            matched: matched.collect(),
            size_bytes,
            arrivals: interval.arrivals,
            latency: interval.latency,
            hot_keys: interval.hot_keys,
            access_octiles: interval.access_octiles,
            fault,
            shard,
        }
    }

    fn refresh_size(&mut self, replica: &Replica, now_unix_ms: u64) {
        let Some(descriptor) = replica.state.descriptor() else {
            return;
        };
        let fresh = |size: &&Size| {
            size.shape == descriptor.shape
                && now_unix_ms.abs_diff(size.at_unix_ms) < SIZE_AGE_MS_MAX
        };
        if self.sizes.get(&replica.shard_id).filter(fresh).is_some() {
            return;
        }
        let (start, end) = keys::rows(descriptor.table_id, &descriptor.range);
        match replica.engine.approximate_size_bytes(Space::Data, &start, Some(&end)) {
            Ok(bytes) => {
                let size = Size { bytes, at_unix_ms: now_unix_ms, shape: descriptor.shape };
                self.sizes.insert(replica.shard_id, size);
            }
            // The old size stays; an engine that fails shows as a fault of the replica.
            Err(error) => tracing::debug!(shard = %replica.shard_id, %error, "size unknown"),
        }
    }

    /// What cannot be measured keeps its last value.
    fn measure_process(&mut self, length: Duration) {
        let note = |error: process::ProcessError| tracing::debug!(%error, "not measured");
        match self.cpu.cores(length) {
            Ok(cores) => self.load.cpu_cores = cores,
            Err(error) => note(error),
        }
        match process::rss_bytes() {
            Ok(bytes) => self.load.rss_bytes = bytes,
            Err(error) => note(error),
        }
        match process::disk_space(&self.data_dir) {
            Ok(disk) => {
                self.load.disk_free_bytes = disk.free_bytes;
                self.load.disk_total_bytes = disk.total_bytes;
            }
            Err(error) => note(error),
        }
    }
}

fn local_entry(shard_id: ShardId, local: &LocalReplica) -> ShardEntry {
    ShardEntry {
        shard_id,
        table_id: local.table_id,
        range: local.range(),
        epoch: Epoch::default(),
        replicas: Vec::new(),
        leader: None,
        term: 0,
    }
}

fn faulted_report(faulted: FaultedReplica, table: String) -> ReplicaReport {
    let FaultedReplica { shard_id, local, why } = faulted;
    ReplicaReport {
        shard: local_entry(shard_id, &local),
        table,
        replica_id: local.replica_id,
        is_leader: false,
        last_log_index: 0,
        applied_index: 0,
        matched: Vec::new(),
        size_bytes: 0,
        arrivals: Vec::new(),
        latency: Default::default(),
        hot_keys: Vec::new(),
        access_octiles: Vec::new(),
        fault: Some(why),
    }
}
