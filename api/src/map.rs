//! The shard map: which shard owns a key. Merges hints from many sources; fresher entries win.

use crate::{
    ids::{ShardId, TableId},
    shard::{KeyRange, ShardEntry},
};
use std::collections::BTreeMap;

/// Shards by id and, per table, by start key. Overlaps are settled in favour of the higher shape.
#[derive(Clone, Debug, Default)]
pub struct ShardMap {
    entries: BTreeMap<ShardId, ShardEntry>,
    by_start: BTreeMap<(TableId, Vec<u8>), ShardId>,
}

impl ShardMap {
    /// Takes an entry in. Returns whether anything changed. One that owns no key is not taken.
    pub fn merge(&mut self, entry: ShardEntry) -> bool {
        if !entry.range.end.is_empty() && entry.range.end <= entry.range.start {
            return false;
        }
        if let Some(known) = self.entries.get(&entry.shard_id)
            && known.freshness() >= entry.freshness()
        {
            return false;
        }
        let rivals = self.overlapping(entry.table_id, &entry.range);
        let newer_exists = rivals
            .iter()
            .any(|id| *id != entry.shard_id && self.entries[id].epoch.shape > entry.epoch.shape);
        if newer_exists {
            return false;
        }
        for id in rivals {
            self.remove(id);
        }
        self.remove(entry.shard_id);
        self.by_start.insert((entry.table_id, entry.range.start.clone()), entry.shard_id);
        self.entries.insert(entry.shard_id, entry);
        true
    }

    /// Forgets a shard.
    pub fn remove(&mut self, shard: ShardId) {
        if let Some(old) = self.entries.remove(&shard) {
            self.by_start.remove(&(old.table_id, old.range.start));
        }
    }

    /// The shard that owns the key, as far as is known.
    pub fn find(&self, table: TableId, key: &[u8]) -> Option<&ShardEntry> {
        let upto = (table, key.to_vec());
        let (_, id) = self.by_start.range((table, Vec::new())..=upto).next_back()?;
        self.entries.get(id).filter(|entry| entry.range.contains(key))
    }

    /// A shard by id.
    pub fn get(&self, shard: ShardId) -> Option<&ShardEntry> {
        self.entries.get(&shard)
    }

    /// How many shards are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All shards, in id order.
    pub fn iter(&self) -> impl Iterator<Item = &ShardEntry> {
        self.entries.values()
    }

    /// The shards of a table, in key order.
    pub fn of_table(&self, table: TableId) -> impl Iterator<Item = &ShardEntry> {
        self.by_start
            .range((table, Vec::new())..)
            .take_while(move |((t, _), _)| *t == table)
            .filter_map(|(_, id)| self.entries.get(id))
    }

    /// Shards whose range meets the given one, in key order.
    fn overlapping(&self, table: TableId, range: &KeyRange) -> Vec<ShardId> {
        let before =
            self.by_start.range((table, Vec::new())..=(table, range.start.clone())).next_back();
        let after =
            self.by_start.range((table, range.start.clone())..).take_while(|((t, start), _)| {
                *t == table && (range.end.is_empty() || *start < range.end)
            });
        let mut found: Vec<ShardId> = Vec::new();
        for (_, id) in before.into_iter().chain(after) {
            if !found.contains(id) && self.entries[id].range.overlaps(range) {
                found.push(*id);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Epoch;
    use proptest::prelude::*;

    fn entry(shard: u64, start: &str, end: &str, shape: u64) -> ShardEntry {
        ShardEntry {
            shard_id: ShardId(shard),
            table_id: TableId(1),
            range: KeyRange { start: start.into(), end: end.into() },
            epoch: Epoch { shape, membership: 1 },
            replicas: vec![],
            leader: None,
            term: 1,
        }
    }

    #[test]
    fn a_split_replaces_its_parent_in_any_order_of_news() {
        let parent = entry(1, "", "", 1);
        let left = entry(1, "", "m", 2);
        let right = entry(2, "m", "", 2);
        for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]] {
            let news = [&parent, &left, &right];
            let mut map = ShardMap::default();
            for _ in 0..2 {
                for i in order {
                    map.merge(news[i].clone());
                }
            }
            assert_eq!(
                map.find(TableId(1), b"a").map(|e| e.shard_id),
                Some(ShardId(1)),
                "{order:?}"
            );
            assert_eq!(
                map.find(TableId(1), b"z").map(|e| e.shard_id),
                Some(ShardId(2)),
                "{order:?}"
            );
        }
    }

    #[test]
    fn other_tables_do_not_answer() {
        let mut map = ShardMap::default();
        map.merge(entry(1, "", "", 1));
        assert!(map.find(TableId(2), b"a").is_none());
        assert!(map.find(TableId(0), b"a").is_none());
    }

    proptest! {
        #[test]
        fn no_two_entries_ever_overlap(news in proptest::collection::vec((1u64..8, 0u8..10, 0u8..12, 1u64..5), 1..40)) {
            let mut map = ShardMap::default();
            for (shard, start, end, shape) in news {
                let (start, end) = (format!("{start:02}"), format!("{end:02}"));
                map.merge(entry(shard, &start, &end, shape));
                let all: Vec<_> = map.of_table(TableId(1)).collect();
                prop_assert_eq!(all.len(), map.iter().count());
                for pair in all.windows(2) {
                    prop_assert!(!pair[0].range.overlaps(&pair[1].range));
                }
            }
        }
    }
}
