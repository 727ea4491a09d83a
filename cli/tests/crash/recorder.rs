//! The outside process: writes and reads, and records what it was told. It shares nothing with the cluster but the wire.

use super::record::{Recorder, number_of, value};
use isobar_api::{Region, Version};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

/// Where the process finds its orders.
const ORDERS: &str = "ISOBAR_CRASH_RECORDER";
/// Keys of each writer that are written again and again; all its others are written once.
const KEYS_AGAIN: u64 = 4;
/// How long the readers stay in one region.
const READERS_MOVE_EVERY: Duration = Duration::from_secs(6);
/// Readers side by side.
const READERS: usize = 3;
/// What bounded reads ask for.
const BOUND: Duration = Duration::from_millis(500);
/// Writes of one key that are remembered with their times.
const WRITES_KEPT: usize = 64;

/// What the process is told.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    /// Nodes to ask first.
    pub seeds: Vec<String>,
    /// The tables.
    pub tables: Vec<String>,
    /// Where the record goes.
    pub record: PathBuf,
    /// Concurrent writers of each table.
    pub writers: u64,
    /// Regions that readers come from, in turn.
    pub regions: Vec<String>,
    /// Of the choice of keys to read, and part of every key that is written.
    pub seed: u64,
}

/// A running recorder; killed when dropped.
pub struct RecorderProcess(Child);

