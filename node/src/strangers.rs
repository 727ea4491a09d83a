//! A data directory that was put among the nodes of another cluster is noticed right after the start.

use crate::gossip::Gossip;
use isobar_api::{ApiError, ErrorCode};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a start is watched. Later a stranger is only ignored: nobody may stop a node that serves.
const WATCHED_FOR: Duration = Duration::from_secs(30);
/// How long only strangers must be seen, so that the own cluster has had time to be heard.
const SURE_AFTER: Duration = Duration::from_secs(2);

/// Returns only if all living nodes that are met are of another cluster than this directory.
pub(crate) async fn met_only_strangers(gossip: &Gossip, own_cluster: &str, dir: &Path) -> ApiError {
    let began = Instant::now();
    let mut since = None;
    // A node in no cluster yet belongs to nobody; with a friend in sight the strangers are the ones who are wrong.
    while !own_cluster.is_empty() && began.elapsed() < WATCHED_FOR && gossip.alive().len() == 1 {
        match gossip.strangers().first_key_value() {
            None => since = None,
            Some((node, theirs)) => {
                if since.get_or_insert_with(Instant::now).elapsed() >= SURE_AFTER {
                    let message = format!(
                        "{} belongs to cluster {own_cluster}, but {node} and all others met here belong to another \
                         cluster, {theirs}",
                        dir.display()
                    );
                    return ApiError::new(ErrorCode::ForeignDirectory, message);
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    std::future::pending().await
}
