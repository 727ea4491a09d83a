//! Deduplication: the outcomes of a client's requests, kept until the client has acknowledged them.

use super::{
    command::{ClientId, WriteOutcome},
    keys,
};
use crate::{
    consensus::raft::types::{decode, encode},
    engine::{Engine, EngineError, Space, WriteBatch},
};
use isobar_api::{ShardId, limits};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Outcomes are deleted once this many sequence numbers have been acknowledged since the last time.
const CLEAN_EVERY: u64 = 128;
/// Sessions kept in memory besides the engine.
const CACHED_MAX: usize = 10_000;
/// Sessions dropped by one expiry command; the next one goes on.
const EXPIRED_MAX: usize = 1_000;

/// One client's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// Everything below was acknowledged.
    low: u64,
    /// Outcomes below were deleted.
    cleaned: u64,
    /// Highest sequence seen.
    high: u64,
    /// Clock reading of the newest request.
    last_hlc: u64,
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

/// The sessions of one shard. Memory is only a cache of the engine.
#[derive(Debug)]
pub(super) struct Sessions {
    shard: ShardId,
    cache: HashMap<ClientId, Session>,
}

impl Sessions {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, cache: HashMap::new() }
    }

    /// Forgets the cache, after the engine was changed underneath.
    pub(super) fn reset(&mut self) {
        self.cache.clear();
    }

    fn load(&mut self, engine: &dyn Engine, client: &ClientId) -> Result<Session, EngineError> {
        if let Some(session) = self.cache.get(client) {
            return Ok(*session);
        }
        if self.cache.len() >= CACHED_MAX {
            self.cache.clear();
        }
        let session = match engine.get(Space::Sessions, &keys::session(self.shard, client))? {
            Some(stored) => decode(&stored)
                .map_err(|why| EngineError::corruption(format!("session record: {why}")))?,
            None => Session::default(),
        };
        self.cache.insert(*client, session);
        Ok(session)
    }

    /// Looks a request up.
    pub(super) fn seen(
        &mut self,
        engine: &dyn Engine,
        client: &ClientId,
        sequence: u64,
    ) -> Result<Seen, EngineError> {
        let session = self.load(engine, client)?;
        if sequence < session.low {
            return Ok(Seen::Expired);
        }
        if sequence > session.high {
            return Ok(Seen::New);
        }
        let key = keys::outcome(self.shard, client, sequence);
        match engine.get(Space::Sessions, &key)? {
            Some(stored) => decode(&stored)
                .map(Seen::Before)
                .map_err(|why| EngineError::corruption(format!("outcome record: {why}"))),
            None => Ok(Seen::New),
        }
    }

    /// Remembers an outcome, and deletes those that the client has acknowledged.
    pub(super) fn remember(
        &mut self,
        engine: &dyn Engine,
        request: (&ClientId, u64, u64),
        hlc: u64,
        outcome: &WriteOutcome,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let (client, sequence, first_unacknowledged) = request;
        let mut session = self.load(engine, client)?;
        // A client cannot have acknowledged the request it is sending.
        session.low = session.low.max(first_unacknowledged.min(sequence));
        session.high = session.high.max(sequence);
        session.last_hlc = session.last_hlc.max(hlc);
        if session.low - session.cleaned >= CLEAN_EVERY {
            let from = keys::outcome(self.shard, client, session.cleaned);
            let to = keys::outcome(self.shard, client, session.low);
            let limit = limits::CLIENT_WINDOW_MAX as usize;
            let page = engine.scan(Space::Sessions, &keys::page(&from, &to, limit))?;
            // What one page does not hold waits for the next time.
            session.cleaned = match page.rows.last().filter(|_| page.more) {
                Some((last, _)) => keys::sequence(last) + 1,
                None => session.low,
            };
            for (key, _) in page.rows {
                batch.delete(Space::Sessions, key);
            }
        }
        batch.put(Space::Sessions, keys::outcome(self.shard, client, sequence), encode(outcome));
        batch.put(Space::Sessions, keys::session(self.shard, client), encode(&session));
        self.cache.insert(*client, session);
        Ok(())
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
                let session: Session = decode(stored)
                    .map_err(|why| EngineError::corruption(format!("session record: {why}")))?;
                let client: Option<ClientId> = key.get(9..).and_then(|c| c.try_into().ok());
                if let Some(client) = client
                    && session.last_hlc < before_hlc
                    && dropped < EXPIRED_MAX
                {
                    batch.delete(Space::Sessions, key.clone());
                    let first = keys::outcome(self.shard, &client, 0);
                    let end = keys::after_prefix(&first[..first.len() - 8]);
                    batch.delete_range(Space::Sessions, first, end);
                    self.cache.remove(&client);
                    dropped += 1;
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineRead, MemoryEngine};
    use isobar_api::Version;

    const CLIENT: ClientId = [1; 16];

    fn remember(
        sessions: &mut Sessions,
        engine: &MemoryEngine,
        client: &ClientId,
        sequence: u64,
        low: u64,
    ) {
        let mut batch = WriteBatch::new();
        let outcome = WriteOutcome::Applied { version: Version::ABSENT, repeated: false };
        let request = (client, sequence, low);
        sessions.remember(engine, request, sequence, &outcome, &mut batch).unwrap();
        engine.write(batch).unwrap();
    }

    fn outcomes(engine: &MemoryEngine, client: &ClientId) -> u64 {
        let (from, to) =
            (keys::outcome(ShardId(1), client, 0), keys::outcome(ShardId(1), client, u64::MAX));
        engine.scan(Space::Sessions, &keys::page(&from, &to, usize::MAX)).unwrap().rows.len() as u64
    }

    #[test]
    fn outcomes_go_once_they_are_acknowledged_however_many_at_once() {
        const WINDOW: u64 = limits::CLIENT_WINDOW_MAX;
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(ShardId(1)));
        // A full window is open, and as many are acknowledged as may be without a clean-up.
        let last = WINDOW + CLEAN_EVERY - 1;
        for sequence in 1..=last {
            let low = sequence.saturating_sub(WINDOW);
            remember(&mut sessions, &engine, &CLIENT, sequence, low);
        }
        assert_eq!(outcomes(&engine, &CLIENT), last);
        // Then all of them at once.
        for sequence in last + 1..=last + 2 * CLEAN_EVERY {
            remember(&mut sessions, &engine, &CLIENT, sequence, sequence);
        }
        assert!(outcomes(&engine, &CLIENT) <= CLEAN_EVERY, "{}", outcomes(&engine, &CLIENT));
        let mut seen = |sequence| sessions.seen(&engine, &CLIENT, sequence).unwrap();
        assert_eq!(seen(last), Seen::Expired);
        assert!(matches!(seen(last + 2 * CLEAN_EVERY), Seen::Before(_)));
        assert_eq!(seen(last + 2 * CLEAN_EVERY + 1), Seen::New);
    }

    #[test]
    fn silent_clients_are_forgotten_and_the_others_are_not() {
        let (engine, mut sessions) = (MemoryEngine::new(), Sessions::new(ShardId(1)));
        let silent = [0xff; 16];
        remember(&mut sessions, &engine, &silent, 9, 1);
        remember(&mut sessions, &engine, &CLIENT, 10, 1);
        let mut batch = WriteBatch::new();
        sessions.expire(&engine, 10, &mut batch).unwrap();
        engine.write(batch).unwrap();
        for mut sessions in [sessions, Sessions::new(ShardId(1))] {
            assert_eq!(sessions.seen(&engine, &silent, 9).unwrap(), Seen::New);
            assert!(matches!(sessions.seen(&engine, &CLIENT, 10).unwrap(), Seen::Before(_)));
        }
        assert_eq!((outcomes(&engine, &silent), outcomes(&engine, &CLIENT)), (0, 1));
    }
}