impl RecorderProcess {
    /// Starts this test binary again, as a recorder.
    pub fn start(orders: &Orders, log: &Path) -> Self {
        let program = std::env::current_exe().expect("this binary has a path");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(program);
        command.args(["recorder_process", "--exact", "--ignored", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(orders).expect("plain data"));
        let copy = log.try_clone().expect("a second handle");
        command.stdin(Stdio::piped()).stdout(log).stderr(copy);
        Self(command.spawn().expect("this binary runs"))
    }

    /// `kill -9`: what it has recorded is all that counts.
    pub fn kill(mut self) {
        assert!(self.0.try_wait().expect("our child").is_none(), "the recorder ended by itself");
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

impl Drop for RecorderProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other side: what the process does. Ends when its parent is gone.
pub fn run() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).expect("orders");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = std::io::stderr().write_all(b"the parent is gone\n");
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let work = tokio::task::LocalSet::new();
    work.block_on(&runtime.expect("a runtime"), write_and_read(orders));
}

/// What is known of a key for certain, for the readers to compare with.
#[derive(Default)]
struct KeyKnown {
    /// The newest write that was acknowledged or read, and its version.
    newest: (u64, Version),
    /// Acknowledged writes and when, oldest first.
    acknowledged: VecDeque<(Instant, u64)>,
}

type Known = Rc<RefCell<BTreeMap<String, KeyKnown>>>;

async fn write_and_read(orders: Orders) {
    let recorder = Rc::new(Recorder::open(&orders.record));
    let mut tasks = Vec::new();
    let writing = connect(&orders, None).await;
    let mut reading = Vec::new();
    for region in &orders.regions {
        reading.push(connect(&orders, Some(region)).await);
    }
    for name in &orders.tables {
        let known = Known::default();
        let table = writing.table(name).await.expect("the table is there");
        for writer in 0..orders.writers {
            let (table, recorder, known) = (table.clone(), recorder.clone(), known.clone());
            // The first letter spreads the writers over the shards; no two recorders share a key.
            let letter = char::from(b'a' + (writer % 26) as u8);
            let prefix = format!("{letter}{writer}-{}", orders.seed);
            tasks.push(tokio::task::spawn_local(write(prefix, table, recorder, known)));
        }
        let mut regional = Vec::new();
        for client in &reading {
            regional.push(client.table(name).await.expect("the table is there"));
        }
        for reader in 0..if regional.is_empty() { 0 } else { READERS } {
            let rng = StdRng::seed_from_u64(orders.seed ^ (reader as u64) << 32);
            let (regional, recorder, known) = (regional.clone(), recorder.clone(), known.clone());
            tasks.push(tokio::task::spawn_local(read(regional, recorder, known, rng)));
        }
    }
    for task in tasks {
        task.await.expect("writers and readers go on for ever");
    }
}

async fn connect(orders: &Orders, region: Option<&String>) -> Client {
    let config = ClientConfig {
        region: region.map(|name| Region::new(name).expect("a legal name")),
        ..ClientConfig::with_seeds(orders.seeds.clone())
    };
    Client::connect(config).await.expect("the cluster answers")
}

fn named(table: &TableHandle, key: &str) -> String {
    format!("{}/{key}", table.info().spec.name)
}

/// Every key has one writer, which waits for the end of each write before it begins the next one.
async fn write(prefix: String, table: TableHandle, recorder: Rc<Recorder>, known: Known) {
    for number in 1.. {
        let key = match number % 2 {
            0 => format!("{prefix}-again-{}", number / 2 % KEYS_AGAIN),
            _ => format!("{prefix}-once-{number:07}"),
        };
        let name = named(&table, &key);
        recorder.tried(&name, number);
        match table.put(key.clone(), value(number)).await {
            Ok(version) => {
                recorder.acknowledged(&name, number, version);
                let mut known = known.borrow_mut();
                let known = known.entry(key).or_default();
                known.newest = known.newest.max((number, version));
                known.acknowledged.push_back((Instant::now(), number));
                if known.acknowledged.len() > WRITES_KEPT {
                    known.acknowledged.pop_front();
                }
            }
            Err(error) => {
                recorder.failed(&name, number, &error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn read(regional: Vec<TableHandle>, recorder: Rc<Recorder>, known: Known, mut rng: StdRng) {
    let began = Instant::now();
    loop {
        let turn = began.elapsed().as_millis() / READERS_MOVE_EVERY.as_millis();
        let table = &regional[turn as usize % regional.len()];
        let picked = {
            let known = known.borrow();
            let at = rng.random_range(0..known.len().max(1));
            // Half of the reads are of keys that are written again and again: those may go back in time.
            let again = rng.random_bool(0.5);
            let mut keys = known.keys().filter(|key| !again || key.contains("-again-"));
            keys.nth(if again { at % 16 } else { at }).cloned()
        };
        if let Some(key) = picked {
            // The weaker reads always come from the first region: a replica there that is cut off goes on answering.
            match rng.random_range(0..10) {
                0 | 1 => read_bounded(&regional[0], &recorder, &known, &key).await,
                2 => read_local(&regional[0], &recorder, &known, &key).await,
                _ => read_linearizable(table, &recorder, &known, &key).await,
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A read that begins now must show what was acknowledged or read before, or something later. Both the numbers, which
/// the writer gave, and the versions, which the cluster gave, must say so.
async fn read_linearizable(table: &TableHandle, recorder: &Recorder, known: &Known, key: &str) {
    let (before, version_before) = known.borrow().get(key).map(|k| k.newest).unwrap_or_default();
    let name = named(table, key);
    let row = match table.get(key.as_bytes(), ReadLevel::Linearizable).await {
        Ok(row) => row,
        Err(error) => return recorder.failed(&name, before, &error),
    };
    let (number, version) =
        row.map_or((0, Version::ABSENT), |row| (number_of(&row.value), row.version));
    if number < before
        || (number == before) != (version == version_before)
        || version < version_before
    {
        let why = format!("as {version} after {before} as {version_before}");
        return recorder.wrong(&name, number, &why);
    }
    if let Some(known) = known.borrow_mut().get_mut(key) {
        known.newest = known.newest.max((number, version));
    }
    recorder.read(&name, number);
}

/// Must show what was acknowledged longer ago than the bound.
async fn read_bounded(table: &TableHandle, recorder: &Recorder, known: &Known, key: &str) {
    let began = Instant::now();
    let oldest = {
        let known = known.borrow();
        let writes = known.get(key).map(|known| &known.acknowledged);
        let mut writes = writes.into_iter().flatten().rev();
        writes.find(|(at, _)| *at + BOUND < began).map_or(0, |(_, number)| *number)
    };
    let name = named(table, key);
    match table.get(key.as_bytes(), ReadLevel::Bounded(BOUND.as_millis() as u64)).await {
        Ok(row) => match row.map_or(0, |row| number_of(&row.value)) {
            number if number < oldest => {
                recorder.wrong(&name, number, &format!("bounded, after {oldest}"))
            }
            number => recorder.read_bounded(&name, number),
        },
        Err(error) => recorder.failed(&name, oldest, &error),
    }
}

/// May show anything that was ever written; by how much it is behind is noted.
async fn read_local(table: &TableHandle, recorder: &Recorder, known: &Known, key: &str) {
    let began = Instant::now();
    let name = named(table, key);
    match table.get(key.as_bytes(), ReadLevel::Local).await {
        Ok(row) => {
            let number = row.map_or(0, |row| number_of(&row.value));
            let known = known.borrow();
            let mut writes = known.get(key).map(|k| &k.acknowledged).into_iter().flatten();
            let missed = writes.find(|(at, acknowledged)| *at < began && *acknowledged > number);
            let lag = missed.map_or(Duration::ZERO, |(at, _)| began - *at);
            recorder.read_local(&name, number, lag.as_millis() as u64);
        }
        Err(error) => recorder.failed(&name, 0, &error),
    }
}
