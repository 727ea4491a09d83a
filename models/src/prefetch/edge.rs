//! The whole: cache, history, sources, precision and guard, put together.

use super::cache::{Cache, Found};
use super::class::Source;
use super::guard::Guard;
use super::history::{Entered, History};
use super::precision::{Precisions, SourceCount};
use super::settings::{InvalidSettings, Settings};
use super::sources::{self, Proposal};

/// The budget that can be saved up, in mean requests.
const SAVED_REQUESTS: f64 = 64.0;
/// Weight of the newest size in the mean.
const SIZE_WEIGHT: f64 = 0.01;
/// Largest cache.
const MAX_CAPACITY: usize = 1 << 28;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key: a block address, a page number, a hash.
    pub key: u64,
    /// How many consecutive keys the request covers; 1 where keys are no addresses.
    pub length: u64,
    /// Bytes asked for; only their ratio matters.
    pub size_bytes: u32,
}

/// How a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From the cache.
    Hit,
    /// From the cache, because it was prefetched; this is the first use.
    PrefetchHit {
        /// Requests since it was prefetched.
        waited: u32,
    },
    /// Not held: it had to be fetched.
    Miss,
}

impl Outcome {
    /// Whether the key was in the cache.
    pub fn is_hit(self) -> bool {
        self != Self::Miss
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Requests whose key was in the cache.
    pub hits: u64,
    /// Keys prefetched.
    pub issued: u64,
    /// Prefetched keys that were used before they fell out.
    pub used: u64,
    /// Requests served as a plain LRU cache, because the guard said so.
    pub guarded: u64,
}

/// A cache that prefetches. See [the module](super).
pub struct EdgeCache {
    window: usize,
    budget: f64,
    cache: Cache,
    history: History,
    precisions: Precisions,
    guard: Guard,
    proposals: Vec<Proposal>,
    fetches: Vec<u64>,
    before: Option<u64>,
    /// What may be prefetched now, and the mean request, bytes.
    saved_bytes: f64,
    mean_bytes: f64,
    counts: Counts,
}

impl EdgeCache {
    /// An empty cache for at most `capacity_keys` keys, prefetched ones included.
    pub fn new(capacity_keys: usize, settings: &Settings) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let capacity = capacity_keys.min(MAX_CAPACITY);
        let (least, precision) = (settings.threshold, settings.least_precision);
        Ok(Self {
            window: settings.window_requests as usize,
            budget: settings.budget_bytes_per_byte,
            cache: Cache::new(capacity),
            history: History::new(settings.tracked_ids as usize),
            precisions: Precisions::new(&settings.priors, least, precision),
            guard: Guard::new(capacity),
            proposals: Vec::new(),
            fetches: Vec::new(),
            before: None,
            saved_bytes: 0.0,
            mean_bytes: 0.0,
            counts: Counts::default(),
        })
    }

    /// Serves a request, then decides what to fetch: see [`EdgeCache::fetches`].
    pub fn request(&mut self, request: Request) -> Outcome {
        let found = self.cache.request(request.key);
        let outcome = match found {
            Found::Held => Outcome::Hit,
            Found::Prefetched { waited, .. } => Outcome::PrefetchHit { waited },
            Found::Missed => Outcome::Miss,
        };
        let entered = self.history.enter(request.key);
        if let Found::Prefetched { class, .. } = found {
            self.precisions.used(class);
            self.history.prove(entered.slot);
            self.counts.used += 1;
        }
        self.counts.requests += 1;
        self.counts.hits += u64::from(outcome.is_hit());
        self.cache.plain_lru = self.guard.account(request.key, outcome.is_hit());
        self.counts.guarded += u64::from(self.cache.plain_lru);
        self.earn(request.size_bytes);
        self.propose(&request, &entered);
        self.issue(&entered);
        self.before = Some(request.key);
        outcome
    }

    /// The keys that the last request made worth fetching, the surest not always first. They count as held from now on;
    /// in a very small cache a later one may have driven out an earlier one already.
    pub fn fetches(&self) -> &[u64] {
        &self.fetches
    }

    /// Whether a key is held.
    pub fn holds(&self, key: u64) -> bool {
        self.cache.holds(key)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What each source did so far.
    pub fn sources(&self) -> [(Source, SourceCount); Source::ALL.len()] {
        Source::ALL.map(|source| (source, self.precisions.sources[source as usize]))
    }

    /// For each class its measured precision and the proposals it rests on: what [`Settings::priors`] are made from.
    pub fn estimates(&self) -> impl Iterator<Item = (f32, f32)> {
        self.precisions.estimates()
    }

    /// Bytes that the history holds when full, for each tracked id.
    pub fn bytes_per_tracked_id(&self) -> f64 {
        let (bytes, ids) = self.history.size_bytes();
        bytes as f64 / ids as f64
    }

    fn earn(&mut self, size_bytes: u32) {
        let size = f64::from(size_bytes.max(1));
        let weight = if self.mean_bytes == 0.0 { 1.0 } else { SIZE_WEIGHT };
        self.mean_bytes += weight * (size - self.mean_bytes);
        let most = self.budget * self.mean_bytes * SAVED_REQUESTS;
        self.saved_bytes = (self.saved_bytes + self.budget * size).min(most);
    }

    fn propose(&mut self, request: &Request, entered: &Entered) {
        self.proposals.clear();
        let (history, out) = (&self.history, &mut self.proposals);
        sources::recurring(history, entered, self.window, out);
        sources::stepping(history, request.key, request.length, self.before, out);
    }

    fn issue(&mut self, entered: &Entered) {
        self.fetches.clear();
        let (history, stay) = (&self.history, self.cache.stay() as u32);
        self.precisions.settle(entered.place, stay, |key, place| history.since(key, place));
        let own = history.key(entered.slot);
        for proposal in &self.proposals {
            let Proposal { key, class } = *proposal;
            if key == own || self.cache.holds(key) {
                continue;
            }
            let affordable = self.saved_bytes >= self.mean_bytes;
            if affordable && !self.cache.plain_lru && self.precisions.is_credible(class) {
                if self.cache.prefetch(key, class) {
                    self.saved_bytes -= self.mean_bytes;
                    self.precisions.issued(class);
                    self.counts.issued += 1;
                    self.fetches.push(key);
                }
            } else {
                self.precisions.passed_over(key, entered.place, class, stay);
            }
        }
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
