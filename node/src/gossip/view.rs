//! From gossip's state to members, cluster ids and hints. What others send is checked, bounded and never trusted.

use chitchat::{Chitchat, ChitchatId, Heartbeat, NodeState, Version};
use isobar_api::{
    NodeId, Region, ShardEntry, limits,
    report::{MemberInfo, NodeLoad},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// Keys of hints begin with it.
pub(super) const HINT_PREFIX: &str = "s/";
/// A longer hint is ignored.
const HINT_BYTES_MAX: usize = 16 * 1024;
/// Longer values of all other keys are ignored.
const VALUE_BYTES_MAX: usize = 1024;
/// More cluster ids than this are noise.
const CLUSTER_IDS_MAX: usize = 16;

/// What the last look saw of each node.
#[derive(Debug)]
pub(super) struct View {
    silence_min: Duration,
    heard: HashMap<ChitchatId, Heard>,
}

#[derive(Debug)]
struct Heard {
    heartbeat: Heartbeat,
    /// When the heartbeat was seen to advance. The first one seen may be a rumour about a node long dead.
    advanced_at: Option<Instant>,
    /// Hints up to this version have been handed out.
    version: Version,
}

/// What one look brought.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) members: BTreeMap<NodeId, MemberInfo>,
    pub(super) cluster_ids: BTreeSet<String>,
    /// Living nodes of another cluster than ours, and which. They are no members.
    pub(super) strangers: BTreeMap<NodeId, String>,
    /// Hints that are new since the last look.
    pub(super) hints: Vec<RawHint>,
}

/// A hint as it was sent.
#[derive(Clone, Debug)]
pub(super) struct RawHint {
    pub(super) from: NodeId,
    pub(super) key: String,
    pub(super) value: String,
}

impl View {
    pub(super) fn new(silence_min: Duration) -> Self {
        Self { silence_min, heard: HashMap::new() }
    }

    /// Reads the state. Short, because gossip waits: hints are parsed by the caller, later. `own_cluster` is empty
    /// while this node is in none.
    pub(super) fn look(&mut self, chitchat: &Chitchat, now: Instant, own_cluster: &str) -> Look {
        let mut look = Look::default();
        let mut best: BTreeMap<NodeId, (bool, u64)> = BTreeMap::new();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        for (id, state) in chitchat.node_states() {
            let Some(node) = node_id(id) else { continue };
            let alive = self.hear(id, state, now) || live.contains(id);
            let cluster = text(state, "cluster").filter(|cluster| !cluster.is_empty());
            if let Some(cluster) = cluster
                && look.cluster_ids.len() < CLUSTER_IDS_MAX
            {
                look.cluster_ids.insert(cluster.to_owned());
            }
            if let Some(stranger) = cluster.filter(|c| !own_cluster.is_empty() && *c != own_cluster)
            {
                if alive {
                    look.strangers.insert(node, stranger.to_owned());
                }
                continue;
            }
            self.take_hints(node, id, state, &mut look.hints);
            // Of several selves of a node the living one counts, then the later one; a clock set back may make a
            // later self look earlier.
            let rank = (alive, id.generation_id);
            if best.get(&node).is_none_or(|known| *known < rank)
                && let Some(member) = member(node, state, alive)
            {
                best.insert(node, rank);
                look.members.insert(node, member);
            }
        }
        self.heard.retain(|id, _| chitchat.node_state(id).is_some());
        look
    }

    /// Notes a heartbeat; whether the last advance is recent enough.
    fn hear(&mut self, id: &ChitchatId, state: &NodeState, now: Instant) -> bool {
        let heartbeat = state.heartbeat();
        let first = || Heard { heartbeat, advanced_at: None, version: 0 };
        let heard = self.heard.entry(id.clone()).or_insert_with(first);
        if heartbeat > heard.heartbeat {
            heard.heartbeat = heartbeat;
            heard.advanced_at = Some(now);
        }
        heard.advanced_at.is_some_and(|at| now.duration_since(at) < self.silence_min)
    }

