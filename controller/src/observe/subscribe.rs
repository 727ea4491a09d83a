//! The streams: one subscription per member, reconnected with backoff; gaps counted and alarmed.

use super::{Fold, Ingest};
use crate::{clock::now_unix_ms, error::Error, nodes::NodeConnections};
use isobar_api::{
    ApiError, ErrorCode, NodeId, Region, ShardEntry,
    proto::{Member, ShardMapRequest, SubscribeReportsRequest},
    report::{MemberInfo, NodeReport},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the members are asked for anew.
const DISCOVER_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// First and longest pause before a lost stream is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A stream that says nothing for this long is opened again; reports come every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Keeps the picture fresh until it is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    fold: Arc<Mutex<Fold>>,
    nodes: NodeConnections,
    seeds: Arc<Vec<String>>,
    name: Arc<str>,
}

impl Observer {
    /// An observer that starts from these addresses.
    pub(crate) fn new(fold: Fold, nodes: NodeConnections, seeds: Vec<String>, name: &str) -> Self {
        Self { fold: Arc::new(Mutex::new(fold)), nodes, seeds: Arc::new(seeds), name: name.into() }
    }

    /// The picture.
    pub(crate) fn fold(&self) -> MutexGuard<'_, Fold> {
        self.fold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Discovers members and keeps a subscription to each.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut streams: BTreeMap<NodeId, (String, JoinHandle<()>)> = BTreeMap::new();
        let mut turn = 0_usize;
        let mut every = tokio::time::interval(DISCOVER_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = every.tick() => {}
            }
            self.discover(turn).await;
            turn = turn.wrapping_add(1);
            let addresses = self.fold().addresses();
            for (node, address) in addresses {
                match streams.get(&node) {
                    Some((known, task)) if *known == address && !task.is_finished() => continue,
                    Some((_, old)) => old.abort(),
                    None => {}
                }
                let task = tokio::spawn(self.clone().follow(node, address.clone()));
                streams.insert(node, (address, task));
            }
        }
        for (_, task) in streams.into_values() {
            task.abort();
        }
    }

    /// Asks one node after the other for members and tables until one answers; another one each turn.
    async fn discover(&self, turn: usize) {
        let mut asked: Vec<String> = self.fold().addresses().into_values().collect();
        asked.extend(self.seeds.iter().filter(|s| !asked.contains(s)).cloned().collect::<Vec<_>>());
        let count = asked.len();
        for step in 0..count.min(3) {
            let address = &asked[(turn + step) % count];
            match tokio::time::timeout(ANSWER_WITHIN, self.ask(address)).await {
                Ok(Ok(Ingest::Taken)) => return,
                Ok(Ok(Ingest::OtherCluster)) => {
                    tracing::error!(%address, "this node belongs to another cluster; its answer is ignored");
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "no shard map"),
                Err(_) => tracing::debug!(%address, "no shard map in time"),
            }
        }
    }

    async fn ask(&self, address: &str) -> Result<Ingest, Error> {
        let request = ShardMapRequest { table: String::new() };
        let answer = self.nodes.client(address)?.get_shard_map(request).await?.into_inner();
        let members = answer.members.into_iter().filter_map(member_info).collect();
        let tables = match answer.tables_json.is_empty() {
            true => Vec::new(),
            false => {
                serde_json::from_slice(&answer.tables_json).map_err(Error::document("tables"))?
            }
        };
        let shards = answer.shards.into_iter().map(ShardEntry::from).collect();
        if answer.cluster_id.is_empty() {
            let why = "the node has no cluster yet";
            return Err(ApiError::new(ErrorCode::Unavailable, why).into());
        }
        Ok(self.fold().apply_map(&answer.cluster_id, members, tables, shards, now_unix_ms()))
    }

    /// Follows one node's reports for ever.
    async fn follow(self, node: NodeId, address: String) {
        let mut pause = BACKOFF.0;
        loop {
            match self.stream(node, &address).await {
                Ok(reports) if reports > 0 => pause = BACKOFF.0,
                Ok(_) => {}
                Err(error) => tracing::debug!(%node, %address, %error, "report stream"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// One subscription. Ends when the stream ends, falls silent, or has a gap: a report that was
    /// lost may have said that a replica is gone, so the picture starts anew with a full report.
    async fn stream(&self, node: NodeId, address: &str) -> Result<u64, Error> {
        let request = SubscribeReportsRequest { subscriber: self.name.to_string() };
        let mut client = self.nodes.client(address)?;
        let opened = tokio::time::timeout(ANSWER_WITHIN, client.subscribe_reports(request)).await;
        let silent = |_| ApiError::new(ErrorCode::DeadlineExceeded, "no stream in time");
        let mut stream = opened.map_err(silent)??.into_inner();
        let mut taken = 0;
        let mut last: Option<u64> = None;
        while let Ok(next) = tokio::time::timeout(SILENCE_MAX, stream.message()).await {
            let Some(frame) = next? else { break };
            let report: NodeReport =
                serde_json::from_slice(&frame.report_json).map_err(Error::document("a report"))?;
            if report.node_id != node {
                // Another node serves here now; its own subscription counts its reports.
                tracing::warn!(%node, other = %report.node_id, %address, "a report of another node");
                return Ok(0);
            }
            let sequence = report.sequence;
            let lost = last.map_or(0, |l| sequence.saturating_sub(l.saturating_add(1)));
            let out_of_order = last.is_some_and(|l| sequence <= l);
            if out_of_order || report.cluster_id.is_empty() {
                // A node that is still joining says nothing about any cluster.
                continue;
            }
            if self.fold().apply_report(report, now_unix_ms()) == Ingest::OtherCluster {
                tracing::error!(%node, %address, "reports of another cluster are ignored");
                return Ok(0);
            }
            taken += 1;
            last = Some(sequence);
            if lost > 0 {
                self.fold().add_gaps(lost);
                tracing::warn!(%node, lost, "reports were lost; subscribing anew");
                break;
            }
        }
        Ok(taken)
    }
}

/// A member as gossip shows it; one whose region cannot be read is left out.
fn member_info(member: Member) -> Option<MemberInfo> {
    Some(MemberInfo {
        node_id: NodeId(member.node_id),
        address: member.address,
        region: Region::new(member.region).ok()?,
        zone: member.zone,
        alive: member.alive,
        load: serde_json::from_slice(&member.load_json).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::fake_node::FakeNode;

    #[tokio::test]
    async fn only_the_node_asked_for_is_heard() {
        let node = FakeNode::start().await;
        let fold = Fold::new(String::new(), 0);
        let observer = Observer::new(fold, NodeConnections::default(), vec![], "test");
        let other = observer.stream(NodeId(7), &node.address).await.expect("somebody answers");
        assert_eq!((other, observer.fold().counts()), (0, (0, 0)));
    }
}
