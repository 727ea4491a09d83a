//! Who is in the cluster, where they serve and whether they live: filled by gossip, read by everybody.

use isobar_api::{NodeId, Region, report::MemberInfo, rtt::RttMatrix};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

/// The members, as last heard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Members {
    own: Arc<MemberInfo>,
    others: Arc<RwLock<BTreeMap<NodeId, MemberInfo>>>,
    wan: Arc<RttMatrix>,
}

impl Members {
    /// Begins with this node alone. `wan` holds the round-trip times to emulate; empty: none.
    pub fn new(own: MemberInfo, wan: RttMatrix) -> Self {
        Self { own: Arc::new(own), others: Arc::default(), wan: Arc::new(wan) }
    }

    /// This node.
    pub fn own(&self) -> &MemberInfo {
        &self.own
    }

    /// A member.
    pub fn get(&self, node: NodeId) -> Option<MemberInfo> {
        if node == self.own.node_id {
            return Some((*self.own).clone());
        }
        self.others.read().expect("no holder of this lock panics").get(&node).cloned()
    }

    /// Every member ever heard of, in id order, this node included.
    pub fn all(&self) -> Vec<MemberInfo> {
        let mut all = self.others.read().expect("no holder of this lock panics").clone();
        all.insert(self.own.node_id, (*self.own).clone());
        all.into_values().collect()
    }

    /// Takes over what gossip shows. Members that are gone from gossip stay, as not alive.
    pub fn update(&self, seen: BTreeMap<NodeId, MemberInfo>) {
        let mut others = self.others.write().expect("no holder of this lock panics");
        for known in others.values_mut() {
            known.alive = false;
        }
        for (node, member) in seen {
            if node != self.own.node_id {
                others.insert(node, member);
            }
        }
    }

    /// One-way delay to emulate on the way to a region.
    pub fn one_way_delay(&self, to: &Region) -> Duration {
        let rtt_ms = self.wan.get(&self.own.region, to).unwrap_or(0.0);
        Duration::from_secs_f64(rtt_ms.max(0.0) / 2_000.0)
    }

    /// One-way delay to emulate on the way to a node.
    pub fn one_way_delay_to(&self, node: NodeId) -> Duration {
        self.get(node).map_or(Duration::ZERO, |member| self.one_way_delay(&member.region))
    }
}
