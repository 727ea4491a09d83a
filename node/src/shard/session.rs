//! Deduplication: the outcomes of a client's requests, kept until the client has acknowledged them.
//!
//! A client's outcomes live inside its session record as long as they are few, so that a write costs one record more
//! than its row. A client with many open requests has them in pages of its own: what a request costs does not grow with
//! what else the client has open.

use super::{
    command::{ClientId, Mutation, WriteOutcome},
    keys,
};
use crate::{
    consensus::raft::types::{decode, encode},
    engine::{Engine, EngineError, Space, WriteBatch},
};
use isobar_api::ShardId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Outcomes that the session record itself may hold.
const INLINE_MAX: usize = 128;
/// Sequence numbers that share a page.
const PAGE: u64 = 64;
/// Outcomes and sessions kept in memory besides the engine.
const CACHED_MAX: usize = 200_000;
/// Sessions dropped by one expiry command; the next one goes on.
const EXPIRED_MAX: usize = 1_000;

type Outcomes = BTreeMap<u64, WriteOutcome>;

/// From each of these keys on, up to the next one, everything below the number was acknowledged. Before a merge the two
/// shards were told separately; what one of them was told says nothing of requests that are still open in the other.
type Parts = Vec<(Vec<u8>, u64)>;

/// One client's place, as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Everything below was acknowledged.
    low: u64,
    /// Clock reading of the newest request.
    last_hlc: u64,
    /// Outcomes by sequence; none: they are in pages.
    outcomes: Option<Outcomes>,
}

/// One client's place in memory: everything that is stored of it.
#[derive(Debug, Default)]
struct Session {
    low: u64,
    last_hlc: u64,
    outcomes: Outcomes,
    /// Pages there are in the engine.
    pages: BTreeSet<u64>,
    /// Pages whose outcomes changed since they were written.
    changed: BTreeSet<u64>,
    /// Acknowledged beyond `low`, in parts of the keys.
    parts: Parts,
    /// Whether the parts changed since they were written.
    parts_changed: bool,
}

/// What is known of a request before it is applied.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    /// It is new.
    New,
    /// It was applied; this was the answer.
    Before(WriteOutcome),
    /// Its answer was acknowledged and forgotten.
    Expired,
}

/// Whether any session of a shard has been silent since before a clock reading. Without one there is nothing to expire,
/// and a shard that nobody uses need not be woken for it.
pub(crate) fn any_silent(
    engine: &dyn Engine,
    shard: ShardId,
    before_hlc: u64,
) -> Result<bool, EngineError> {
    let (mut from, to) = keys::session_records(shard);
    loop {
        let page = engine.scan(Space::Sessions, &keys::page(&from, &to, 1_000))?.rows;
        let Some((last, _)) = page.last() else { return Ok(false) };
        from = [last.as_slice(), &[0]].concat();
        for (_, stored) in &page {
            if decode_record(stored)?.last_hlc < before_hlc {
                return Ok(true);
            }
        }
    }
}

/// The sessions of one shard. Memory is a cache of the engine, and ahead of it between [`Self::remember`] and
/// [`Self::write_changed`].
#[derive(Debug)]
pub(super) struct Sessions {
    shard: ShardId,
    cache: HashMap<ClientId, Session>,
    /// Outcomes in the cache.
    cached: usize,
    /// Clients with something to write, in order: what is written must not depend on the cache's.
    changed: BTreeSet<ClientId>,
}

