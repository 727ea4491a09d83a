//! What one node asks of another, apart from how it gets there: gRPC streams in a cluster, messages with faults in the
//! simulator. Everything above [`Transport`] runs unchanged over either.

use super::{Message, Outgoing, Transport, TransportError};
use bytes::Bytes;
use isobar_api::{
    ApiError, ErrorCode, NodeId, limits,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, KvRequest, KvResult, MergeRequest,
        MergeResponse, ReadIndexRequest, ReadIndexResponse, RetireReplicaRequest,
        RetireReplicaResponse, kv_client::KvClient,
    },
};
use std::time::Duration;

/// Another way to the nodes than gRPC. Every call ends within its `timeout`, whatever becomes of its messages.
#[async_trait::async_trait]
pub trait PeerNetwork: Send + Sync {
    /// Carries a consensus message and its answer.
    async fn call(
        &self,
        node: NodeId,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, TransportError>;

    /// Carries a snapshot; answers with the receiving group's encoded response.
    async fn send_snapshot(
        &self,
        node: NodeId,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError>;

    /// Asks a node to hold a replica.
    async fn ensure_replica(
        &self,
        node: NodeId,
        request: EnsureReplicaRequest,
        timeout: Duration,
    ) -> Result<EnsureReplicaResponse, ApiError>;

    /// Asks the leader of a shard for a read index.
    async fn read_index(
        &self,
        node: NodeId,
        request: ReadIndexRequest,
        timeout: Duration,
    ) -> Result<ReadIndexResponse, ApiError>;

    /// Tells a node that its replica is removed.
    async fn retire_replica(
        &self,
        node: NodeId,
        request: RetireReplicaRequest,
        timeout: Duration,
    ) -> Result<RetireReplicaResponse, ApiError>;

    /// Asks a node for its part of a merge.
    async fn merge(
        &self,
        node: NodeId,
        request: MergeRequest,
        timeout: Duration,
    ) -> Result<MergeResponse, ApiError> {
        let _ = (node, request, timeout);
        Err(ApiError::new(ErrorCode::Unavailable, "this network carries no merges"))
    }

    /// Has a node execute a request as it does those of clients; its results, in the order of the items.
    async fn execute(
        &self,
        node: NodeId,
        request: KvRequest,
        timeout: Duration,
    ) -> Result<Vec<KvResult>, ApiError>;
}

impl Transport {
    /// Asks a node to hold a replica.
    pub async fn ensure_replica(
        &self,
        node: NodeId,
        request: EnsureReplicaRequest,
        timeout: Duration,
    ) -> Result<EnsureReplicaResponse, ApiError> {
        if let Some(network) = &self.network {
            return network.ensure_replica(node, request, timeout).await;
        }
        let mut peer = self.peer(node)?;
        self.delayed(node, timeout, peer.ensure_replica(request)).await
    }

    /// Asks the leader of a shard for a read index.
    pub async fn read_index(
        &self,
        node: NodeId,
        request: ReadIndexRequest,
        timeout: Duration,
    ) -> Result<ReadIndexResponse, ApiError> {
        if let Some(network) = &self.network {
            return network.read_index(node, request, timeout).await;
        }
        let mut peer = self.peer(node)?;
        self.delayed(node, timeout, peer.read_index(request)).await
    }

    /// Tells a node that its replica is removed.
    pub async fn retire_replica(
        &self,
        node: NodeId,
        request: RetireReplicaRequest,
        timeout: Duration,
    ) -> Result<RetireReplicaResponse, ApiError> {
        if let Some(network) = &self.network {
            return network.retire_replica(node, request, timeout).await;
        }
        let mut peer = self.peer(node)?;
        self.delayed(node, timeout, peer.retire_replica(request)).await
    }

    /// Asks a node for its part of a merge.
    pub async fn merge(
        &self,
        node: NodeId,
        request: MergeRequest,
        timeout: Duration,
    ) -> Result<MergeResponse, ApiError> {
        if let Some(network) = &self.network {
            return network.merge(node, request, timeout).await;
        }
        let mut peer = self.peer(node)?;
        self.delayed(node, timeout, peer.merge(request)).await
    }

    /// Has a node execute a request of one item, as it does those of clients.
    pub async fn execute(
        &self,
        node: NodeId,
        request: KvRequest,
        timeout: Duration,
    ) -> Result<Vec<KvResult>, ApiError> {
        debug_assert_eq!(request.items.len(), 1, "the first message has all results of one item");
        if let Some(network) = &self.network {
            return network.execute(node, request, timeout).await;
        }
        let client = KvClient::new(self.channel(node)?);
        let mut client = client.max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let call = async {
            let mut answers = client.execute(request).await?.into_inner();
            Ok(tonic::Response::new(answers.message().await?.unwrap_or_default()))
        };
        Ok(self.delayed(node, timeout, call).await?.results)
    }

    /// Runs a unary call to a node with a time limit and the emulated delay of both ways.
    async fn delayed<T>(
        &self,
        node: NodeId,
        timeout: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, ApiError> {
        self.travel(node).await;
        let answer = tokio::time::timeout(timeout, call).await;
        self.travel(node).await;
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(ApiError::from_status(&status)),
            Err(_) => Err(ApiError::new(
                ErrorCode::DeadlineExceeded,
                format!("{node} did not answer in time"),
            )),
        }
    }
}
