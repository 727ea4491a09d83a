//! Who is worked for when there is more to do than can be done.
//!
//! ```text
//! caller ─┐ reads:  at most so many at once ─┐
//! caller ─┼ writes: at most so many at once ─┼─► the shards' own queues
//! caller ─┘ meta:   room of its own         ─┘
//! ```
//! What finds no room is refused before anything is done for it, with the time in which room should come free. Reads and
//! writes have their room apart, so that a slow disk does not stop reads, and the last quarter of each room is only for
//! callers that have less than their share. What waits for a caller that does not take its answers takes no room from
//! others: it is out of the count until the caller goes on.

use isobar_api::{ApiError, ErrorCode, limits};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// Items of the meta shard at once: few and small, and everything else needs them.
const META_MAX: usize = 1_024;
/// Requests of one caller that may be in memory, bytes; beyond, no further one is read from it.
const CALLER_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;
/// What one caller may have under way however many others there are.
const SHARE_MIN: usize = 8;
/// Over which time the pace of answers is taken, milliseconds.
const PACE_MS: u64 = 200;
const RETRY_MS_MIN: u64 = 5;
const RETRY_MS_MAX: u64 = 1_000;

/// What an item does. Each class has its own room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads rows.
    Read,
    /// Writes rows.
    Write,
    /// Either, of the meta shard.
    Meta,
}

/// The classes in the order of their numbers, with their names as labels of metrics.
pub(crate) const CLASSES: [(Class, &str); 3] =
    [(Class::Read, "read"), (Class::Write, "write"), (Class::Meta, "meta")];

/// Why an item was refused, as labels of metrics.
pub(crate) const REASONS: [&str; 4] = ["node", "share", "bytes", "shard"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The room of its class is full.
    Node,
    /// Its caller has its share.
    Share,
    /// Too many bytes wait on the node.
    Bytes,
    /// The shard's queue of writes is full, or too slow for the deadline.
    Shard,
}

/// How much a node takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Reads at once.
    pub reads_max: usize,
    /// Writes at once.
    pub writes_max: usize,
    /// Bytes of all requests being worked on.
    pub bytes_max: usize,
}

impl From<usize> for AdmissionLimits {
    /// So many reads and as many writes.
    fn from(items_max: usize) -> Self {
        Self { reads_max: items_max, writes_max: items_max, bytes_max: 64 << 20 }
    }
}

/// The count of one class.
struct Room {
    max: usize,
    items: AtomicUsize,
    /// Callers that have items here.
    callers: AtomicUsize,
    pace: Pace,
}

/// How fast items are answered.
struct Pace {
    began: Instant,
    window_ms: AtomicU64,
    done: AtomicU64,
    per_s: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        let zero = AtomicU64::default;
        Self { began: Instant::now(), window_ms: zero(), done: zero(), per_s: zero() }
    }

    /// Answers per second of late; none: none was seen yet.
    fn per_s(&self) -> Option<u64> {
        let now_ms = self.began.elapsed().as_millis() as u64;
        let since = self.window_ms.load(Relaxed);
        let long = now_ms.saturating_sub(since);
        let turn = long >= PACE_MS
            && self.window_ms.compare_exchange(since, now_ms, Relaxed, Relaxed).is_ok();
        if turn {
            // A long silence says nothing about how fast a full room empties.
            let done = self.done.swap(0, Relaxed);
            self.per_s.store(if long < 10 * PACE_MS { done * 1_000 / long } else { 0 }, Relaxed);
        }
        Some(self.per_s.load(Relaxed)).filter(|per_s| *per_s > 0)
    }

    /// When so many items should be answered, milliseconds.
    fn retry_after_ms(&self, items: usize) -> u64 {
        let none = RETRY_MS_MIN * 4;
        let ms = self.per_s().map_or(none, |per_s| items as u64 * 1_000 / per_s);
        ms.clamp(RETRY_MS_MIN, RETRY_MS_MAX)
    }
}