impl Sessions {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, cache: HashMap::new(), cached: 0, changed: BTreeSet::new() }
    }

    /// Forgets the cache, after the engine was changed underneath.
    pub(super) fn reset(&mut self) {
        self.cache.clear();
        self.changed.clear();
        self.cached = 0;
    }

    fn load(
        &mut self,
        engine: &dyn Engine,
        client: &ClientId,
    ) -> Result<&mut Session, EngineError> {
        if !self.cache.contains_key(client) {
            let session = read(engine, self.shard, client)?;
            self.cached += session.outcomes.len();
            self.cache.insert(*client, session);
        }
        Ok(self.cache.get_mut(client).expect("it was there, or was inserted"))
    }

    /// Looks a request up.
    pub(super) fn seen(
        &mut self,
        engine: &dyn Engine,
        (client, sequence): (&ClientId, u64),
        mutations: &[Mutation],
    ) -> Result<Seen, EngineError> {
        let session = self.load(engine, client)?;
        if sequence < session.low_of(mutations) {
            return Ok(Seen::Expired);
        }
        Ok(session.outcomes.get(&sequence).cloned().map_or(Seen::New, Seen::Before))
    }

    /// Remembers an outcome, and forgets those that the client has acknowledged.
    pub(super) fn remember(
        &mut self,
        engine: &dyn Engine,
        request: (&ClientId, u64, u64),
        hlc: u64,
        outcome: &WriteOutcome,
    ) -> Result<(), EngineError> {
        let (client, sequence, first_unacknowledged) = request;
        let session = self.load(engine, client)?;
        let held = session.outcomes.len();
        // A client cannot have acknowledged the request it is sending.
        session.low = session.low.max(first_unacknowledged.min(sequence));
        session.last_hlc = session.last_hlc.max(hlc);
        session.outcomes.insert(sequence, outcome.clone());
        session.changed.insert(sequence / PAGE);
        while session.outcomes.first_key_value().is_some_and(|(first, _)| *first < session.low) {
            session.outcomes.pop_first();
        }
        if session.parts.iter().all(|(_, low)| *low <= session.low) {
            session.parts_changed |= !session.parts.is_empty();
            session.parts.clear();
        }
        let holds = session.outcomes.len();
        self.cached = self.cached + holds - held;
        self.changed.insert(*client);
        Ok(())
    }

    /// Puts everything that changed since the last time into a batch.
    pub(super) fn write_changed(&mut self, batch: &mut WriteBatch) {
        for client in std::mem::take(&mut self.changed) {
            let session = self.cache.get_mut(&client).expect("what changed stays in the cache");
            session.write(self.shard, &client, batch);
        }
        if self.cached + self.cache.len() > CACHED_MAX {
            self.reset();
        }
    }

    /// Drops sessions that have been silent since before a clock reading.
    pub(super) fn expire(
        &mut self,
        engine: &dyn Engine,
        before_hlc: u64,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let (from, to) = keys::session_records(self.shard);
        let mut dropped = 0;
        let mut at = from;
        while dropped < EXPIRED_MAX {
            let page = engine.scan(Space::Sessions, &keys::page(&at, &to, 1_000))?.rows;
            let Some((last, _)) = page.last() else { break };
            at = [last.as_slice(), &[0]].concat();
            for (key, stored) in &page {
                let client: Option<ClientId> = key.get(9..).and_then(|c| c.try_into().ok());
                if let Some(client) = client
                    && decode_record(stored)?.last_hlc < before_hlc
                    && dropped < EXPIRED_MAX
                {
                    batch.delete(Space::Sessions, key.clone());
                    let (first, end) = keys::outcome_pages(self.shard, &client);
                    batch.delete_range(Space::Sessions, first, end);
                    batch.delete(Space::Sessions, keys::session_parts(self.shard, &client));
                    let gone = self.cache.remove(&client);
                    self.cached -= gone.map_or(0, |session| session.outcomes.len());
                    dropped += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes over every session of the right neighbour, so that a retry that meets the survivor is still recognised.
    /// `starts`: the first keys of this shard and of the other one.
    pub(super) fn absorb(
        &mut self,
        engine: &dyn Engine,
        right: ShardId,
        starts: (&[u8], &[u8]),
    ) -> Result<(), EngineError> {
        let mut clients = clients_of(engine, self.shard)?;
        clients.append(&mut clients_of(engine, right)?);
        for client in clients {
            let theirs = read(engine, right, &client)?;
            let ours = self.load(engine, &client)?;
            let held = ours.outcomes.len();
            ours.absorb(theirs, starts);
            let holds = ours.outcomes.len();
            self.cached = self.cached + holds - held;
            self.changed.insert(client);
        }
        Ok(())
    }

    /// Copies every session to a child, so that a retry routed there is still recognised.
    pub(super) fn copy_to(
        &self,
        engine: &dyn Engine,
        child: ShardId,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let (mut from, to) = keys::sessions(self.shard);
        loop {
            let page = engine.scan(Space::Sessions, &keys::page(&from, &to, 1_000))?.rows;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in page {
                let copied = [child.0.to_be_bytes().as_slice(), &key[8..]].concat();
                batch.put(Space::Sessions, copied, value);
            }
        }
    }
}

impl Session {
    /// Every request for these keys with a lower number was acknowledged.
    fn low_of(&self, mutations: &[Mutation]) -> u64 {
        let of_parts = mutations.iter().map(|mutation| self.part_at(&mutation.key)).min();
        self.low.max(of_parts.unwrap_or(0))
    }

    fn part_at(&self, key: &[u8]) -> u64 {
        let begun = self.parts.iter().take_while(|(start, _)| start.as_slice() <= key);
        begun.last().map_or(0, |(_, low)| *low)
    }

    /// What was acknowledged in the keys from `start` to `end`.
    fn parts_in(&self, start: &[u8], end: Option<&[u8]>) -> Parts {
        let inside = |at: &[u8]| at > start && end.is_none_or(|end| at < end);
        let later = self.parts.iter().filter(|(at, _)| inside(at));
        let later = later.map(|(at, low)| (at.clone(), self.low.max(*low)));
        std::iter::once((start.to_vec(), self.low.max(self.part_at(start)))).chain(later).collect()
    }

    fn absorb(&mut self, theirs: Self, (start, right_start): (&[u8], &[u8])) {
        let mut parts = self.parts_in(start, Some(right_start));
        parts.extend(theirs.parts_in(right_start, None));
        parts.dedup_by(|later, earlier| later.1 == earlier.1);
        self.low = parts.iter().map(|(_, low)| *low).min().unwrap_or(0);
        if parts.len() == 1 {
            parts.clear();
        }
        self.parts_changed |= !parts.is_empty() || !self.parts.is_empty();
        self.parts = parts;
        self.last_hlc = self.last_hlc.max(theirs.last_hlc);
        for (sequence, outcome) in theirs.outcomes {
            // Both have it where they are halves of a shard that was cut.
            self.outcomes.entry(sequence).or_insert(outcome);
            self.changed.insert(sequence / PAGE);
        }
    }

    fn write(&mut self, shard: ShardId, client: &ClientId, batch: &mut WriteBatch) {
        let inline = self.outcomes.len() <= INLINE_MAX;
        let mut rewritten = std::mem::take(&mut self.changed);
        if inline {
            rewritten.clear();
        } else if self.pages.is_empty() {
            rewritten = self.outcomes.keys().map(|sequence| sequence / PAGE).collect();
        }
        let record = Record {
            low: self.low,
            last_hlc: self.last_hlc,
            outcomes: inline.then(|| self.outcomes.clone()),
        };
        batch.put(Space::Sessions, keys::session(shard, client), encode(&record));
        if std::mem::take(&mut self.parts_changed) {
            let key = keys::session_parts(shard, client);
            if self.parts.is_empty() {
                batch.delete(Space::Sessions, key);
            } else {
                batch.put(Space::Sessions, key, encode(&self.parts));
            }
        }
        // A client may count up to the largest number: there is no page behind its last one.
        let gone = |page: &u64| inline || *page < self.low / PAGE;
        for page in self.pages.extract_if(.., gone) {
            batch.delete(Space::Sessions, keys::outcome_page(shard, client, page));
        }
        for page in rewritten {
            let held = self.outcomes.range(page * PAGE..=page * PAGE + (PAGE - 1));
            let held: BTreeMap<&u64, &WriteOutcome> = held.collect();
            if !held.is_empty() {
                batch.put(Space::Sessions, keys::outcome_page(shard, client, page), encode(&held));
                self.pages.insert(page);
            }
        }
    }
}

fn decode_record(stored: &[u8]) -> Result<Record, EngineError> {
    decode(stored).map_err(|why| EngineError::corruption(format!("session record: {why}")))
}

/// The clients that have a session in a shard.
fn clients_of(engine: &dyn Engine, shard: ShardId) -> Result<BTreeSet<ClientId>, EngineError> {
    let (mut from, to) = keys::session_records(shard);
    let mut clients = BTreeSet::new();
    loop {
        let page = engine.scan(Space::Sessions, &keys::page(&from, &to, 1_000))?.rows;
        let Some((last, _)) = page.last() else { return Ok(clients) };
        from = [last.as_slice(), &[0]].concat();
        clients.extend(page.iter().filter_map(|(key, _)| key.last_chunk().copied()));
    }
}

fn read(engine: &dyn Engine, shard: ShardId, client: &ClientId) -> Result<Session, EngineError> {
    let Some(stored) = engine.get(Space::Sessions, &keys::session(shard, client))? else {
        return Ok(Session::default());
    };
    let Record { low, last_hlc, outcomes } = decode_record(&stored)?;
    let mut session = Session { low, last_hlc, ..Session::default() };
    if let Some(stored) = engine.get(Space::Sessions, &keys::session_parts(shard, client))? {
        session.parts = decode(&stored)
            .map_err(|why| EngineError::corruption(format!("parts of a session: {why}")))?;
    }
    if let Some(outcomes) = outcomes {
        session.outcomes = outcomes;
        return Ok(session);
    }
    let (mut from, to) = keys::outcome_pages(shard, client);
    loop {
        let page = engine.scan(Space::Sessions, &keys::page(&from, &to, 1_000))?.rows;
        let Some((last, _)) = page.last() else { return Ok(session) };
        from = [last.as_slice(), &[0]].concat();
        for (key, stored) in page {
            let held: Outcomes = decode(&stored)
                .map_err(|why| EngineError::corruption(format!("outcomes of a client: {why}")))?;
            // Of a page that was not written again, the client may have acknowledged a part meanwhile.
            session.outcomes.extend(held.into_iter().filter(|(sequence, _)| *sequence >= low));
            session.pages.insert(keys::page_number(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineRead, MemoryEngine};
    use isobar_api::{Version, limits};

    const CLIENT: ClientId = [1; 16];
    const SHARD: ShardId = ShardId(1);

    fn outcome(hlc: u64) -> WriteOutcome {
        let version = Version { hlc, ..Version::ABSENT };
        WriteOutcome::Applied { version, repeated: false }
    }

    /// One entry with these writes of a client: `(sequence, first unacknowledged)`.
    fn remember(
        sessions: &mut Sessions,
        engine: &MemoryEngine,
        client: &ClientId,
        writes: &[(u64, u64)],
    ) {
        let mut batch = WriteBatch::new();
        for (sequence, low) in writes {
            let request = (client, *sequence, *low);
            sessions.remember(engine, request, *sequence, &outcome(*sequence)).unwrap();
        }
        sessions.write_changed(&mut batch);
        engine.write(batch).unwrap();
    }

    fn records(engine: &MemoryEngine) -> usize {
        engine.scan(Space::Sessions, &crate::engine::Scan::all()).unwrap().rows.len()
    }

    /// What is known must be the same whether it was kept in memory or is read back.
    fn seen(sessions: &mut Sessions, engine: &MemoryEngine, sequence: u64) -> Seen {
        let kept = sessions.seen(engine, (&CLIENT, sequence), &[]).unwrap();
        assert_eq!(Sessions::new(SHARD).seen(engine, (&CLIENT, sequence), &[]).unwrap(), kept);
        kept
    }

    #[test]
    fn outcomes_go_once_they_are_acknowledged_however_many_at_once() {
        const WINDOW: u64 = limits::CLIENT_WINDOW_MAX;
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(SHARD));
        for sequence in 1..=WINDOW {
            remember(&mut sessions, &engine, &CLIENT, &[(sequence, 1)]);
        }
        assert_eq!(records(&engine) as u64, 1 + WINDOW / PAGE + 1);
        for sequence in [1, 63, 64, 65, WINDOW] {
            let before = Seen::Before(outcome(sequence));
            assert_eq!(seen(&mut sessions, &engine, sequence), before);
        }
        // A part is acknowledged, then the rest.
        let next = WINDOW + 1;
        remember(&mut sessions, &engine, &CLIENT, &[(next, 1_000)]);
        assert_eq!(seen(&mut sessions, &engine, 999), Seen::Expired);
        assert_eq!(seen(&mut sessions, &engine, 1_000), Seen::Before(outcome(1_000)));
        // Their page is not written again: what is read back must be what is kept in memory.
        let kept = read(&engine, SHARD, &CLIENT).unwrap().outcomes.first_key_value().map(|o| *o.0);
        assert_eq!(kept, Some(1_000));
        remember(&mut sessions, &engine, &CLIENT, &[(next + 1, next + 1)]);
        assert_eq!(records(&engine), 1, "the session record alone");
        assert_eq!(seen(&mut sessions, &engine, next), Seen::Expired);
        assert_eq!(seen(&mut sessions, &engine, next + 1), Seen::Before(outcome(next + 1)));
        assert_eq!(seen(&mut sessions, &engine, next + 2), Seen::New);
    }

    #[test]
    fn any_order_and_any_grouping_leaves_the_same_knowledge() {
        use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
        let mut random = StdRng::seed_from_u64(7);
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(SHARD));
        let mut low = 1;
        for first in (1..5_000).step_by(500) {
            let mut sequences: Vec<u64> = (first..first + 500).collect();
            sequences.shuffle(&mut random);
            while !sequences.is_empty() {
                let group = sequences
                    .split_off(sequences.len() - random.random_range(1..=40).min(sequences.len()));
                let group: Vec<_> = group.into_iter().map(|sequence| (sequence, low)).collect();
                remember(&mut sessions, &engine, &CLIENT, &group);
            }
            for sequence in first..first + 500 {
                let before = Seen::Before(outcome(sequence));
                assert_eq!(seen(&mut sessions, &engine, sequence), before);
            }
            low = first + random.random_range(0..500);
        }
    }

    #[test]
    fn a_repetition_within_one_entry_is_known() {
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(SHARD));
        sessions.remember(&engine, (&CLIENT, 5, 5), 1, &outcome(5)).unwrap();
        let again = sessions.seen(&engine, (&CLIENT, 5), &[]).unwrap();
        assert_eq!(again, Seen::Before(outcome(5)), "nothing is in the engine yet");
    }

    #[test]
    fn silent_clients_are_forgotten_and_the_others_are_not() {
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(SHARD));
        let silent = [0xff; 16];
        let many: Vec<_> = (1..=200).map(|sequence| (sequence, 1)).collect();
        remember(&mut sessions, &engine, &silent, &many);
        remember(&mut sessions, &engine, &CLIENT, &[(1_000, 1)]);
        let mut batch = WriteBatch::new();
        sessions.expire(&engine, 1_000, &mut batch).unwrap();
        engine.write(batch).unwrap();
        assert_eq!(records(&engine), 1);
        for mut sessions in [sessions, Sessions::new(SHARD)] {
            assert_eq!(sessions.seen(&engine, (&silent, 9), &[]).unwrap(), Seen::New);
            assert!(matches!(
                sessions.seen(&engine, (&CLIENT, 1_000), &[]).unwrap(),
                Seen::Before(_)
            ));
        }
    }
}
