//! Controllers: one that moves, splits and hands over as the real one orders it, and one that asks for what must not be.

use crate::{
    clients::GROUPS,
    network::exchange,
    node::{CLUSTER, Running},
    world::{CONTROLLERS, Place, World},
};
use isobar_api::{
    DirectiveId, Epoch, NodeId, ReplicaRole, ShardEntry, TableId, Term,
    directive::{Refusal, Step, StepEvent, StepOrder},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Shards that splits may lead to.
const SHARDS_MAX: usize = 5;
/// How often an order is sent before it is given up.
const SENDS_MAX: u32 = 6;

/// What both controllers count in.
pub struct Counters {
    directive: AtomicU64,
    term: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { directive: AtomicU64::new(1), term: AtomicU64::new(1) }
    }
}

/// A controller.
#[derive(Clone)]
pub struct Controller {
    world: Arc<World>,
    table: TableId,
    place: Place,
    counters: Arc<Counters>,
}

impl Controller {
    /// A controller of a table.
    pub fn new(world: Arc<World>, table: TableId, number: u64, counters: Arc<Counters>) -> Self {
        Self { world, table, place: CONTROLLERS + number, counters }
    }

    /// Changes the cluster until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let always = async {
            loop {
                tokio::time::sleep(self.world.millis(40..400)).await;
                if self.world.chance(0.06) {
                    let term = self.counters.term.fetch_add(1, Ordering::Relaxed) + 1;
                    self.world.note(format_args!("the controller starts again, term {term}"));
                }
                self.change_something().await;
            }
        };
        stop.run_until_cancelled(always).await;
    }

    /// Asks for what must be refused until told to stop.
    pub async fn run_hostile(self, stop: CancellationToken) {
        let always = async {
            loop {
                tokio::time::sleep(self.world.millis(60..500)).await;
                self.ask_for_something_bad().await;
            }
        };
        stop.run_until_cancelled(always).await;
    }

    async fn view(&self) -> Vec<ShardEntry> {
        let Some(node) = self.world.pick(&self.world.nodes()) else { return Vec::new() };
        let serve = |running: Arc<Running>| async move { running.parts.hints.all() };
        let timeout = Duration::from_millis(500);
        let way = (self.place, node);
        exchange(&self.world, way, timeout, "view".into(), serve).await.unwrap_or_default()
    }

    fn next_directive(&self) -> DirectiveId {
        DirectiveId(self.counters.directive.fetch_add(1, Ordering::Relaxed))
    }

    fn order(&self, entry: &ShardEntry, step: Step, index: u32, id: DirectiveId) -> StepOrder {
        StepOrder {
            directive_id: id,
            step_index: index,
            controller_term: Term(self.counters.term.load(Ordering::Relaxed)),
            cluster_id: CLUSTER.into(),
            shard: entry.shard_id,
            expected_epoch: entry.epoch,
            step,
            expires_at_unix_ms: u64::MAX,
            reason: "simulation".into(),
        }
    }

    async fn change_something(&self) {
        let view = self.view().await;
        if self.world.habits.merges && self.world.chance(0.5) {
            return self.merge(&view).await;
        }
        let Some(entry) = self.world.pick(&view) else { return };
        let steps = match self.world.number(0..10) {
            0..2 => self.split(&view, &entry),
            2..5 => self.hand_over(&entry),
            _ => self.move_replica(&entry),
        };
        let id = self.next_directive();
        self.carry_out(entry, steps, id).await;
    }

    /// Sends the steps one after the other; gives up at the first that is not done.
    async fn carry_out(&self, mut entry: ShardEntry, steps: Vec<Step>, id: DirectiveId) {
        for (index, step) in (0..).zip(steps) {
            let order = self.order(&entry, step, index, id);
            match self.send_until_answered(&mut entry, &order).await {
                Some(epoch) => entry.epoch = epoch,
                None => return,
            }
            if let Step::TransferLeader { node } = order.step {
                entry.leader = Some(node);
            }
        }
    }

    async fn send_until_answered(&self, to: &mut ShardEntry, order: &StepOrder) -> Option<Epoch> {
        for _ in 0..SENDS_MAX {
            let node = to.leader.or_else(|| self.world.pick(&voters(to)))?;
            match self.send(node, order).await {
                Some(StepEvent::Done(result)) => return Some(result.epoch_after),
                Some(StepEvent::Refused { refusal: Refusal::NotLeader { leader } }) => {
                    to.leader = leader.filter(|leader| *leader != node);
                }
                Some(StepEvent::Refused { refusal: Refusal::ShardNotHere }) => to.leader = None,
                Some(StepEvent::Refused { .. }) => return None,
                _ => {}
            }
            tokio::time::sleep(self.world.millis(10..120)).await;
        }
        None
    }

    async fn send(&self, node: NodeId, order: &StepOrder) -> Option<StepEvent> {
        let json = serde_json::to_vec(order).expect("plain data always encodes");
        let what =
            format!("{} {}.{} {}", order.shard, order.directive_id, order.step_index, order.step);
        let serve = move |running: Arc<Running>| {
            let json = json.clone();
            async move {
                let mut events = running.parts.directives.execute(&json, &tracing::Span::none());
                let ended =
                    |e: &StepEvent| matches!(e, StepEvent::Done(_) | StepEvent::Refused { .. });
                events.wait_for(ended).await.ok().map(|event| event.clone())
            }
        };
        let timeout = Duration::from_millis(2_500);
        let answer =
            exchange(&self.world, (self.place, node), timeout, what, serve).await.flatten();
        if let Some(event) = &answer {
            let (id, index) = (order.directive_id, order.step_index);
            self.world.note(format_args!("{node} on {id}.{index}: {event:?}"));
        }
        answer
    }

    fn split(&self, view: &[ShardEntry], entry: &ShardEntry) -> Vec<Step> {
        let shards = view.iter().filter(|entry| entry.table_id == self.table).count();
        let group = self.world.number(1..GROUPS);
        let at_key = format!("k{group:02}");
        if entry.table_id != self.table
            || shards >= SHARDS_MAX
            || entry.range.split_at(at_key.as_bytes()).is_none()
        {
            return Vec::new();
        }
        vec![Step::Split { at_key }]
    }

    /// Two neighbours that lie on the same nodes, as those of a cut do until one is moved; else a cut makes such two.
    async fn merge(&self, view: &[ShardEntry]) {
        let nodes = |entry: &ShardEntry| {
            let mut nodes: Vec<NodeId> = entry.replicas.iter().map(|r| r.node_id).collect();
            nodes.sort_unstable();
            nodes
        };
        let beside = |left: &ShardEntry, right: &ShardEntry| {
            let touch = !left.range.end.is_empty() && left.range.end == right.range.start;
            touch
                && left.table_id == self.table
                && right.table_id == self.table
                && nodes(left) == nodes(right)
        };
        let pairs = view.iter().flat_map(|left| view.iter().map(move |right| (left, right)));
        let pairs: Vec<_> = pairs.filter(|(left, right)| beside(left, right)).collect();
        let id = self.next_directive();
        if let Some((left, right)) = self.world.pick(&pairs) {
            let merge = Step::Merge { right: right.shard_id, right_epoch: right.epoch };
            self.carry_out(left.clone(), vec![merge], id).await;
        } else if let Some(entry) = self.world.pick(view) {
            self.carry_out(entry.clone(), self.split(view, &entry), id).await;
        }
    }

    fn hand_over(&self, entry: &ShardEntry) -> Vec<Step> {
        let others: Vec<NodeId> =
            voters(entry).into_iter().filter(|node| Some(*node) != entry.leader).collect();
        self.world.pick(&others).map(|node| Step::TransferLeader { node }).into_iter().collect()
    }

    /// Learner, caught up, promoted, the lead handed over where needed, the old one removed; or only the end of it.
    fn move_replica(&self, entry: &ShardEntry) -> Vec<Step> {
        let held: Vec<NodeId> = entry.replicas.iter().map(|replica| replica.node_id).collect();
        let spare: Vec<NodeId> =
            self.world.nodes().into_iter().filter(|node| !held.contains(node)).collect();
        let Some(leaves) = self.world.pick(&held) else { return Vec::new() };
        let mut steps = Vec::new();
        let learners = entry.replicas.iter().filter(|r| r.role == ReplicaRole::Learner);
        if let Some(learner) = learners.map(|replica| replica.node_id).next() {
            steps.push(Step::Promote { node: learner });
        } else if held.len() <= 3 {
            let Some(node) = self.world.pick(&spare) else { return Vec::new() };
            steps.extend([Step::AddLearner { node }, Step::Promote { node }]);
            if entry.leader == Some(leaves) {
                steps.push(Step::TransferLeader { node });
            }
        } else if entry.leader == Some(leaves) {
            steps.extend(self.hand_over(entry));
        }
        steps.push(Step::RemoveReplica { node: leaves });
        steps
    }

    async fn ask_for_something_bad(&self) {
        let view = self.view().await;
        let Some(entry) = self.world.pick(&view) else { return };
        let node = self.world.pick(&self.world.nodes()).expect("a world has nodes");
        let steps = [
            Step::AddLearner { node },
            Step::Promote { node },
            Step::TransferLeader { node },
            Step::RemoveReplica { node },
            Step::Split { at_key: "zz".into() },
        ];
        let step = self.world.pick(&steps).expect("there are some");
        let mut order = self.order(&entry, step, 0, self.next_directive());
        let bad = self.world.number(0..6);
        match bad {
            0 => order.controller_term.0 = order.controller_term.0.saturating_sub(1),
            1 => order.controller_term.0 += 1 << 40,
            2 => order.expected_epoch.membership += 1,
            3 => order.expected_epoch.shape = order.expected_epoch.shape.wrapping_sub(1),
            4 => order.cluster_id = "another".into(),
            _ => {}
        }
        let leader = entry.leader.or_else(|| self.world.pick(&voters(&entry)));
        let Some(to) = leader else { return };
        let running = self.world.running(to);
        let fence = running.as_ref().map(|running| running.parts.directives.term());
        // Only what is behind already stays wrong: what is ahead may have come true when it arrives.
        let now = running.and_then(|running| running.parts.registry.get(entry.shard_id)?.entry());
        let expected = order.expected_epoch;
        let behind = now.is_some_and(|now| {
            expected.shape < now.epoch.shape || expected.membership < now.epoch.membership
        });
        let answer = self.send(to, &order).await;
        let Some(StepEvent::Done(result)) = answer else { return };
        let fenced = fence.is_some_and(|fence| order.controller_term < fence);
        if fenced || matches!(bad, 1 | 4) {
            let what = format!("{to} carried out {order:?} though it had accepted {fence:?}");
            self.world.breaks("stale_controllers_are_fenced", what);
        }
        if behind && !result.already {
            let what = format!("{to} carried out {order:?} of another epoch");
            self.world.breaks("orders_name_the_epoch", what);
        }
    }
}

fn voters(entry: &ShardEntry) -> Vec<NodeId> {
    entry.voters().collect()
}
