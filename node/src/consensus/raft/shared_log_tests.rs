use super::{
    log_record::{decode, encode, entry_key},
    shared_log::{FlusherConfig, SharedLog},
};
use crate::engine::{
    Engine, EngineError, EngineErrorKind, EngineRead, MemoryDisk, Scan, Space, WriteBatch,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
};

type Told = mpsc::Receiver<(u64, Result<(), EngineError>)>;

fn open(disk: &MemoryDisk) -> SharedLog {
    SharedLog::open(Arc::new(disk.open()), None, FlusherConfig::default()).unwrap()
}

fn record(shard: u64, index: u64) -> WriteBatch {
    let key = entry_key(shard, index);
    let value = encode(&key, &index).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(Space::Log, key, value);
    batch
}

async fn append(
    log: &SharedLog,
    shard: u64,
    index: u64,
    tell: &mpsc::SyncSender<(u64, Result<(), EngineError>)>,
) {
    let tell = tell.clone();
    let place = log.place().await.unwrap();
    log.write(record(shard, index)).unwrap();
    place.written(Box::new(move |result| tell.send((shard, result)).unwrap()));
}

fn all_told(told: &Told, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let (shard, result) = told.recv().unwrap();
            result.unwrap();
            shard
        })
        .collect()
}

#[tokio::test]
async fn groups_that_queue_meanwhile_share_one_fsync_and_are_told_in_order() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let (tell, told) = mpsc::sync_channel(1000);
    disk.hold_syncs(true);
    for shard in 0..50 {
        append(&log, shard, 1, &tell).await;
    }
    assert!(told.try_recv().is_err(), "told before the fsync");
    disk.hold_syncs(false);
    assert_eq!(all_told(&told, 50), (0..50).collect::<Vec<_>>());
    // The first fsync began with one job or more; all that came while it was held share the second.
    assert!(disk.syncs() <= 2, "{} fsyncs", disk.syncs());
    log.close();
    let stats = log.stats();
    assert_eq!(
        (stats.jobs, stats.queued_jobs),
        (51, 0),
        "50 appends, and the empty job of closing"
    );
    assert!(stats.jobs_per_sync >= 16.0, "{stats:?}");
}

#[tokio::test]
async fn a_failed_fsync_is_told_to_all_and_ends_the_log() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let (tell, told) = mpsc::sync_channel(1000);
    append(&log, 1, 1, &tell).await;
    all_told(&told, 1);
    disk.hold_syncs(true);
    for shard in 0..10 {
        append(&log, shard, 2, &tell).await;
    }
    disk.fail_syncs(Some(EngineErrorKind::DiskFull));
    disk.hold_syncs(false);
    for _ in 0..10 {
        assert_eq!(told.recv().unwrap().1.unwrap_err().kind(), EngineErrorKind::DiskFull);
    }
    disk.fail_syncs(None);
    assert_eq!(log.failure().unwrap().kind(), EngineErrorKind::DiskFull);
    assert_eq!(log.fault_of(3).unwrap().kind(), EngineErrorKind::DiskFull);
    assert!(
        log.place().await.is_err(),
        "a log that failed takes no more jobs, even when the disk seems well again"
    );
    assert!(log.write(record(1, 3)).is_err());
}

#[tokio::test]
async fn a_failed_write_ends_the_log_too() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    disk.fail_writes(Some(EngineErrorKind::Io));
    assert_eq!(log.write(record(1, 1)).unwrap_err().kind(), EngineErrorKind::Io);
    disk.fail_writes(None);
    assert!(log.place().await.is_err());
}

#[tokio::test]
async fn a_full_queue_makes_groups_wait_and_loses_nobody() {
    let disk = MemoryDisk::new();
    let config = FlusherConfig { queue_jobs: 2, batch_jobs: 2, ..FlusherConfig::default() };
    let log = SharedLog::open(Arc::new(disk.open()), None, config).unwrap();
    let (tell, told) = mpsc::sync_channel(1000);
    disk.hold_syncs(true);
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for index in 1..=20 {
                append(&log, 1, index, &tell).await;
            }
        }
    });
    // With places for two waiting and two being synced, the fifth append cannot get in.
    while log.stats().queued_jobs < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!writer.is_finished());
    disk.hold_syncs(false);
    writer.await.unwrap();
    assert_eq!(all_told(&told, 20).len(), 20);
}

