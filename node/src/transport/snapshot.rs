//! Sending a snapshot: header, hashed chunks, manifest.

use super::{Transport, TransportError};
use crate::{
    consensus::raft::types::{SnapshotMeta, Vote, encode},
    shard::{Cursor, LocalSnapshot},
};
use isobar_api::{
    NodeId, ShardId,
    proto::{SnapshotChunk, SnapshotFrame, SnapshotHeader, SnapshotManifest, snapshot_frame::Part},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

/// A snapshot on its way.
pub struct Outgoing {
    /// The shard.
    pub shard: ShardId,
    /// The receiving replica.
    pub to_replica: u64,
    /// The leader's vote.
    pub vote: Vote,
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The view.
    pub snapshot: Arc<LocalSnapshot>,
}

impl Transport {
    /// Sends a snapshot; answers with the receiving group's encoded response.
    pub async fn send_snapshot(
        &self,
        node: NodeId,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        if let Some(network) = &self.network {
            return network.send_snapshot(node, outgoing, timeout).await;
        }
        let unreachable = |why: String| TransportError::Unreachable { node, why };
        let mut client = self.peer(node).map_err(|e| unreachable(e.to_string()))?;
        let (frames, stream) = mpsc::channel(CHUNKS_AHEAD);
        let from = self.members.own().node_id;
        let reader = tokio::task::spawn_blocking(move || {
            outgoing.produce(from, &mut |frame| {
                frames.blocking_send(frame).map_err(|_| "the receiver stopped".to_owned())
            })
        });
        self.travel(node).await;
        let sent =
            tokio::time::timeout(timeout, client.install_snapshot(ReceiverStream::new(stream)));
        let reply = match sent.await {
            Err(_) => return Err(TransportError::Timeout { node }),
            Ok(Err(status)) => return Err(unreachable(status.message().to_owned())),
            Ok(Ok(reply)) => reply.into_inner(),
        };
        self.travel(node).await;
        // Before the reader's error: that is only that the receiver, which says why, has stopped listening.
        if !reply.error.is_empty() {
            return Err(TransportError::Failed { node, why: reply.error });
        }
        if let Err(why) = reader.await.unwrap_or_else(|why| Err(why.to_string())) {
            return Err(TransportError::Failed { node, why });
        }
        Ok(reply.payload.to_vec())
    }
}

impl Outgoing {
    /// Reads the view chunk by chunk and hands each frame to `send`, which may block; stops when it fails.
    pub fn produce(
        &self,
        from: NodeId,
        send: &mut dyn FnMut(SnapshotFrame) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut send = |part| send(SnapshotFrame { part: Some(part) });
        send(Part::Header(self.header(from)))?;
        let mut cursor = Cursor::default();
        let (mut chunks, mut bytes) = (0, 0);
        let mut root = blake3::Hasher::new();
        while let Some(data) = self.snapshot.next_chunk(&mut cursor).map_err(|e| e.to_string())? {
            let hash = blake3::hash(&data);
            root.update(hash.as_bytes());
            bytes += data.len() as u64;
            let hash = hash.as_bytes().to_vec().into();
            send(Part::Chunk(SnapshotChunk { index: chunks, data: data.into(), hash }))?;
            chunks += 1;
        }
        let root_hash = root.finalize().as_bytes().to_vec().into();
        send(Part::Manifest(SnapshotManifest { chunks, bytes, root_hash }))
    }

    fn header(&self, from: NodeId) -> SnapshotHeader {
        SnapshotHeader {
            shard_id: self.shard.0,
            from_node: from.0,
            to_replica: self.to_replica,
            vote: encode(&self.vote).into(),
            meta: encode(&self.meta).into(),
            snapshot_id: blake3::hash(&encode(&self.meta)).to_hex()[..16].to_owned(),
        }
    }
}
