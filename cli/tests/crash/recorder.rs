//! The outside process: writes and reads, and records what it was told. It shares nothing with the cluster but the wire.

use super::record::{Recorder, number_of, value};
use isobar_api::Region;
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
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

/// What the process is told.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    /// Nodes to ask first.
    pub seeds: Vec<String>,
    /// The table.
    pub table: String,
    /// Where the record goes.
    pub record: PathBuf,
    /// Concurrent writers.
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
        command.args(["recorder", "--exact", "--ignored", "--nocapture"]);
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

/// What was acknowledged so far, for the readers to compare with.
type Known = Rc<RefCell<BTreeMap<String, u64>>>;

async fn write_and_read(orders: Orders) {
    let recorder = Rc::new(Recorder::open(&orders.record));
    let known = Known::default();
    let mut tasks = Vec::new();
    let table = connect(&orders, None).await;
    for writer in 0..orders.writers {
        let (table, recorder, known) = (table.clone(), recorder.clone(), known.clone());
        // The first letter spreads the writers over the shards; no two recorders share a key.
        let letter = char::from(b'a' + (writer % 26) as u8);
        let prefix = format!("{letter}{writer}-{}", orders.seed);
        tasks.push(tokio::task::spawn_local(write(prefix, table, recorder, known)));
    }
    let mut regional = Vec::new();
    for region in &orders.regions {
        regional.push(connect(&orders, Some(region)).await);
    }
    if !regional.is_empty() {
        let seed = StdRng::seed_from_u64(orders.seed);
        tasks.push(tokio::task::spawn_local(read(regional, recorder, known, seed)));
    }
    for task in tasks {
        task.await.expect("writers and readers go on for ever");
    }
}

async fn connect(orders: &Orders, region: Option<&String>) -> TableHandle {
    let config = ClientConfig {
        region: region.map(|name| Region::new(name).expect("a legal name")),
        ..ClientConfig::with_seeds(orders.seeds.clone())
    };
    let client = Client::connect(config).await.expect("the cluster answers");
    client.table(&orders.table).await.expect("the table is there")
}

/// Every key has one writer, which waits for the end of each write before it begins the next one.
async fn write(prefix: String, table: TableHandle, recorder: Rc<Recorder>, known: Known) {
    for number in 1.. {
        let key = match number % 2 {
            0 => format!("{prefix}-again-{}", number / 2 % KEYS_AGAIN),
            _ => format!("{prefix}-once-{number:07}"),
        };
        recorder.tried(&key, number);
        let result = table.put(key.clone(), value(number)).await;
        recorder.ended(&key, number, result.as_ref().map(|_| ()));
        match result {
            Ok(_) => {
                known.borrow_mut().insert(key, number);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
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
            known.iter().nth(at).map(|(key, number)| (key.clone(), *number))
        };
        if let Some((key, acknowledged)) = picked {
            match table.get(key.as_bytes(), ReadLevel::Linearizable).await {
                Ok(row) => match row.map_or(0, |row| number_of(&row.value)) {
                    number if number < acknowledged => recorder.stale(&key, number, acknowledged),
                    number => recorder.read(&key, number),
                },
                Err(error) => recorder.ended(&key, acknowledged, Err(&error)),
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
