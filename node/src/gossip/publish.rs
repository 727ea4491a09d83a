//! What this node says of itself, and the difference to what it has said already.

use isobar_api::{ShardEntry, ShardId, report::NodeLoad};
use std::{collections::BTreeMap, sync::Arc};

/// Start and end of a hint's range together. In JSON a byte takes up to five, so a hint stays far below a datagram.
pub(super) const HINT_KEY_BYTES_MAX: usize = 2_048;

/// What others shall see of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) cluster_id: String,
    pub(super) load: Option<NodeLoad>,
    pub(super) led: Arc<BTreeMap<ShardId, ShardEntry>>,
}

/// One change of this node's published keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Set a key.
    Set(String, String),
    /// Take a key back.
    Delete(String),
}

/// What others can see already.
#[derive(Debug, Default)]
pub(super) struct Published {
    cluster_id: String,
    load: Option<NodeLoad>,
    led: Arc<BTreeMap<ShardId, ShardEntry>>,
}

/// The entries that fit, by shard.
pub(super) fn publishable(
    entries: impl IntoIterator<Item = ShardEntry>,
) -> BTreeMap<ShardId, ShardEntry> {
    let fits = |e: &ShardEntry| e.range.start.len() + e.range.end.len() <= HINT_KEY_BYTES_MAX;
    entries.into_iter().filter(fits).map(|entry| (entry.shard_id, entry)).collect()
}

impl Published {
    /// The changes that lead to what is wanted; afterwards they count as published.
    pub(super) fn catch_up(&mut self, wanted: &Wanted) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.cluster_id != wanted.cluster_id {
            changes.push(if wanted.cluster_id.is_empty() {
                Change::Delete("cluster".into())
            } else {
                Change::Set("cluster".into(), wanted.cluster_id.clone())
            });
            self.cluster_id.clone_from(&wanted.cluster_id);
        }
        if let Some(load) = &wanted.load
            && self.load.as_ref() != Some(load)
        {
            changes.push(Change::Set("load".into(), json(load)));
            self.load = Some(load.clone());
        }
        if !Arc::ptr_eq(&self.led, &wanted.led) {
            let gone = self.led.keys().filter(|shard| !wanted.led.contains_key(shard));
            changes.extend(gone.map(|shard| Change::Delete(hint_key(*shard))));
            let news =
                wanted.led.iter().filter(|(shard, entry)| self.led.get(shard) != Some(entry));
            changes.extend(news.map(|(shard, entry)| Change::Set(hint_key(*shard), json(entry))));
            self.led = wanted.led.clone();
        }
        changes
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data always encodes")
}

/// The key of a shard's hint.
fn hint_key(shard: ShardId) -> String {
    format!("{}{}", super::view::HINT_PREFIX, shard.0)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::entry, *};

    fn wanted(led: impl IntoIterator<Item = ShardEntry>) -> Wanted {
        Wanted { led: Arc::new(publishable(led)), ..Wanted::default() }
    }

    fn keys(changes: &[Change]) -> Vec<String> {
        let show = |change: &Change| match change {
            Change::Set(key, _) => format!("+{key}"),
            Change::Delete(key) => format!("-{key}"),
        };
        changes.iter().map(show).collect()
    }

    #[test]
    fn only_differences_are_published() {
        let mut published = Published::default();
        assert!(published.catch_up(&Wanted::default()).is_empty());
        let first = wanted([entry(1, 1), entry(2, 1)]);
        assert_eq!(keys(&published.catch_up(&first)), ["+s/1", "+s/2"]);
        assert!(published.catch_up(&first).is_empty());
        assert!(published.catch_up(&wanted([entry(2, 1), entry(1, 1)])).is_empty());
        let next = wanted([entry(2, 2), entry(3, 1)]);
        assert_eq!(keys(&published.catch_up(&next)), ["-s/1", "+s/2", "+s/3"]);
    }

    #[test]
    fn cluster_and_load_are_published_when_they_change() {
        let mut published = Published::default();
        let load = NodeLoad { in_flight: 3, ..NodeLoad::default() };
        let mut wanted =
            Wanted { cluster_id: "c".into(), load: Some(load.clone()), ..Wanted::default() };
        let changes = published.catch_up(&wanted);
        assert_eq!(keys(&changes), ["+cluster", "+load"]);
        let Change::Set(_, text) = &changes[1] else { panic!("{changes:?}") };
        assert_eq!(serde_json::from_str::<NodeLoad>(text).unwrap(), load);
        assert!(published.catch_up(&wanted).is_empty());
        wanted.cluster_id.clear();
        assert_eq!(keys(&published.catch_up(&wanted)), ["-cluster"]);
    }

    #[test]
    fn the_longest_hint_that_is_published_is_accepted_by_others() {
        let mut longest = entry(u64::MAX, u64::MAX);
        longest.range.start = vec![0];
        longest.range.end = vec![1; HINT_KEY_BYTES_MAX - 1];
        longest.replicas = vec![longest.replicas[0]; usize::from(isobar_api::limits::REPLICAS_MAX)];
        let changes = Published::default().catch_up(&wanted([longest.clone()]));
        let [Change::Set(key, value)] = changes.as_slice() else { panic!("{changes:?}") };
        let from = isobar_api::NodeId(1);
        let raw = super::super::view::RawHint { from, key: key.clone(), value: value.clone() };
        assert_eq!(raw.parse(), Ok(longest.clone()));
        longest.range.end.push(1);
        assert!(publishable([longest]).is_empty());
    }
}
