//! One group's way to one of its other replicas, over the node's shared streams.

use super::{
    append_stream::{Appended, Outcome, pipelined},
    commit_hold::CommitHold,
    hearing::Hearing,
    types::{RaftNode, Snapshot, SnapshotMeta, TypeConfig, Vote, decode, encode},
};
use crate::{
    shard::ShardSnapshot,
    transport::{FrameKind, Message, Outgoing, Transport, TransportError},
};
use futures::{FutureExt, Stream};
use isobar_api::{NodeId, ShardId};
use openraft::{
    AnyError, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// A snapshot may take this long as a whole; its stall is watched by the directive that wanted it.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Called when a node turns out not to hold a replica that it should.
pub type OnUnknownReplica = Arc<dyn Fn(NodeId, u64) + Send + Sync>;

/// Makes the networks of one group.
pub struct GroupNetworks {
    /// The shard.
    pub shard: ShardId,
    /// Our replica.
    pub replica: u64,
    /// The streams.
    pub transport: Transport,
    /// What to do about a missing replica.
    pub on_unknown: OnUnknownReplica,
    /// What our replica hears of the others when it leads.
    pub hearing: Arc<Hearing>,
    /// The last index of the group's log here.
    pub appended: watch::Receiver<u64>,
}

impl RaftNetworkFactory<TypeConfig> for GroupNetworks {
    type Network = GroupNetwork;

    async fn new_client(&mut self, target: u64, node: &RaftNode) -> GroupNetwork {
        GroupNetwork {
            shard: self.shard,
            from: self.replica,
            to: target,
            node: NodeId(node.node_id),
            transport: self.transport.clone(),
            on_unknown: self.on_unknown.clone(),
            hearing: self.hearing.clone(),
            appended: self.appended.clone(),
        }
    }
}

/// One group's way to one replica.
pub struct GroupNetwork {
    shard: ShardId,
    from: u64,
    to: u64,
    node: NodeId,
    transport: Transport,
    on_unknown: OnUnknownReplica,
    hearing: Arc<Hearing>,
    appended: watch::Receiver<u64>,
}

impl GroupNetwork {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: FrameKind,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<TypeConfig>> {
        let message = Message {
            shard: self.shard,
            from_replica: self.from,
            to_replica: self.to,
            kind,
            payload: encode(request),
        };
        // The library's budget is a heartbeat interval; a link across the world needs its own way on top.
        let way = 2 * self.transport.members().one_way_delay_to(self.node);
        let answer = self.transport.call(self.node, message, option.soft_ttl() + way).await;
        let bytes = answer.map_err(|error| self.rpc_error(error))?;
        decode(&bytes).map_err(|why| RPCError::Network(NetworkError::new(&AnyError::new(&why))))
    }

    async fn ask_to_append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        option: &RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        if !self.hearing.may_ask() {
            let why = AnyError::error("no quorum answers; silent, so that the others elect");
            return Err(RPCError::Unreachable(Unreachable::new(&why)));
        }
        self.call(FrameKind::Append, request, option).await
    }

    /// One request of a stream.
    async fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        option: &RPCOption,
    ) -> Outcome {
        let before = request.prev_log_id;
        let last = request.entries.last().map_or(before, |entry| Some(entry.log_id));
        let answer = match self.ask_to_append(&request, option).await {
            Ok(answer) => answer,
            Err(error) => return (Err(error), false),
        };
        let (taken, full) = match answer {
            AppendEntriesResponse::Success => (Ok(last), true),
            AppendEntriesResponse::PartialSuccess(upto) => (Ok(upto), upto == last),
            AppendEntriesResponse::Conflict => match before {
                Some(before) => (Err(StreamAppendError::Conflict(before)), false),
                None => {
                    let why = AnyError::error("an empty log was said to conflict");
                    return (Err(RPCError::Network(NetworkError::new(&why))), false);
                }
            },
            AppendEntriesResponse::HigherVote(vote) => {
                (Err(StreamAppendError::HigherVote(vote)), false)
            }
        };
        (Ok(taken), full)
    }

    fn rpc_error(&self, error: TransportError) -> RPCError<TypeConfig> {
        match error {
            TransportError::UnknownReplica { node } => {
                (self.on_unknown)(node, self.to);
                RPCError::Unreachable(Unreachable::new(&AnyError::new(&error)))
            }
            TransportError::Unreachable { .. } => {
                RPCError::Unreachable(Unreachable::new(&AnyError::new(&error)))
            }
            _ => RPCError::Network(NetworkError::new(&AnyError::new(&error))),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for GroupNetwork {
    type SnapshotData = ShardSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_to_append(&request, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Appended>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let network = &*self;
        let send = move |request| {
            let option = option.clone();
            async move { network.append(request, &option).await }.boxed()
        };
        let hold = CommitHold::new(self.appended.clone());
        Box::pin(std::future::ready(Ok(pipelined(input, hold, send))))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(FrameKind::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(FrameKind::PreVote, &request, &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(FrameKind::TransferLeader, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let meta: SnapshotMeta = snapshot.meta;
        let ShardSnapshot::Local(view) = snapshot.snapshot else {
            let why = AnyError::error("only a view of our own state can be sent");
            return Err(StreamingError::Unreachable(Unreachable::new(&why)));
        };
        let outgoing =
            Outgoing { shard: self.shard, to_replica: self.to, vote, meta, snapshot: view };
        let sending = self.transport.send_snapshot(self.node, outgoing, SNAPSHOT_TIMEOUT);
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = sending => sent,
        };
        let bytes = sent.map_err(|error| match error {
            TransportError::Unreachable { .. } => {
                StreamingError::Unreachable(Unreachable::new(&AnyError::new(&error)))
            }
            _ => StreamingError::Network(NetworkError::new(&AnyError::new(&error))),
        })?;
        decode(&bytes)
            .map_err(|why| StreamingError::Network(NetworkError::new(&AnyError::new(&why))))
    }
}