    fn take_hints(
        &mut self,
        from: NodeId,
        id: &ChitchatId,
        state: &NodeState,
        hints: &mut Vec<RawHint>,
    ) {
        let Some(heard) = self.heard.get_mut(id).filter(|h| h.version < state.max_version()) else {
            return;
        };
        let news =
            state.iter_prefix(HINT_PREFIX).filter(|(_, value)| value.version > heard.version);
        hints.extend(news.map(|(key, value)| RawHint {
            from,
            key: key.to_owned(),
            value: value.value.clone(),
        }));
        heard.version = state.max_version();
    }
}

impl RawHint {
    /// The entry, if it is one.
    pub(super) fn parse(&self) -> Result<ShardEntry, &'static str> {
        if self.value.len() > HINT_BYTES_MAX {
            return Err("too long");
        }
        let shard = self.key.strip_prefix(HINT_PREFIX).and_then(|number| number.parse().ok());
        let shard: u64 = shard.ok_or("the key names no shard")?;
        let entry: ShardEntry =
            serde_json::from_str(&self.value).map_err(|_| "not a shard entry")?;
        let (start, end) = (&entry.range.start, &entry.range.end);
        if entry.shard_id.0 != shard {
            return Err("key and entry name different shards");
        }
        if start.len().max(end.len()) > limits::KEY_BYTES_MAX || (!end.is_empty() && end <= start) {
            return Err("not a range");
        }
        if entry.replicas.len() > usize::from(limits::REPLICAS_MAX) {
            return Err("too many replicas");
        }
        Ok(entry)
    }
}

fn node_id(id: &ChitchatId) -> Option<NodeId> {
    let number: u64 = id.node_id.strip_prefix('n')?.parse().ok()?;
    (number != 0).then_some(NodeId(number))
}

fn text<'a>(state: &'a NodeState, key: &str) -> Option<&'a str> {
    state.get(key).filter(|value| value.len() <= VALUE_BYTES_MAX)
}

/// A member, once enough is known of it.
fn member(node_id: NodeId, state: &NodeState, alive: bool) -> Option<MemberInfo> {
    let load = text(state, "load").and_then(|load| serde_json::from_str::<NodeLoad>(load).ok());
    Some(MemberInfo {
        node_id,
        address: text(state, "addr").filter(|address| !address.is_empty())?.to_owned(),
        region: Region::new(text(state, "region")?).ok()?,
        zone: text(state, "zone")?.to_owned(),
        alive,
        load: load.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::entry, *};
    use proptest::prelude::*;

    fn raw(key: &str, value: impl Into<String>) -> RawHint {
        RawHint { from: NodeId(1), key: key.into(), value: value.into() }
    }

    #[test]
    fn bad_hints_are_refused() {
        let good = serde_json::to_string(&entry(7, 1)).unwrap();
        assert_eq!(raw("s/7", &*good).parse(), Ok(entry(7, 1)));
        assert_eq!(raw("s/8", &*good).parse(), Err("key and entry name different shards"));
        assert_eq!(raw("s/x", &*good).parse(), Err("the key names no shard"));
        assert_eq!(raw("s/7", "{}").parse(), Err("not a shard entry"));
        assert_eq!(raw("s/7", good.clone() + &" ".repeat(HINT_BYTES_MAX)).parse(), Err("too long"));
        let mut backwards = entry(7, 1);
        backwards.range = isobar_api::KeyRange { start: "b".into(), end: "a".into() };
        let backwards = serde_json::to_string(&backwards).unwrap();
        assert_eq!(raw("s/7", backwards).parse(), Err("not a range"));
        let mut crowd = entry(7, 1);
        crowd.replicas = vec![crowd.replicas[0]; 10];
        assert_eq!(
            raw("s/7", serde_json::to_string(&crowd).unwrap()).parse(),
            Err("too many replicas")
        );
    }

    #[test]
    fn only_node_ids_are_members() {
        let id = |name: &str| ChitchatId::new(name, 1, ([127, 0, 0, 1], 1).into());
        assert_eq!(node_id(&id("n12")), Some(NodeId(12)));
        for bad in ["12", "n", "n0", "nn1", "x1", ""] {
            assert_eq!(node_id(&id(bad)), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(isobar_fuzz::config())]

        #[test]
        fn fuzz_hints(key in "s/\\PC{0,5}", value in "\\PC{0,60}") {
            let _ = raw(&key, value).parse();
        }
    }
}