/// The rooms of one node.
pub(crate) struct Admission {
    rooms: [Room; 3],
    bytes_max: usize,
    bytes: AtomicUsize,
    answered: AtomicU64,
    refused: [AtomicU64; 4],
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Arc<Self> {
        let room = |max| Room {
            max,
            items: AtomicUsize::new(0),
            callers: AtomicUsize::new(0),
            pace: Pace::new(),
        };
        Arc::new(Self {
            rooms: [room(limits.reads_max), room(limits.writes_max), room(META_MAX)],
            bytes_max: limits.bytes_max,
            bytes: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            refused: Default::default(),
        })
    }

    /// Items of a class being worked on.
    pub(crate) fn items(&self, class: Class) -> usize {
        self.rooms[class as usize].items.load(Relaxed)
    }

    /// Bytes of the requests being worked on.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Items answered since start, the refused ones not among them.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Items refused since start, in the order of [`REASONS`].
    pub(crate) fn refused(&self) -> [u64; 4] {
        std::array::from_fn(|reason| self.refused[reason].load(Relaxed))
    }

    pub(crate) fn note_refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    fn refuse(&self, reason: Reason, class: Class, why: &str) -> ApiError {
        self.note_refused(reason);
        let room = &self.rooms[class as usize];
        // Room for others too: when a quarter of it has come free.
        let retry_ms = room.pace.retry_after_ms(room.items.load(Relaxed).div_ceil(4));
        ApiError::new(ErrorCode::Overloaded, why).retry_after_ms(retry_ms)
    }
}

/// One stream of requests, and what is under way for it. Dropped, it gives its room back.
pub(crate) struct Caller {
    node: Arc<Admission>,
    items: [usize; 3],
    bytes: usize,
    /// It has answers to take, so that nothing goes on for it.
    parked: bool,
}

impl Caller {
    pub(crate) fn new(node: Arc<Admission>) -> Self {
        Self { node, items: [0; 3], bytes: 0, parked: false }
    }

