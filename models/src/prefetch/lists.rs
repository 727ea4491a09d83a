//! Keys in several linked lists that share one arena and one index: the bones of every cache policy here.

use super::index::{NONE, SlotIndex};

/// Most lists of one arena.
const LISTS: usize = 6;

/// One key in one list.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) key: u64,
    previous: u32,
    next: u32,
    /// A time or count whose meaning depends on the list.
    pub(super) stamp: u32,
    /// Free for the policy.
    pub(super) tag: u16,
    pub(super) list: u8,
    /// Free for the policy.
    pub(super) flag: bool,
}

const EMPTY: Node =
    Node { key: 0, previous: NONE, next: NONE, stamp: 0, tag: 0, list: LISTS as u8, flag: false };

/// The lists. A key is in at most one of them.
pub(super) struct Lists {
    /// The nodes, then one sentinel for each list: its `next` is the front, its `previous` the back.
    nodes: Vec<Node>,
    free: Vec<u32>,
    lengths: [usize; LISTS],
    index: SlotIndex,
    sentinels: u32,
}

impl Lists {
    /// Room for `capacity` keys in all lists together.
    pub(super) fn new(capacity: usize) -> Self {
        let mut nodes = vec![EMPTY; capacity + LISTS];
        for at in capacity..nodes.len() {
            (nodes[at].previous, nodes[at].next) = (at as u32, at as u32);
        }
        let free = (0..capacity as u32).rev().collect();
        let index = SlotIndex::new(capacity);
        Self { nodes, free, lengths: [0; LISTS], index, sentinels: capacity as u32 }
    }

    pub(super) fn len(&self, list: u8) -> usize {
        self.lengths[list as usize]
    }

    pub(super) fn find(&self, key: u64) -> Option<u32> {
        self.index.get(key, |slot| self.nodes[slot as usize].key)
    }

    pub(super) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    pub(super) fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    /// The oldest of a list.
    pub(super) fn back(&self, list: u8) -> Option<u32> {
        let at = self.nodes[(self.sentinels + u32::from(list)) as usize].previous;
        (at < self.sentinels).then_some(at)
    }

    /// Enters a new key at the front of a list. The policy keeps the total below the capacity.
    pub(super) fn add(&mut self, key: u64, list: u8) -> u32 {
        let at = self.free.pop().expect("the policy trims its lists to the capacity");
        self.nodes[at as usize] = Node { key, ..EMPTY };
        let nodes = &self.nodes;
        self.index.insert(key, at, |slot| nodes[slot as usize].key);
        self.link(at, list);
        at
    }

    /// Moves a key to the front of a list.
    pub(super) fn front(&mut self, at: u32, list: u8) {
        self.unlink(at);
        self.link(at, list);
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, at: u32) {
        self.unlink(at);
        let nodes = &self.nodes;
        self.index.remove(nodes[at as usize].key, |slot| nodes[slot as usize].key);
        self.free.push(at);
    }

    fn link(&mut self, at: u32, list: u8) {
        let head = self.sentinels + u32::from(list);
        let first = self.nodes[head as usize].next;
        let node = &mut self.nodes[at as usize];
        (node.previous, node.next, node.list) = (head, first, list);
        self.nodes[head as usize].next = at;
        self.nodes[first as usize].previous = at;
        self.lengths[list as usize] += 1;
    }

    fn unlink(&mut self, at: u32) {
        let Node { previous, next, list, .. } = self.nodes[at as usize];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        self.lengths[list as usize] -= 1;
    }
}
