//! The client: connects, finds tables, and passes questions about the cluster on.

use crate::{
    cache::decode,
    config::ClientConfig,
    core::Core,
    failure::Failure,
    link::node_service,
    refresh::{Source, describe, within},
    table::TableHandle,
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, ShardEntry, proto,
    report::{MemberInfo, NodeStatus},
    table::{TableInfo, TableSpec},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a node that just started may take to be found, between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A connection to a cluster. Cloning is cheap; all clones share cache, connections and client id.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cluster_id = self.core.cache.cluster_id();
        f.debug_struct("Client").field("cluster_id", &cluster_id).finish_non_exhaustive()
    }
}

impl Client {
    /// Fetches the shard map from any of the seeds; tries until the request timeout.
    pub async fn connect(config: ClientConfig) -> Result<Self, ApiError> {
        let core = Core::new(config)?;
        let deadline = core.deadline(None);
        loop {
            let Err(error) = core.refresh().await else {
                return Ok(Self { core });
            };
            let lasting =
                error.code != ErrorCode::Unreachable && error.code != ErrorCode::Unavailable;
            if lasting || Instant::now() + LOOK_AGAIN >= deadline {
                return Err(error);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// A handle of a table. Asks the cluster only if the table is not known yet.
    pub async fn table(&self, name: &str) -> Result<TableHandle, ApiError> {
        if self.core.cache.table(name).is_none() {
            self.core.refresh().await?;
        }
        if self.core.cache.table(name).is_none() {
            // A node's copy of the definitions may be a moment old, or not there yet after its start.
            // Asked for a table by name it looks again before it says no.
            let ask = proto::ShardMapRequest { table: name.into() };
            let map = self.ask_anyone(|channel| {
                let ask = ask.clone();
                async move { node_service(channel).get_shard_map(ask).await }
            });
            self.core.cache.absorb(map.await?)?;
        }
        let Some(info) = self.core.cache.table(name) else {
            let message = format!("there is no table `{name}`");
            return Err(ApiError::new(ErrorCode::NoSuchTable, message));
        };
        Ok(TableHandle::new(self.core.clone(), info))
    }

    /// Creates a table and waits until each of its shards has a leader. Creating an equal one again
    /// does nothing, so this is repeated safely when an answer is lost.
    pub async fn create_table(&self, spec: &TableSpec) -> Result<TableInfo, ApiError> {
        spec.validate()?;
        let spec_json = serde_json::to_vec(spec).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("the table's text: {error}"))
        })?;
        let request = proto::CreateTableRequest { spec_json: spec_json.into() };
        let response = self
            .ask_anyone(|channel| {
                let request = request.clone();
                async move { node_service(channel).create_table(request).await }
            })
            .await?;
        let info: TableInfo = decode("the table", &response.table_json)?;
        let info = self.core.cache.learn_table(info);
        self.core.refresh().await?;
        Ok((*info).clone())
    }

    /// All tables, in name order, as the cluster has them now.
    pub async fn list_tables(&self) -> Result<Vec<TableInfo>, ApiError> {
        let response = self
            .ask_anyone(|channel| async move {
                node_service(channel).list_tables(proto::ListTablesRequest {}).await
            })
            .await?;
        let tables: Vec<TableInfo> = decode("the list of tables", &response.tables_json)?;
        self.core.refresh().await?;
        for table in tables {
            self.core.cache.learn_table(table);
        }
        Ok(self.core.cache.tables())
    }

    /// All shards, in id order, as the cluster has them now: every healthy member is asked.
    pub async fn shard_map(&self) -> Result<Vec<ShardEntry>, ApiError> {
        self.core.refresh_from_all().await?;
        Ok(self.core.cache.shards())
    }

    /// All members, as gossip has them now.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, ApiError> {
        self.core.refresh().await?;
        Ok(self.core.cache.members())
    }

    /// What one node says of itself.
    pub async fn node_status(&self, node: NodeId) -> Result<NodeStatus, ApiError> {
        if self.core.cache.member(node, |_| ()).is_none() {
            self.core.refresh().await?;
        }
        let unknown =
            |_| ApiError::new(ErrorCode::InvalidArgument, format!("there is no node {node}"));
        let link = self.core.link(node).map_err(unknown)?;
        let name = format!("{node} ({})", link.address);
        let source = Source { name, node: Some(node), channel: link.channel() };
        let mut service = node_service(source.channel.clone());
        let call = service.get_status(proto::GetStatusRequest {});
        let response = within(self.core.deadline(None), call)
            .await
            .map_err(|failure| describe(&source, failure))?;
        decode("the node's status", &response.status_json)
    }

    /// Members as the cache has them, without asking anyone.
    pub fn cached_members(&self) -> Vec<MemberInfo> {
        self.core.cache.members()
    }

    /// The cluster's id; empty while it is not formed.
    pub fn cluster_id(&self) -> String {
        self.core.cache.cluster_id()
    }

    /// Asks members and seeds in turn until one answers or the request timeout passes. Only for
    /// questions that may be asked twice.
    async fn ask_anyone<T, F>(
        &self,
        ask: impl Fn(tonic::transport::Channel) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = self.core.deadline(None);
        let mut last = None;
        loop {
            for source in self.core.sources() {
                let failure = match within(deadline, ask(source.channel.clone())).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                };
                self.core.note_failure(&source, &failure);
                let retryable = failure.is_retryable();
                let error = match failure {
                    Failure::Answered(error) => error,
                    other => describe(&source, other),
                };
                if !retryable {
                    return Err(error);
                }
                last = Some(error);
            }
            if Instant::now() + 2 * LOOK_AGAIN >= deadline {
                let none = || ApiError::new(ErrorCode::Unreachable, "no node is known");
                return Err(last.unwrap_or_else(none));
            }
            sleep(2 * LOOK_AGAIN).await;
        }
    }
}
