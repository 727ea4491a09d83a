//! Which node leads which shard, as gossip tells it.

use isobar_api::{ShardEntry, ShardId, TableId, map::ShardMap};
use std::sync::{Arc, RwLock, RwLockReadGuard};

/// More shards than this are not remembered; routing then asks other nodes.
const SHARDS_MAX: usize = 100_000;

/// Shard entries heard of, the freshest of each. Cheap to clone; all clones share them.
#[derive(Clone, Debug, Default)]
pub struct ShardHints {
    map: Arc<RwLock<ShardMap>>,
}

impl ShardHints {
    /// Takes an entry in. Returns whether anything changed.
    pub fn merge(&self, entry: ShardEntry) -> bool {
        // Most news are old: do not stop the readers for them.
        let fresh = |map: &ShardMap| match map.get(entry.shard_id) {
            Some(known) => known.freshness() < entry.freshness(),
            None => map.len() < SHARDS_MAX,
        };
        if !fresh(&self.read()) {
            return false;
        }
        self.map.write().expect("no holder of this lock panics").merge(entry)
    }

    /// A shard by id.
    pub fn get(&self, shard: ShardId) -> Option<ShardEntry> {
        self.read().get(shard).cloned()
    }

    /// The shard that owns a key, as far as is known.
    pub fn owner_of(&self, table: TableId, key: &[u8]) -> Option<ShardEntry> {
        self.read().find(table, key).cloned()
    }

    /// The shards of a table, in key order.
    pub fn of_table(&self, table: TableId) -> Vec<ShardEntry> {
        self.read().of_table(table).cloned().collect()
    }

    /// All shards, in id order.
    pub fn all(&self) -> Vec<ShardEntry> {
        self.read().iter().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, ShardMap> {
        self.map.read().expect("no holder of this lock panics")
    }
}
