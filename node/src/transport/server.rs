//! The receiving side of node-to-node traffic.

use super::FrameKind;
use crate::{
    catalog::ClusterAdmission,
    consensus::raft::types::{Raft, Snapshot, SnapshotMeta, Vote, decode, encode},
    members::Members,
    registry::Registry,
    replica::error_chain,
    shard::{Seed, ShardSnapshot, Staging},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, ReplicaId, ShardDescriptor, ShardId,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, RaftFrame, ReadIndexRequest,
        ReadIndexResponse, RetireReplicaRequest, RetireReplicaResponse, SnapshotFrame,
        SnapshotReply, peer_server::Peer, snapshot_frame::Part,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Answers that may wait for a slow peer before its requests wait too.
const ANSWERS_MAX: usize = 4_096;

/// Serves other nodes.
#[derive(Clone)]
pub struct PeerServer {
    registry: Registry,
    members: Members,
    admission: ClusterAdmission,
    disk_reserve_bytes: u64,
}

impl PeerServer {
    /// A server over the node's replicas.
    pub fn new(
        registry: Registry,
        members: Members,
        admission: ClusterAdmission,
        disk_reserve_bytes: u64,
    ) -> Self {
        Self { registry, members, admission, disk_reserve_bytes }
    }

    async fn answer(&self, frame: RaftFrame) -> RaftFrame {
        let (kind, payload) = match self.dispatch(&frame).await {
            Ok(payload) => (FrameKind::Answer, payload),
            Err(Unanswered::UnknownReplica) => (FrameKind::UnknownReplica, Vec::new()),
            Err(Unanswered::Failed(why)) => (FrameKind::Failed, why.into_bytes()),
        };
        RaftFrame {
            id: frame.id,
            shard_id: frame.shard_id,
            from_replica: frame.to_replica,
            to_replica: frame.from_replica,
            kind: kind as u32,
            payload: payload.into(),
            from_node: self.members.own().node_id.0,
        }
    }

    async fn dispatch(&self, frame: &RaftFrame) -> Result<Vec<u8>, Unanswered> {
        let replica = self.registry.get(ShardId(frame.shard_id));
        let replica = replica.filter(|r| r.replica_id.0 == frame.to_replica);
        let replica = replica.ok_or(Unanswered::UnknownReplica)?;
        replica.check_running().map_err(|error| Unanswered::Failed(error.to_string()))?;
        handle(&replica.raft, frame).await
    }

    async fn receive_snapshot(
        &self,
        mut frames: Streaming<SnapshotFrame>,
    ) -> Result<SnapshotReply, ApiError> {
        let malformed = |what: &str| ApiError::new(ErrorCode::InvalidArgument, what.to_owned());
        let broken =
            |status: Status| ApiError::new(ErrorCode::Unreachable, status.message().to_owned());
        let first = frames.next().await.transpose().map_err(broken)?;
        let Some(SnapshotFrame { part: Some(Part::Header(header)) }) = first else {
            return Err(malformed("a snapshot begins with its header"));
        };
        let vote: Vote = decode(&header.vote).map_err(|_| malformed("vote"))?;
        let meta: SnapshotMeta = decode(&header.meta).map_err(|_| malformed("snapshot meta"))?;
        let shard = ShardId(header.shard_id);
        let replica = self.registry.get(shard).filter(|r| r.replica_id.0 == header.to_replica);
        let replica = replica.ok_or_else(|| {
            ApiError::new(ErrorCode::ShardNotHere, format!("{shard} has no such replica here"))
        })?;
        let engine = self.registry.state_engine().clone();
        let mut staging = Staging::begin(engine, shard);
        let staged = loop {
            match frames.next().await.transpose().map_err(broken)?.and_then(|f| f.part) {
                Some(Part::Chunk(chunk)) => {
                    staging.add(chunk.index, &chunk.data, &chunk.hash)?;
                }
                Some(Part::Manifest(m)) => {
                    let finished = tokio::task::spawn_blocking(move || {
                        staging.finish(m.chunks, m.bytes, &m.root_hash)
                    });
                    break finished.await.map_err(|_| malformed("staging stopped"))??;
                }
                Some(Part::Header(_)) | None => {
                    return Err(malformed("a snapshot ends with its manifest"));
                }
            }
        };
        let snapshot = Snapshot { meta, snapshot: ShardSnapshot::Staged(staged) };
        let installed = replica.raft.install_full_snapshot(vote, snapshot).await;
        let response =
            installed.map_err(|e| replica.error(ErrorCode::StorageFailed, error_chain(&e)))?;
        Ok(SnapshotReply { payload: encode(&response).into(), error: String::new() })
    }

    fn check_room(&self, descriptor: &ShardDescriptor) -> Result<(), ApiError> {
        let own = self.members.own();
        if !descriptor.rule.allows(&own.region) {
            let message =
                format!("{} is not an allowed region of {}", own.region, descriptor.shard_id);
            return Err(ApiError::new(ErrorCode::Refused, message));
        }
        let free = self.registry.disk_free_bytes();
        if free < self.disk_reserve_bytes {
            let message =
                format!("{free} bytes are free, {} are kept in reserve", self.disk_reserve_bytes);
            return Err(ApiError::new(ErrorCode::DiskFull, message));
        }
        Ok(())
    }
}

enum Unanswered {
    UnknownReplica,
    Failed(String),
}

async fn handle(raft: &Raft, frame: &RaftFrame) -> Result<Vec<u8>, Unanswered> {
    let failed = |why: &dyn std::error::Error| Unanswered::Failed(error_chain(why));
    macro_rules! serve {
        ($call:ident) => {{
            let request = decode(&frame.payload).map_err(|why| failed(&why))?;
            let answer = raft.$call(request).await.map_err(|why| failed(&why))?;
            Ok(encode(&answer))
        }};
    }
    match FrameKind::from_wire(frame.kind) {
        Some(FrameKind::Append) => serve!(append_entries),
        Some(FrameKind::Vote) => serve!(vote),
        Some(FrameKind::PreVote) => serve!(pre_vote),
        Some(FrameKind::TransferLeader) => serve!(handle_transfer_leader),
        _ => Err(Unanswered::Failed(format!("frame kind {} is unknown", frame.kind))),
    }
}

#[tonic::async_trait]
impl Peer for PeerServer {
    type RaftStreamStream = ReceiverStream<Result<RaftFrame, Status>>;

    async fn raft_stream(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<Self::RaftStreamStream>, Status> {
        let mut frames = request.into_inner();
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let server = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                let (server, answers) = (server.clone(), answers.clone());
                // Each group waits only for itself.
                tokio::spawn(async move {
                    let answer = server.answer(frame).await;
                    let _ = answers.send(Ok(answer)).await;
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotFrame>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        let reply = self.receive_snapshot(request.into_inner()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "snapshot not taken");
            SnapshotReply { payload: Default::default(), error: error.to_string() }
        });
        Ok(Response::new(reply))
    }

    async fn ensure_replica(
        &self,
        request: Request<EnsureReplicaRequest>,
    ) -> Result<Response<EnsureReplicaResponse>, Status> {
        let request = request.into_inner();
        let descriptor: ShardDescriptor = serde_json::from_slice(&request.descriptor_json)
            .map_err(|why| {
                ApiError::new(ErrorCode::InvalidArgument, format!("descriptor: {why}"))
            })?;
        descriptor.rule.validate()?;
        self.check_room(&descriptor)?;
        self.admission.admit(&request.cluster_id)?;
        let replica = ReplicaId(request.replica_id);
        let created = if request.first_replicas_json.is_empty() {
            self.registry.create_empty(&descriptor, replica).await?
        } else {
            let replicas = serde_json::from_slice(&request.first_replicas_json).map_err(|why| {
                ApiError::new(ErrorCode::InvalidArgument, format!("first replicas: {why}"))
            })?;
            let seed = Seed { descriptor: descriptor.clone(), replicas };
            let created = self.registry.create_seeded(&seed, replica).await?;
            self.registry.elect_if_first(&seed, replica).await;
            created
        };
        if created {
            let from = NodeId(request.from_node);
            tracing::info!(shard = %descriptor.shard_id, %replica, %from, "replica created");
        }
        Ok(Response::new(EnsureReplicaResponse { created }))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        let request = request.into_inner();
        let shard = ShardId(request.shard_id);
        let replica = self.registry.get(shard).ok_or_else(|| {
            ApiError::new(ErrorCode::ShardNotHere, format!("{shard} has no replica here"))
        })?;
        let index = replica.leader_barrier().await?;
        let member =
            replica.state.replicas().iter().any(|r| r.replica_id.0 == request.from_replica);
        if !member {
            let message = format!("r{} is not a replica of the shard", request.from_replica);
            return Err(replica.error(ErrorCode::Refused, message).into());
        }
        Ok(Response::new(ReadIndexResponse { payload: encode(&index).into() }))
    }

    async fn retire_replica(
        &self,
        request: Request<RetireReplicaRequest>,
    ) -> Result<Response<RetireReplicaResponse>, Status> {
        let request = request.into_inner();
        let (shard, replica) = (ShardId(request.shard_id), ReplicaId(request.replica_id));
        let retired =
            self.registry.retire_if_removed(shard, replica, NodeId(request.from_node)).await?;
        Ok(Response::new(RetireReplicaResponse { retired }))
    }
}
