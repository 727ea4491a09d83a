//! Shards that follow workload definitions, and request rates of the folder.

use super::planted::Rng;
use crate::{Error, Result};
use isobar_datasets::read_rates;
use isobar_datasets::ycsb::{
    Distribution, Mix, OperationKind, Operations, Workload, read_workload,
};
use isobar_models::characterize::{Traffic, WorkloadFeatures};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Shards drawn of each class.
const SHARDS: usize = 60;
/// Rates are put together to ten minutes.
pub(super) const STEPS_A_DAY: usize = 144;
const STEP_S: usize = 600;
/// Records of a shard at most: bounds the cost, the shares stay.
const RECORDS_MAX: u64 = 5_000;

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::Io { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whatever in a folder is a workload definition.
pub(super) fn definitions(folder: &Path) -> Result<Vec<Workload>> {
    let read = |path: &PathBuf| read_workload(path).ok().filter(|w| !w.class.is_empty());
    Ok(files(folder)?.iter().filter_map(read).collect())
}

/// Whatever in a folder is a file of request rates of four days or more, in steps of ten minutes.
pub(super) fn days(folder: &Path) -> Result<Vec<Vec<f64>>> {
    let read = |path: &PathBuf| {
        let rates = read_rates(path).ok()?.per_second;
        let series: Vec<f64> = rates
            .chunks_exact(STEP_S)
            .map(|part| part.iter().map(|&r| f64::from(r)).sum())
            .collect();
        (series.len() >= 4 * STEPS_A_DAY).then_some(series)
    };
    Ok(files(folder)?.iter().filter_map(read).collect())
}

/// The six core workloads of YCSB where a folder defines fewer than two.
pub(super) fn or_core(found: Vec<Workload>) -> Vec<Workload> {
    if found.len() >= 2 {
        return found;
    }
    let core = |name: &str, shares: [f64; 5], distribution| {
        let [read, update, insert, scan, read_modify_write] = shares;
        Workload {
            name: name.into(),
            class: "CoreWorkload".into(),
            record_count: 1000,
            operation_count: 1000,
            mix: Mix { read, update, insert, scan, read_modify_write },
            distribution,
            field_count: 10,
            field_length_bytes: 100,
            max_scan_length: 100,
        }
    };
    use Distribution::{Latest, Zipfian};
    vec![
        core("workloada", [0.5, 0.5, 0.0, 0.0, 0.0], Zipfian),
        core("workloadb", [0.95, 0.05, 0.0, 0.0, 0.0], Zipfian),
        core("workloadc", [1.0, 0.0, 0.0, 0.0, 0.0], Zipfian),
        core("workloadd", [0.95, 0.0, 0.05, 0.0, 0.0], Latest),
        core("workloade", [0.0, 0.0, 0.05, 0.95, 0.0], Zipfian),
        core("workloadf", [0.5, 0.0, 0.0, 0.0, 0.5], Zipfian),
    ]
}

/// Shards of each workload with their class; workloads with the same shares and law are one class.
pub(super) fn draw(workloads: &[Workload], seed: u64) -> (Vec<WorkloadFeatures>, Vec<usize>) {
    let mut kinds = BTreeMap::new();
    for workload in workloads {
        let kind = format!("{:?} {:?}", workload.mix, workload.distribution);
        kinds.entry(kind).or_insert(workload);
    }
    let mut rng = Rng::new(seed);
    let (mut rows, mut truth) = (Vec::new(), Vec::new());
    for (class, workload) in kinds.into_values().enumerate() {
        for _ in 0..SHARDS {
            rows.push(WorkloadFeatures::of(&traffic(workload, &mut rng)));
            truth.push(class);
        }
    }
    (rows, truth)
}

/// Half a thousand to two thousand operations of one shard, at a rate of its own.
fn traffic(workload: &Workload, rng: &mut Rng) -> Traffic {
    let mut workload = workload.clone();
    workload.record_count = workload.record_count.clamp(500, RECORDS_MAX);
    workload.operation_count = 2000;
    let count = 1000 + rng.below(1000);
    let mut operations = Operations::new(&workload, rng.below(1 << 40) as u64);
    let mut traffic = Traffic::default();
    let mut hits = BTreeMap::<u64, u64>::new();
    let mut new = 0;
    for _ in 0..count {
        let known = operations.records();
        let Some(operation) = operations.next() else { break };
        match operation.kind {
            OperationKind::Read => traffic.reads += 1.0,
            OperationKind::Update => traffic.updates += 1.0,
            OperationKind::Insert => traffic.inserts += 1.0,
            OperationKind::Scan(_) => traffic.scans += 1.0,
            OperationKind::ReadModifyWrite => traffic.read_modify_writes += 1.0,
        }
        *hits.entry(operation.record).or_default() += 1;
        new += u64::from(operation.record >= known - known / 10);
    }
    let mut often: Vec<u64> = hits.into_values().collect();
    often.sort_unstable_by(|a, b| b.cmp(a));
    let hottest = often.len().div_ceil(100);
    traffic.hot_share = often.iter().take(hottest).sum::<u64>() as f64 / count as f64;
    traffic.new_share = new as f64 / count as f64;
    let rate = (4.0 + 0.3 * rng.normal()).exp();
    traffic.per_second = (0..60).map(|_| (rate + rate.sqrt() * rng.normal()).max(0.0)).collect();
    traffic
}
