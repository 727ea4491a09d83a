//! `kill -9` of a process that writes to an engine, for each engine that has files: whole batches from the end may be gone,
//! nothing that was synced, and nothing from the middle.

use super::{
    BlockCache, Engine, RedbConfig, RedbEngine, RocksConfig, RocksEngine, Scan, Space, WriteBatch,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

/// The writer finds its directory and its engine here.
const DIR: &str = "ISOBAR_ENGINE_CRASH_DIR";
const KIND: &str = "ISOBAR_ENGINE_CRASH_KIND";
const ACK: &str = "synced up to ";
/// Batches between two syncs.
const SYNC_EVERY: u64 = 7;
/// Log records that are kept; older ones are dropped by range.
const KEPT: u64 = 20;

fn open(kind: &str, dir: &Path) -> Arc<dyn Engine> {
    match kind {
        "redb" => {
            // Little memory, so that pages reach the file before the sync.
            let config = RedbConfig { cache_bytes: 128 << 10 };
            Arc::new(RedbEngine::open(dir, &config).expect("it opens"))
        }
        _ => {
            let config = RocksConfig { write_buffer_bytes: 64 << 10 };
            let cache = BlockCache::new(1 << 20);
            Arc::new(RocksEngine::open(dir, &config, &cache).expect("it opens"))
        }
    }
}

fn value(n: u64) -> Vec<u8> {
    n.to_be_bytes().into_iter().cycle().take((n * 37 % 2_000) as usize).collect()
}

fn batch(n: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Space::Data, n.to_be_bytes(), value(n));
    batch.put(Space::Log, n.to_be_bytes(), value(n));
    batch.delete_range(Space::Log, 0_u64.to_be_bytes(), n.saturating_sub(KEPT).to_be_bytes());
    batch.put(Space::Meta, "next", (n + 1).to_be_bytes());
    batch
}

/// Holds every space against what the batches up to the last one made. Returns how many there are.
fn check(engine: &dyn Engine) -> u64 {
    let next = engine.get(Space::Meta, b"next").expect("readable");
    let next = next.map_or(0, |next| u64::from_be_bytes(next.try_into().expect("a number")));
    for (space, from) in [(Space::Data, 0), (Space::Log, next.saturating_sub(KEPT + 1))] {
        let scan = Scan::all().limit_rows(usize::MAX).limit_bytes(usize::MAX);
        let rows = engine.scan(space, &scan).expect("readable").rows;
        let expected: Vec<_> = (from..next).map(|n| (n.to_be_bytes().to_vec(), value(n))).collect();
        assert!(rows == expected, "{space:?} is not what {next} batches made: {} rows", rows.len());
    }
    next
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn writer_process() {
    let (Ok(dir), Ok(kind)) = (env::var(DIR), env::var(KIND)) else { return };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0) // the parent is gone
    });
    let engine = open(&kind, Path::new(&dir));
    for n in check(&*engine).. {
        engine.write(batch(n)).expect("written");
        if n % SYNC_EVERY == SYNC_EVERY - 1 {
            engine.sync().expect("synced");
            println!("{ACK}{n}");
        }
    }
}

fn kill_writers(kind: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut rng = StdRng::seed_from_u64(7);
    let mut unsynced = 0;
    for round in 0..6 {
        let mut command = Command::new(env::current_exe().expect("this binary has a path"));
        command.args([
            "engine::crash_tests::writer_process",
            "--exact",
            "--ignored",
            "--nocapture",
        ]);
        command.env(DIR, dir.path()).env(KIND, kind);
        let mut writer =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        // libtest begins the first line.
        let mut acks = lines.by_ref().map_while(Result::ok).filter_map(|line| {
            line.split_once(ACK).map(|(_, n)| n.parse::<u64>().expect("a number"))
        });
        let before = acks.nth(rng.random_range(3..60)).expect("the writer lives");
        writer.kill().expect("our child");
        writer.wait().expect("our child");
        let last = acks.last().unwrap_or(before);
        let engine = open(kind, dir.path());
        let found = check(&*engine);
        assert!(found > last, "round {round}: {last} was synced, {found} batches are there");
        unsynced += found - last - 1;
    }
    println!("{kind}: {unsynced} batches behind the last sync that was told were there");
}

#[test]
fn a_killed_writer_on_rocksdb_loses_nothing_that_was_synced() {
    kill_writers("rocksdb");
}

#[test]
fn a_killed_writer_on_redb_loses_nothing_that_was_synced() {
    kill_writers("redb");
}