    /// Takes room for an item of so many bytes, or says when to come again.
    pub(crate) fn admit(&mut self, class: Class, bytes: usize) -> Result<(), ApiError> {
        let room = &self.node.rooms[class as usize];
        let (taken, own) = (room.items.load(Relaxed), self.items[class as usize]);
        if taken >= room.max {
            return Err(self.node.refuse(Reason::Node, class, "the node works on all it can"));
        }
        let open = room.max - room.max / 4;
        let callers = room.callers.load(Relaxed) + usize::from(own == 0);
        if taken >= open && own >= (open / callers.max(1)).max(SHARE_MIN) {
            return Err(self.node.refuse(Reason::Share, class, "this connection has its share"));
        }
        if class != Class::Meta && self.node.bytes() + bytes > self.node.bytes_max {
            return Err(self.node.refuse(Reason::Bytes, class, "too many bytes wait on the node"));
        }
        if own == 0 {
            room.callers.fetch_add(1, Relaxed);
        }
        room.items.fetch_add(1, Relaxed);
        self.node.bytes.fetch_add(bytes, Relaxed);
        self.items[class as usize] += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives the room of an admitted item back.
    pub(crate) fn done(&mut self, class: Class, bytes: usize) {
        let room = &self.node.rooms[class as usize];
        self.items[class as usize] -= 1;
        self.bytes -= bytes;
        if self.items[class as usize] == 0 {
            room.callers.fetch_sub(1, Relaxed);
        }
        room.items.fetch_sub(1, Relaxed);
        room.pace.done.fetch_add(1, Relaxed);
        self.node.bytes.fetch_sub(bytes, Relaxed);
        self.node.answered.fetch_add(1, Relaxed);
    }

    /// Whether another request may be read.
    pub(crate) fn may_ask(&self) -> bool {
        self.bytes < CALLER_BYTES_MAX
    }

    /// It was given answers. Until it comes back for more, what it has under way takes no room.
    pub(crate) fn park(&mut self) {
        if !std::mem::replace(&mut self.parked, true) {
            for (room, items) in self.node.rooms.iter().zip(self.items) {
                room.items.fetch_sub(items, Relaxed);
                room.callers.fetch_sub(usize::from(items > 0), Relaxed);
            }
            self.node.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }

    /// It takes answers again.
    pub(crate) fn unpark(&mut self) {
        if std::mem::replace(&mut self.parked, false) {
            for (room, items) in self.node.rooms.iter().zip(self.items) {
                room.items.fetch_add(items, Relaxed);
                room.callers.fetch_add(usize::from(items > 0), Relaxed);
            }
            self.node.bytes.fetch_add(self.bytes, Relaxed);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits =
        AdmissionLimits { reads_max: 400, writes_max: 400, bytes_max: 1_000 };

    /// How many items of one byte it gets in, until one is refused.
    fn fill(caller: &mut Caller, class: Class) -> usize {
        (0..).take_while(|_| caller.admit(class, 1).is_ok()).count()
    }

    #[test]
    fn a_greedy_caller_leaves_room_for_the_others_up_to_their_share() {
        let node = Admission::new(LIMITS);
        let callers = [(); 3].map(|()| Caller::new(node.clone()));
        let [mut greedy, mut second, mut third] = callers;
        assert_eq!(fill(&mut greedy, Class::Write), 300);
        assert_eq!(fill(&mut second, Class::Write), 100, "the room is full before its share is");
        let error = third.admit(Class::Write, 1).expect_err("no room at all");
        assert_eq!(error.code, ErrorCode::Overloaded);
        assert!(error.retry_after_ms >= RETRY_MS_MIN);
        // What the greedy one gives back goes to the one that has nothing.
        (0..50).for_each(|_| greedy.done(Class::Write, 1));
        assert!(greedy.admit(Class::Write, 1).is_err());
        assert_eq!(fill(&mut third, Class::Write), 50);
        let refused = node.refused();
        assert!(refused[Reason::Node as usize] > 0 && refused[Reason::Share as usize] > 0);
    }

    #[test]
    fn classes_do_not_take_each_others_room() {
        let node = Admission::new(LIMITS);
        let mut caller = Caller::new(node.clone());
        fill(&mut caller, Class::Write);
        assert_eq!(fill(&mut caller, Class::Read), 300);
        assert_eq!(fill(&mut caller, Class::Meta), META_MAX * 3 / 4);
        drop(caller);
        assert!(CLASSES.iter().all(|(class, _)| node.items(*class) == 0));
        assert_eq!(node.bytes(), 0);
    }

    #[test]
    fn bytes_are_bounded_on_the_node_and_for_one_caller() {
        let node = Admission::new(LIMITS);
        let (mut one, mut other) = (Caller::new(node.clone()), Caller::new(node.clone()));
        one.admit(Class::Write, 900).expect("room");
        assert!(one.admit(Class::Write, 200).is_err());
        assert!(other.admit(Class::Read, 200).is_err());
        other.admit(Class::Meta, 200).expect("what the cluster itself needs");
        one.done(Class::Write, 900);
        other.admit(Class::Write, 800).expect("room again");
        assert!(one.may_ask());
        one.admit(Class::Meta, CALLER_BYTES_MAX).expect("room");
        assert!(!one.may_ask(), "nothing more is read from it");
    }

    #[test]
    fn a_caller_that_takes_no_answers_takes_no_room() {
        let node = Admission::new(LIMITS);
        let (mut slow, mut other) = (Caller::new(node.clone()), Caller::new(node.clone()));
        fill(&mut slow, Class::Write);
        slow.park();
        slow.park();
        assert_eq!(node.items(Class::Write), 0);
        assert_eq!(fill(&mut other, Class::Write), 300);
        slow.unpark();
        assert!(slow.admit(Class::Write, 1).is_err());
        drop(slow);
        assert_eq!(node.items(Class::Write), 300);
        drop(other);
        assert_eq!((node.items(Class::Write), node.bytes()), (0, 0));
    }

    #[test]
    fn the_time_to_come_again_follows_the_pace_of_answers() {
        let pace = Pace::new();
        assert_eq!(pace.retry_after_ms(100), 4 * RETRY_MS_MIN, "nothing is known");
        pace.per_s.store(1_000, Relaxed);
        assert_eq!(pace.retry_after_ms(100), 100);
        assert_eq!(pace.retry_after_ms(1), RETRY_MS_MIN);
        assert_eq!(pace.retry_after_ms(1 << 20), RETRY_MS_MAX);
    }
}
