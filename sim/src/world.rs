//! What all parts of a run share: the seed's random numbers, the trace, the nodes and the network between them.

use crate::{
    clients::GROUPS,
    history::History,
    network::Weather,
    node::{Running, Slot},
};
use isobar_api::NodeId;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::Instant;

/// Where a message comes from or goes to: nodes by their ids, clients and controllers above [`CLIENTS`].
pub type Place = u64;

/// Clients have numbers from here.
pub const CLIENTS: Place = 100;
/// Controllers have numbers from here.
pub const CONTROLLERS: Place = 200;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The property.
    pub property: String,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.seen)
    }
}

/// What only some seeds do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Groups that were unused for so long sleep, and clients rest now and then, milliseconds; 0: neither.
    pub quiesce_after_ms: u64,
    /// Controllers merge neighbours.
    pub merges: bool,
    /// At most so much time between two faults, milliseconds. Under many little is written and read, and what takes two
    /// things at once, such as a leader that others have left and a reader that has not, is seen only under few.
    pub fault_every_ms: u64,
    /// The group of keys that half of all operations are about.
    pub hot_group: u64,
}

impl Habits {
    fn draw(rng: &mut StdRng) -> Self {
        let quiesces = rng.random_bool(0.3);
        let quiesce_after_ms = if quiesces { rng.random_range(100..600) } else { 0 };
        let merges = rng.random_bool(0.4);
        let fault_every_ms = if rng.random_bool(0.5) { 600 } else { 2_400 };
        let hot_group = rng.random_range(0..GROUPS);
        Self { quiesce_after_ms, merges, fault_every_ms, hot_group }
    }
}

/// State that changes. One thread has it all, so the lock never waits.
pub(crate) struct Inner {
    rng: StdRng,
    trace: blake3::Hasher,
    pub(crate) events: u64,
    pub(crate) weather: Weather,
    /// Ways on which every message is lost.
    pub(crate) cut: BTreeSet<(Place, Place)>,
    /// When the last message of a way arrives.
    pub(crate) last_arrival: BTreeMap<(Place, Place), Instant>,
    pub(crate) slots: BTreeMap<NodeId, Slot>,
    pub(crate) history: History,
    pub(crate) broken: Option<Broken>,
}

/// One simulated world.
pub struct World {
    seed: u64,
    verbose: bool,
    /// What this seed does.
    pub habits: Habits,
    began: Instant,
    inner: Mutex<Inner>,
}

impl World {
    /// A world without nodes. Must be called inside the runtime whose clock it is to follow.
    pub fn new(seed: u64, verbose: bool) -> Arc<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let habits = Habits::draw(&mut rng);
        let inner = Inner {
            rng,
            trace: blake3::Hasher::new(),
            events: 0,
            weather: Weather::calm(),
            cut: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            slots: BTreeMap::new(),
            history: History::default(),
            broken: None,
        };
        Arc::new(Self { seed, verbose, habits, began: Instant::now(), inner: Mutex::new(inner) })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The same in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    /// Writes an event into the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let at = self.elapsed().as_micros();
        let line = format!("{:>10.6} {what}\n", at as f64 / 1e6);
        let mut inner = self.lock();
        inner.trace.update(line.as_bytes());
        inner.events += 1;
        drop(inner);
        if self.verbose {
            print!("{line}");
        }
    }

    /// Number of events, and the hash over all of them.
    pub fn trace(&self) -> (u64, String) {
        let inner = self.lock();
        (inner.events, inner.trace.finalize().to_hex()[..32].to_owned())
    }

    /// Remembers the first property that does not hold.
    pub fn breaks(&self, property: &str, seen: impl Into<String>) {
        let broken = Broken { property: property.to_owned(), seen: seen.into() };
        self.note(format_args!("BROKEN {broken}"));
        self.lock().broken.get_or_insert(broken);
    }

    /// The first property that did not hold.
    pub fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    /// True with this probability.
    pub fn chance(&self, probability: f64) -> bool {
        self.lock().rng.random_bool(probability)
    }

    /// A number in a range.
    pub fn number(&self, range: Range<u64>) -> u64 {
        self.lock().rng.random_range(range)
    }

    /// A time of so many milliseconds.
    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_micros(self.number(range.start * 1_000..range.end * 1_000))
    }

    /// One of some things; none of nothing.
    pub fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        Some(from[self.number(0..from.len() as u64) as usize].clone())
    }

    /// The nodes, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.lock().slots.keys().copied().collect()
    }

    /// A node that runs.
    pub fn running(&self, node: NodeId) -> Option<Arc<Running>> {
        self.lock().slots.get(&node)?.running.clone()
    }

    /// All nodes that run.
    pub fn all_running(&self) -> Vec<Arc<Running>> {
        self.lock().slots.values().filter_map(|slot| slot.running.clone()).collect()
    }
}
