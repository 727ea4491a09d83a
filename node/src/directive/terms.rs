//! The highest controller term this node has accepted: durable, so that a restart does not un-fence anybody.

use crate::engine::{Engine, EngineError, Space, WriteBatch};
use crate::shard::keys;
use isobar_api::{Term, directive::Refusal, limits};
use std::sync::{Arc, Mutex};

/// The fence.
pub struct Terms {
    engine: Arc<dyn Engine>,
    highest: Mutex<Term>,
}

impl Terms {
    /// Loads the fence.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, EngineError> {
        let stored = engine.get(Space::Meta, &keys::node::controller_term())?;
        let highest =
            match stored {
                None => Term(0),
                Some(bytes) => Term(u64::from_be_bytes(bytes.try_into().map_err(|_| {
                    EngineError::corruption("the controller term is not eight bytes")
                })?)),
            };
        Ok(Self { engine, highest: Mutex::new(highest) })
    }

    /// The highest term accepted.
    pub fn highest(&self) -> Term {
        *self.highest.lock().expect("no holder of this lock panics")
    }

    /// Accepts a term that is not lower than every one before, nor absurdly higher; a higher one is durable before this
    /// returns.
    pub fn accept(&self, term: Term) -> Result<(), Refusal> {
        let mut highest = self.highest.lock().expect("no holder of this lock panics");
        if term < *highest || term.0 == 0 {
            return Err(Refusal::StaleTerm { sent: term, seen: *highest });
        }
        if term.0 - highest.0 > limits::CONTROLLER_TERM_LEAP_MAX {
            let why = format!("controller term {term} leaps too far above {}", *highest);
            return Err(Refusal::Malformed { why });
        }
        if term > *highest {
            let mut batch = WriteBatch::new();
            batch.put(Space::Meta, keys::node::controller_term(), term.0.to_be_bytes());
            let stored = self.engine.write(batch).and_then(|()| self.engine.sync());
            stored.map_err(|why| Refusal::StorageFault { why: why.message() })?;
            *highest = term;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryEngine;

    #[test]
    fn a_leap_is_refused_and_fences_nobody() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let terms = Terms::open(engine.clone()).expect("an empty engine");
        terms.accept(Term(7)).expect("the first");
        for absurd in [Term(u64::MAX), Term(8 + limits::CONTROLLER_TERM_LEAP_MAX)] {
            let refused = terms.accept(absurd);
            assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{refused:?}");
        }
        assert!(matches!(terms.accept(Term(6)), Err(Refusal::StaleTerm { .. })));
        terms.accept(Term(8)).expect("the next controller is not fenced");
        assert_eq!(Terms::open(engine).expect("its own record").highest(), Term(8));
    }
}
