//! Orders steps, as the controller would. Not for clusters with a controller: it would fence this.

use super::cluster::Cluster;
use isobar_api::{
    DirectiveId, NodeId, ShardEntry, ShardId, Term,
    directive::{Step, StepOrder},
    proto::{ExecuteStepRequest, node_client::NodeClient},
};
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::transport::Channel;

/// Makes a node the leader of every shard of a table; it must hold a voter of each.
pub async fn make_leader(cluster: &Cluster, table: &str, node: NodeId) {
    make_leader_of(cluster, table, node, None).await;
}

/// The same, of one shard or of all.
pub async fn make_leader_of(cluster: &Cluster, table: &str, node: NodeId, only: Option<ShardId>) {
    for _ in 0..10 {
        let mut shards = cluster.shards(table).await;
        shards.retain(|shard| only.is_none_or(|only| only == shard.shard_id));
        let elsewhere: Vec<_> = shards.iter().filter(|s| s.leader != Some(node)).collect();
        if elsewhere.is_empty() {
            return;
        }
        for entry in elsewhere {
            let said = order(cluster, entry, Step::TransferLeader { node }).await;
            if !said.contains("done") {
                println!("not yet: {said}");
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{node} does not become the leader of {table}");
}

/// Orders a step from the shard's leader; the last that it said.
pub async fn order(cluster: &Cluster, entry: &ShardEntry, step: Step) -> String {
    static DIRECTIVES: AtomicU64 = AtomicU64::new(1);
    let leader = entry.leader.expect("shards() waits for it");
    let order = StepOrder {
        directive_id: DirectiveId(DIRECTIVES.fetch_add(1, Ordering::Relaxed)),
        step_index: 0,
        controller_term: Term(1),
        cluster_id: cluster.client().await.cluster_id(),
        shard: entry.shard_id,
        expected_epoch: entry.epoch,
        step,
        expires_at_unix_ms: u64::MAX,
        reason: "a test".into(),
    };
    let channel =
        Channel::from_shared(format!("http://{}", cluster.address(leader))).expect("an address");
    let mut service = NodeClient::new(channel.connect_lazy());
    let order_json = serde_json::to_vec(&order).expect("plain data").into();
    let request = ExecuteStepRequest { order_json, traceparent: String::new() };
    let mut last = String::new();
    match service.execute_step(request).await {
        Ok(events) => {
            let mut events = events.into_inner();
            while let Ok(Some(frame)) = events.message().await {
                last = String::from_utf8_lossy(&frame.event_json).into_owned();
            }
        }
        Err(status) => last = status.message().to_owned(),
    }
    last
}
