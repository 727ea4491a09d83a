//! Nodes watch each other on behalf of the groups that sleep.

use super::{Quiesce, messages, rest::patience};
use crate::{replica::Replica, transport::FrameKind};
use isobar_api::{NodeId, ShardId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::MissedTickBehavior;

/// Between two questions to a node.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Questions in a row without an answer after which a node is taken for gone.
const UNANSWERED_MAX: u32 = 2;
/// Groups that have lost the same node wake over this time: hundreds at once would be in each other's way.
const SPREAD_MS: u64 = 200;
/// The next follower of a group waits so much longer, so that the first one's election is over.
const TURN: Duration = Duration::from_millis(400);

/// What the last questions to a node have shown.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    unanswered: u32,
    /// It was taken for gone, and has not answered since.
    gone: bool,
}

/// What a sleeping group must be told about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It does not answer.
    Gone,
    /// It answers again, in the life that it had.
    Back,
    /// It answers in this life.
    Lives(u64),
}

impl Quiesce {
    pub(super) async fn watch_always(&self) {
        let mut seen = BTreeMap::new();
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.watch(&mut seen).await;
        }
    }

    /// Asks every node that a sleeping group relies on, and wakes those groups whose node is not what it was.
    async fn watch(&self, seen: &mut BTreeMap<NodeId, Seen>) {
        let asleep: Vec<_> = self
            .registry
            .all()
            .into_iter()
            .filter_map(|replica| Some((replica.rest.watched()?, replica)))
            .collect();
        let nodes: BTreeSet<NodeId> =
            asleep.iter().flat_map(|((_, watched), _)| watched.iter().map(|w| w.node)).collect();
        seen.retain(|node, _| nodes.contains(node));
        let Some((_, any)) = asleep.first() else { return };
        let asked = nodes.iter().map(async |node| {
            let transport = self.registry.transport();
            let within = patience(&any.raft, transport, *node);
            (*node, messages::ask(transport, *node, FrameKind::Ping, Vec::new(), within).await)
        });
        let answers = futures::future::join_all(asked).await;
        let news: BTreeMap<NodeId, News> = answers
            .into_iter()
            .filter_map(|(node, incarnation)| {
                Some((node, seen.entry(node).or_default().note(self.is_dead(node), incarnation)?))
            })
            .collect();
        for ((number, watched), replica) in &asleep {
            for watched in watched {
                if let Some(news) = news.get(&watched.node) {
                    self.tell(replica, *number, watched.node, watched.incarnation, *news);
                }
            }
        }
    }

    /// Whether gossip believes a node to be dead.
    fn is_dead(&self, node: NodeId) -> bool {
        self.registry.transport().members().get(node).is_some_and(|member| !member.alive)
    }

    fn tell(
        &self,
        replica: &Arc<Replica>,
        number: u64,
        node: NodeId,
        incarnation: u64,
        news: News,
    ) {
        let follows = replica.rest.leader().is_some();
        let wakes = match news {
            // A leader needs only a majority of its followers, and none as long as nobody uses the group.
            News::Gone => follows,
            // A follower that was alone may look for a leader by now; a leader that was alone still leads, or learns of
            // the next one from it.
            News::Back => !follows,
            News::Lives(now) => now != incarnation,
        };
        if !wakes || !replica.rest.unwatch(number) {
            return;
        }
        let after = spread(replica.shard_id);
        if follows {
            replica.call_leader(after + TURN * turn(replica, node));
            return;
        }
        let replica = replica.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            replica.wake().await;
        });
    }
}

impl Seen {
    /// Takes an answer, or that there was none; what is new by it.
    fn note(&mut self, dead: bool, incarnation: Option<u64>) -> Option<News> {
        match incarnation {
            // Whatever gossip says: it answers.
            Some(incarnation) => {
                let was_gone = std::mem::take(self).gone;
                Some(if was_gone { News::Back } else { News::Lives(incarnation) })
            }
            None => {
                self.unanswered += 1;
                self.gone |= dead || self.unanswered >= UNANSWERED_MAX;
                self.gone.then_some(News::Gone)
            }
        }
    }
}

/// When a group's turn comes among all that wake for the same reason.
fn spread(shard: ShardId) -> Duration {
    // Neighbouring ids lie far apart (Fibonacci hashing).
    Duration::from_millis((shard.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % SPREAD_MS)
}

/// How many followers of a group stand for election before this one.
fn turn(replica: &Replica, gone: NodeId) -> u32 {
    let members = replica.state.replicas();
    let before = members
        .iter()
        .filter(|member| member.replica_id < replica.replica_id && member.node_id != gone);
    before.count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_gone_after_two_silences_or_by_gossip_and_back_when_it_answers() {
        let mut seen = Seen::default();
        assert_eq!(seen.note(false, Some(7)), Some(News::Lives(7)));
        assert_eq!(seen.note(false, None), None, "one may be lost");
        assert_eq!(seen.note(false, Some(7)), Some(News::Lives(7)));
        assert_eq!(seen.note(false, None), None);
        assert_eq!(seen.note(false, None), Some(News::Gone));
        assert_eq!(seen.note(false, None), Some(News::Gone));
        assert_eq!(seen.note(false, Some(7)), Some(News::Back));
        assert_eq!(seen.note(false, Some(8)), Some(News::Lives(8)));
        assert_eq!(seen.note(true, Some(8)), Some(News::Lives(8)), "it answers");
        assert_eq!(seen.note(true, None), Some(News::Gone), "gossip misses it, too");
    }

    #[test]
    fn groups_wake_spread_over_the_time() {
        let at: BTreeSet<Duration> = (1..=100).map(|shard| spread(ShardId(shard))).collect();
        assert!(at.len() > 60 && at.last() < Some(&Duration::from_millis(SPREAD_MS)), "{at:?}");
    }
}
