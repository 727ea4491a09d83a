//! Bytes on the node's port that are no requests, and requests that are nonsense.

use crate::{
    check_rows, open_table, put_rows,
    support::{
        cluster::{Cluster, Plan},
        process::is_ready,
    },
    wait,
};
use bytes::{Buf, BufMut};
use isobar_api::{
    NodeId, limits,
    proto::{
        CreateTableRequest, EnsureReplicaRequest, RaftFrame, SnapshotFrame, SnapshotHeader,
        node_client::NodeClient, peer_client::PeerClient, snapshot_frame::Part,
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

const METHODS: [&str; 15] = [
    "Kv/Execute",
    "Node/GetShardMap",
    "Node/CreateTable",
    "Node/ListTables",
    "Node/GetStatus",
    "Node/SubscribeReports",
    "Node/ExecuteStep",
    "Node/AbortStep",
    "Peer/RaftStream",
    "Peer/InstallSnapshot",
    "Peer/EnsureReplica",
    "Peer/ReadIndex",
    "Peer/Merge",
    "Peer/RetireReplica",
    "Node/NoSuchMethod",
];

/// A codec that sends any bytes as a message.
#[derive(Clone, Default)]
struct AnyBytes;

impl Codec for AnyBytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AnyBytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for AnyBytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

fn noise(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let length = rng.random_range(0..=most);
    (0..length).map(|_| rng.random()).collect()
}

/// Sends bytes over a plain connection and takes what comes back, if anything.
fn shout(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the node accepts connections");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    // The node may hang up at any point.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 1_024]);
}

#[test]
fn garbage_on_the_port_stops_nothing() {
    let mut cluster = Cluster::start(Plan::nodes(&["eu"]));
    wait(async {
        cluster.create_table("orders", 1, &[]).await;
        put_rows(&open_table(&cluster).await, 0..10).await;
    });
    let address = cluster.address(NodeId(1));
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..60 {
        shout(address, &noise(&mut rng, 3_000));
    }
    shout(address, b"GET / HTTP/9.9\r\n\r\n");
    shout(address, b"GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n");
    shout(address, &[b"GET / HTTP/1.1\r\nX: ", &vec![b'a'; 2 << 20][..], b"\r\n\r\n"].concat());
    shout(
        address,
        b"POST /isobar.v1.Kv/Execute HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    );
    for _ in 0..60 {
        let frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &noise(&mut rng, 300)[..]].concat();
        shout(address, &frames);
    }
    // Connections that never say anything must not keep others out.
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(address).expect("accepted")).collect();
    let gossip = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..1_000 {
        gossip.send_to(&noise(&mut rng, 1_400), address).expect("sent");
    }
    assert_goes_on(&mut cluster);
    drop(silent);
}

fn assert_goes_on(cluster: &mut Cluster) {
    assert!(cluster.node(NodeId(1)).is_running(), "{}", cluster.node(NodeId(1)).said());
    assert!(is_ready(cluster.address(NodeId(1))));
    wait(async {
        let table = open_table(cluster).await;
        put_rows(&table, 10..15).await;
        check_rows(&table, 15).await;
    });
}

#[test]
fn malformed_calls_are_answered_with_errors_and_stop_nothing() {
    let mut cluster = Cluster::start(Plan::nodes(&["eu"]));
    wait(async {
        cluster.create_table("orders", 1, &[]).await;
        put_rows(&open_table(&cluster).await, 0..10).await;
        let channel = Channel::from_shared(format!("http://{}", cluster.address(NodeId(1))));
        let channel = channel.expect("an address").connect().await.expect("the node listens");
        call_with_noise(channel.clone()).await;
        call_with_nonsense(channel.clone()).await;
        let huge = vec![0; limits::MESSAGE_BYTES_MAX + 1];
        let refused = call(channel, "Kv/Execute", huge).await.expect_err("too large");
        assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    });
    assert_goes_on(&mut cluster);
}

async fn call(channel: Channel, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut service = Grpc::new(channel);
    service.ready().await.map_err(|why| Status::unavailable(why.to_string()))?;
    let path: PathAndQuery = format!("/isobar.v1.{method}").parse().expect("a path");
    let called = service.unary(Request::new(message), path, AnyBytes);
    // Streams that are right so far are left open by the node; half a second is enough of them.
    let answered = tokio::time::timeout(Duration::from_millis(500), called).await;
    answered.unwrap_or_else(|_| Err(Status::cancelled("a stream"))).map(tonic::Response::into_inner)
}

async fn call_with_noise(channel: Channel) {
    let mut rng = StdRng::seed_from_u64(11);
    let mut refused = 0;
    for round in 0..30 {
        for method in METHODS {
            if round > 0
                && matches!(method, "Node/SubscribeReports" | "Node/GetStatus" | "Node/ListTables")
            {
                continue; // they read nothing of what is sent
            }
            refused +=
                usize::from(call(channel.clone(), method, noise(&mut rng, 120)).await.is_err());
        }
    }
    assert!(refused > 200, "{refused} calls were refused");
}

/// Messages that can be read, with contents that cannot.
async fn call_with_nonsense(channel: Channel) {
    let mut rng = StdRng::seed_from_u64(13);
    let mut node = NodeClient::new(channel.clone());
    let mut peer = PeerClient::new(channel);
    for _ in 0..100 {
        let json = noise(&mut rng, 100);
        let asked = node.create_table(CreateTableRequest { spec_json: json.clone().into() }).await;
        let refused = asked.expect_err("no table");
        assert!(refused.message().contains("ISO-1001"), "{refused}");
        let ask = EnsureReplicaRequest {
            descriptor_json: json.into(),
            replica_id: rng.random(),
            from_node: rng.random(),
            cluster_id: "x".into(),
            first_replicas_json: noise(&mut rng, 20).into(),
        };
        peer.ensure_replica(ask).await.expect_err("no replica");
        let header = SnapshotHeader {
            shard_id: rng.random_range(0..4),
            from_node: 1,
            to_replica: rng.random_range(0..4),
            vote: unreadable(&mut rng),
            meta: unreadable(&mut rng),
            snapshot_id: "x".into(),
        };
        let frames = vec![SnapshotFrame { part: Some(Part::Header(header)) }];
        let reply = peer.install_snapshot(tokio_stream_of(frames)).await.expect("it is answered");
        assert!(reply.get_ref().error.starts_with("ISO-"), "{reply:?}");
    }
    let frames: Vec<RaftFrame> = (0..300)
        .map(|id| RaftFrame {
            id,
            shard_id: rng.random_range(0..4),
            from_replica: rng.random_range(0..4),
            to_replica: rng.random_range(0..4),
            kind: rng.random_range(0..10),
            payload: unreadable(&mut rng),
            from_node: rng.random_range(0..4),
        })
        .collect();
    let mut answers =
        peer.raft_stream(tokio_stream_of(frames)).await.expect("a stream").into_inner();
    // Each frame is answered by itself; that the stream ends is enough.
    while let Ok(Some(_)) = answers.message().await {}
}

/// Bytes that begin with a number too large to be one, so that they never happen to be a message that is right.
fn unreadable(rng: &mut StdRng) -> bytes::Bytes {
    [vec![0xff; 11], noise(rng, 60)].concat().into()
}

fn tokio_stream_of<T: Send + 'static>(
    items: Vec<T>,
) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::iter(items)
}