#[tokio::test]
async fn the_state_is_synced_before_entries_are_purged() {
    let (disk, state_disk) = (MemoryDisk::new(), MemoryDisk::new());
    let state: Arc<dyn Engine> = Arc::new(state_disk.open());
    let log = SharedLog::open(Arc::new(disk.open()), Some(state.clone()), FlusherConfig::default())
        .unwrap();
    log.write(record(1, 1)).unwrap();
    let mut purge = WriteBatch::new();
    purge.delete(Space::Log, entry_key(1, 1));
    let mut applied = WriteBatch::new();
    applied.put(Space::Meta, "applied", "1");
    state.write(applied).unwrap();
    log.place().await.unwrap().purge_durably(purge.clone()).await.unwrap();
    assert_eq!(state_disk.syncs(), 1);
    // And if the state cannot be synced, the entries stay.
    log.write(record(1, 1)).unwrap();
    state_disk.fail_syncs(Some(EngineErrorKind::Io));
    assert!(log.place().await.unwrap().purge_durably(purge).await.is_err());
    assert!(log.engine().get(Space::Log, &entry_key(1, 1)).unwrap().is_some());
}

#[tokio::test]
async fn destroy_takes_one_group_and_no_other() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    for shard in [6, 7, 8, u64::MAX] {
        log.write(record(shard, 1)).unwrap();
        log.write(record(shard, u64::MAX)).unwrap();
    }
    log.note_fault(7, &EngineError::corruption("a test"));
    log.destroy(7).await.unwrap();
    log.destroy(u64::MAX).await.unwrap();
    assert!(log.fault_of(7).is_none());
    disk.crash(0);
    let left = disk.open().scan(Space::Log, &Scan::all()).unwrap().rows;
    let left: Vec<_> = left.into_iter().map(|(key, _)| key[7]).collect();
    assert_eq!(left, [6, 6, 8, 8]);
}

#[tokio::test]
async fn a_closed_log_finishes_its_jobs_and_takes_no_more() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let (tell, told) = mpsc::sync_channel(1000);
    for index in 1..=10 {
        append(&log, 1, index, &tell).await;
    }
    log.close();
    assert_eq!(all_told(&told, 10).len(), 10);
    assert_eq!(log.place().await.err().unwrap().kind(), EngineErrorKind::Closed);
}

#[tokio::test]
async fn a_flusher_that_panics_leaves_nobody_waiting() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let (tell, told) = mpsc::sync_channel(1000);
    disk.hold_syncs(true);
    log.place().await.unwrap().written(Box::new(|_| panic!("a test")));
    for index in 1..=3 {
        append(&log, 1, index, &tell).await;
    }
    disk.hold_syncs(false);
    for _ in 0..3 {
        assert!(told.recv().unwrap().1.is_err());
    }
    while log.failure().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.place().await.err().unwrap().kind(), EngineErrorKind::Internal);
}

/// Groups append while the machine may die at any step; counts acknowledged records that are gone afterwards.
async fn lost_after_a_crash(seed: u64, acknowledge_before_sync: bool) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = MemoryDisk::new();
    let config = FlusherConfig { acknowledge_before_sync, ..FlusherConfig::default() };
    let log = SharedLog::open(Arc::new(disk.open()), None, config).unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let mut next = BTreeMap::new();
    for _ in 0..rng.random_range(5..60) {
        let shard = rng.random_range(0..6_u64);
        let index = next.entry(shard).or_insert(0_u64);
        *index += 1;
        let (index, acknowledged) = (*index, acknowledged.clone());
        let place = log.place().await.unwrap();
        log.write(record(shard, index)).unwrap();
        place.written(Box::new(move |result| {
            if result.is_ok() {
                acknowledged.lock().unwrap().insert(shard, index);
            }
        }));
        if rng.random_bool(0.2) {
            log.place().await.unwrap().written_durably().await.unwrap();
        }
    }
    disk.crash(seed);
    log.close();
    let engine = disk.open();
    let mut lost = 0;
    for (shard, last) in acknowledged.lock().unwrap().iter() {
        for index in 1..=*last {
            let key = entry_key(*shard, index);
            let found = engine
                .get(Space::Log, &key)
                .unwrap()
                .map(|value| decode::<u64>(&key, &value).unwrap());
            lost += usize::from(found != Some(index));
        }
    }
    lost
}

#[tokio::test]
async fn a_crash_loses_nothing_acknowledged() {
    for seed in 0..200 {
        assert_eq!(lost_after_a_crash(seed, false).await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn the_same_crashes_catch_the_planted_bug() {
    let mut caught = 0;
    for seed in 0..200 {
        caught += usize::from(lost_after_a_crash(seed, true).await > 0);
    }
    assert!(caught > 100, "only {caught} of 200 seeds see an acknowledgement before the fsync");
}
