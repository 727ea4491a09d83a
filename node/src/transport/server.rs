//! The receiving side of node-to-node traffic.

use super::FrameKind;
use crate::{
    catalog::ClusterAdmission,
    consensus::raft::types::{Raft, Snapshot, SnapshotMeta, Vote, decode, encode},
    engine::offload,
    gossip::ShardHints,
    members::Members,
    merge::{MergeCall, Merges},
    quiesce,
    registry::Registry,
    replica::error_chain,
    shard::{Seed, ShardSnapshot, Staging},
};
use isobar_api::{
    ApiError, ErrorCode, NodeId, ReplicaId, ShardDescriptor, ShardId,
    proto::{
        EnsureReplicaRequest, EnsureReplicaResponse, MergeRequest, MergeResponse, RaftFrame,
        ReadIndexRequest, ReadIndexResponse, RetireReplicaRequest, RetireReplicaResponse,
        SnapshotFrame, SnapshotReply, peer_server::Peer, snapshot_frame::Part,
    },
};
use std::{sync::Arc, task::Poll, time::Duration};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Answers that may wait for a slow peer before its requests wait too.
const ANSWERS_MAX: usize = 4_096;
/// Frames of one stream that are worked on at once, by the size of what they carry.
const UNDER_WAY_KIB_MAX: usize = 64 * 1024;
/// The smallest frame counts as much.
const FRAME_KIB_MIN: usize = 16;
/// Senders wait a few heartbeats for an answer. A group that takes longer must not fill the stream for all others.
const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// A sender of a snapshot that is silent for so long is gone.
const CHUNK_WITHIN: Duration = Duration::from_secs(60);

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

    /// Has the group that a frame is for do what it asks; the frame of the answer.
    pub async fn answer(&self, frame: RaftFrame) -> RaftFrame {
        let done = tokio::time::timeout(FRAME_WITHIN, self.dispatch(&frame)).await;
        let late = |_| Err(Unanswered::Failed("the group did not answer in time".into()));
        let (kind, payload) = match done.unwrap_or_else(late) {
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
        let kind = FrameKind::from_wire(frame.kind);
        if let Some(answer) = quiesce::answer_node(&self.registry, kind, &frame.payload) {
            return answer.map_err(Unanswered::Failed);
        }
        let replica = self.registry.get(ShardId(frame.shard_id));
        let replica = replica.filter(|r| r.replica_id.0 == frame.to_replica);
        let replica = replica.ok_or(Unanswered::UnknownReplica)?;
        replica.check_running().map_err(|error| Unanswered::Failed(error.to_string()))?;
        if kind == Some(FrameKind::Rouse) {
            return Ok(quiesce::answer_rouse(&replica).await);
        }
        let handled = handle(&replica.raft, frame);
        quiesce::waking(&replica, kind, frame.from_replica, handled).await
    }

    /// Takes a snapshot frame by frame, verifies it and installs it; answers with the group's encoded response, or why
    /// it was not taken.
    pub async fn take_snapshot(
        &self,
        frames: impl Stream<Item = Result<SnapshotFrame, Status>> + Send,
    ) -> SnapshotReply {
        self.receive_snapshot(frames).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "snapshot not taken");
            SnapshotReply { payload: Default::default(), error: error.to_string() }
        })
    }

    async fn receive_snapshot(
        &self,
        frames: impl Stream<Item = Result<SnapshotFrame, Status>> + Send,
    ) -> Result<SnapshotReply, ApiError> {
        let mut frames = std::pin::pin!(frames);
        let malformed = |what: &str| ApiError::new(ErrorCode::InvalidArgument, what.to_owned());
        let first = next_part(&mut frames).await?;
        let Some(Part::Header(header)) = first else {
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
        let mut staging = Staging::begin(engine.clone(), shard);
        let staged = loop {
            match next_part(&mut frames).await? {
                Some(Part::Chunk(chunk)) => {
                    staging.add(chunk.index, &chunk.data, &chunk.hash)?;
                }
                Some(Part::Manifest(m)) => {
                    let finish = move || staging.finish(m.chunks, m.bytes, &m.root_hash);
                    break offload(&engine, finish)
                        .await
                        .map_err(|_| malformed("staging stopped"))??;
                }
                Some(Part::Header(_)) | None => {
                    return Err(malformed("a snapshot ends with its manifest"));
                }
            }
        };
        // Keys of another replica here must not be replaced, unless that one is part of this shard by now.
        self.registry.check_unheld(&staged.header().descriptor, &staged.header().subsumed)?;
        let snapshot = Snapshot { meta, snapshot: ShardSnapshot::Staged(staged) };
        let installing = replica.raft.install_full_snapshot(vote, snapshot);
        let installed = quiesce::waking(&replica, None, 0, installing).await;
        let response =
            installed.map_err(|e| replica.error(ErrorCode::StorageFailed, error_chain(&e)))?;
        Ok(SnapshotReply { payload: encode(&response).into(), error: String::new() })
    }

    /// Makes a replica here, if the rules of its shard, the disk and the cluster allow it.
    pub async fn hold_replica(
        &self,
        request: EnsureReplicaRequest,
    ) -> Result<EnsureReplicaResponse, ApiError> {
        let malformed = |what: &str, why: serde_json::Error| {
            ApiError::new(ErrorCode::InvalidArgument, format!("{what}: {why}"))
        };
        let descriptor: ShardDescriptor = serde_json::from_slice(&request.descriptor_json)
            .map_err(|why| malformed("descriptor", why))?;
        descriptor.rule.validate()?;
        self.check_room(&descriptor)?;
        self.admission.admit(&request.cluster_id)?;
        let replica = ReplicaId(request.replica_id);
        let created = if request.first_replicas_json.is_empty() {
            self.registry.create_empty(&descriptor, replica).await?
        } else {
            let replicas = serde_json::from_slice(&request.first_replicas_json)
                .map_err(|why| malformed("first replicas", why))?;
            let seed = Seed { descriptor: descriptor.clone(), replicas };
            let created = self.registry.create_seeded(&seed, replica).await?;
            self.registry.elect_if_first(&seed, replica).await;
            created
        };
        if created {
            let from = NodeId(request.from_node);
            tracing::info!(shard = %descriptor.shard_id, %replica, %from, "replica created");
        }
        Ok(EnsureReplicaResponse { created })
    }

    /// Confirms that this node leads a shard; the index that a follower must have applied for a read.
    pub async fn confirm_read(
        &self,
        request: ReadIndexRequest,
    ) -> Result<ReadIndexResponse, ApiError> {
        let shard = ShardId(request.shard_id);
        let replica = self.registry.get(shard).ok_or_else(|| {
            ApiError::new(ErrorCode::ShardNotHere, format!("{shard} has no replica here"))
        })?;
        let index = replica.leader_barrier().await?;
        // The survivor may have these keys already; and who was removed keeps what the survivor takes over.
        replica.check_unfrozen()?;
        let member =
            replica.state.replicas().iter().any(|r| r.replica_id.0 == request.from_replica);
        if !member {
            let message = format!("r{} is not a replica of the shard", request.from_replica);
            return Err(replica.error(ErrorCode::Refused, message));
        }
        Ok(ReadIndexResponse { payload: encode(&index).into() })
    }

    /// Deletes a replica here, if its shard's leader confirms that it was removed.
    pub async fn drop_replica(
        &self,
        request: RetireReplicaRequest,
    ) -> Result<RetireReplicaResponse, ApiError> {
        let (shard, replica) = (ShardId(request.shard_id), ReplicaId(request.replica_id));
        let from = NodeId(request.from_node);
        let retired = self.registry.retire_if_removed(shard, replica, from).await?;
        Ok(RetireReplicaResponse { retired })
    }

    /// This node's part of a merge.
    pub async fn take_part_in_merge(
        &self,
        request: MergeRequest,
    ) -> Result<MergeResponse, ApiError> {
        let call: MergeCall = serde_json::from_slice(&request.call_json).map_err(|why| {
            ApiError::new(ErrorCode::InvalidArgument, format!("merge call: {why}"))
        })?;
        let answer = Merges::new(self.registry.clone(), ShardHints::default()).answer(call).await?;
        let answer_json = serde_json::to_vec(&answer).expect("plain data always encodes").into();
        Ok(MergeResponse { answer_json })
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

/// Answers each frame as soon as it is done: a group waits only for itself. While too much is under way no more is read,
/// and the sender's queue fills instead.
async fn answer_frames<F: Future<Output = RaftFrame> + Send + 'static>(
    frames: impl Stream<Item = RaftFrame>,
    answers: mpsc::Sender<Result<RaftFrame, Status>>,
    answer: impl Fn(RaftFrame) -> F,
) {
    let room = Arc::new(Semaphore::new(UNDER_WAY_KIB_MAX));
    let mut frames = std::pin::pin!(frames);
    while let Some(frame) = frames.next().await {
        let kib = (frame.payload.len() / 1024).clamp(FRAME_KIB_MIN, UNDER_WAY_KIB_MAX);
        let taken = room.clone().acquire_many_owned(kib as u32).await;
        let taken = taken.expect("nobody closes it");
        let (mut working, answers) = (Box::pin(answer(frame)), answers.clone());
        // Begun here, so that a group gets its frames in the order in which they came.
        if let Poll::Ready(answer) = futures::poll!(&mut working) {
            // An error means that the sender has gone.
            let _ = answers.send(Ok(answer)).await;
            continue;
        }
        tokio::spawn(async move {
            let answer = working.await;
            // An error means that the sender has gone.
            let _ = answers.send(Ok(answer)).await;
            drop(taken);
        });
    }
}

async fn next_part(
    frames: &mut (impl Stream<Item = Result<SnapshotFrame, Status>> + Unpin),
) -> Result<Option<Part>, ApiError> {
    let broken = |why: &str| ApiError::new(ErrorCode::Unreachable, why.to_owned());
    match tokio::time::timeout(CHUNK_WITHIN, frames.next()).await {
        Ok(Some(Ok(frame))) => Ok(frame.part),
        Ok(Some(Err(status))) => Err(broken(status.message())),
        Ok(None) => Ok(None),
        Err(_) => Err(broken("the sender of the snapshot fell silent")),
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
        let frames = request.into_inner().map_while(Result::ok);
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let server = self.clone();
        tokio::spawn(answer_frames(frames, answers, move |frame| {
            let server = server.clone();
            async move { server.answer(frame).await }
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotFrame>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        Ok(Response::new(self.take_snapshot(request.into_inner()).await))
    }

    async fn ensure_replica(
        &self,
        request: Request<EnsureReplicaRequest>,
    ) -> Result<Response<EnsureReplicaResponse>, Status> {
        Ok(Response::new(self.hold_replica(request.into_inner()).await?))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        Ok(Response::new(self.confirm_read(request.into_inner()).await?))
    }

    async fn merge(
        &self,
        request: Request<MergeRequest>,
    ) -> Result<Response<MergeResponse>, Status> {
        Ok(Response::new(self.take_part_in_merge(request.into_inner()).await?))
    }

    async fn retire_replica(
        &self,
        request: Request<RetireReplicaRequest>,
    ) -> Result<Response<RetireReplicaResponse>, Status> {
        Ok(Response::new(self.drop_replica(request.into_inner()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u64, payload_bytes: usize) -> RaftFrame {
        RaftFrame { id, payload: vec![0; payload_bytes].into(), ..RaftFrame::default() }
    }

    /// How many of these frames are begun while no group answers.
    async fn begun(frames: u64, payload_bytes: usize) -> usize {
        let (begin, mut begun) = mpsc::channel(frames as usize);
        let frames = tokio_stream::iter((0..frames).map(move |id| frame(id, payload_bytes)));
        let (answers, _stream) = mpsc::channel(1);
        let serving = tokio::spawn(answer_frames(frames, answers, move |frame| {
            begin.try_send(frame.id).expect("there is room");
            std::future::pending()
        }));
        let mut count = 0;
        while tokio::time::timeout(Duration::from_millis(100), begun.recv()).await.is_ok() {
            count += 1;
        }
        assert!(!serving.is_finished(), "the rest waits");
        serving.abort();
        count
    }

    #[tokio::test]
    async fn frames_that_nobody_answers_are_bounded_in_number_and_bytes() {
        assert_eq!(begun(5_000, 0).await, UNDER_WAY_KIB_MAX / FRAME_KIB_MIN);
        assert_eq!(begun(6, 16 << 20).await, 4);
    }

    #[tokio::test]
    async fn a_group_that_stalls_holds_up_no_other_and_room_comes_back() {
        let frames = tokio_stream::iter((0..10_000).map(|id| frame(id, 0)));
        let (answers, mut stream) = mpsc::channel(16);
        tokio::spawn(answer_frames(frames, answers, |frame| async move {
            if frame.id == 0 {
                std::future::pending::<()>().await;
            }
            frame
        }));
        for _ in 1..10_000 {
            let answer = tokio::time::timeout(Duration::from_secs(30), stream.recv()).await;
            let answer = answer.expect("in time").expect("the stream goes on").expect("a frame");
            assert_ne!(answer.id, 0);
        }
    }
}
