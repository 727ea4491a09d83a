//! A network between nodes that can be cut, one way or both, and made slow. It needs no privilege.
//!
//! Each node advertises an address of this network, so whatever is for it, requests over TCP and gossip over UDP, comes
//! here first and is passed on. Who sends is known: a datagram comes from the address that the node listens on, and of a
//! connection the kernel says whose process opened it. What is not a node (clients, the controller) passes always.
//!
//! A cut way passes nothing. What was sent stays in the connection, as with a real network whose sender repeats, and
//! arrives late once the way is open again; datagrams are lost. A new connection is taken and stays silent.

use super::owner::node_behind;
use isobar_api::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket, tcp},
    runtime::Runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Pieces under way on one way of one connection; beyond, the sender waits.
const PIECES: usize = 256;
const PIECE_BYTES: usize = 32 << 10;

/// A way that messages go: from a node to another.
pub type Way = (NodeId, NodeId);

/// What holds now.
#[derive(Clone, Debug, Default)]
struct Rules {
    cut: BTreeSet<Way>,
    delay: Duration,
}

/// The network; gone when dropped.
pub struct Network {
    rules: watch::Sender<Rules>,
    advertised: Vec<SocketAddr>,
    inner: Option<(Arc<Inner>, Runtime)>,
}

/// What the tasks share.
struct Inner {
    folder: PathBuf,
    rules: watch::Receiver<Rules>,
    /// Where each node listens.
    nodes: BTreeMap<NodeId, SocketAddr>,
    /// For each way `(from, to)` the socket that shows itself to `to` in the place of `from`.
    faces: BTreeMap<Way, UdpSocket>,
}

impl Network {
    /// A network whose nodes advertise these addresses, `n1` the first. Nothing passes before [`Network::run`].
    pub fn new(advertised: Vec<SocketAddr>) -> Self {
        Self { rules: watch::Sender::default(), advertised, inner: None }
    }

    /// What the nodes advertise.
    pub fn advertised(&self) -> &[SocketAddr] {
        &self.advertised
    }

    /// Begins to pass on to nodes that listen there and whose configuration lies in `folder`.
    pub fn run(&mut self, folder: PathBuf, listen: &[SocketAddr]) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let nodes: BTreeMap<NodeId, SocketAddr> =
            (1..).map(NodeId).zip(listen.iter().copied()).collect();
        let rules = self.rules.subscribe();
        let inner = runtime.block_on(async {
            let mut faces = BTreeMap::new();
            for from in nodes.keys() {
                for to in nodes.keys().filter(|to| *to != from) {
                    let face = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
                    faces.insert((*from, *to), face);
                }
            }
            let inner = Arc::new(Inner { folder, rules, nodes, faces });
            for (node, advertised) in inner.nodes.keys().zip(&self.advertised) {
                let listener = TcpListener::bind(advertised).await.expect("the address is free");
                tokio::spawn(inner.clone().accept(*node, *advertised, listener));
                let socket = UdpSocket::bind(advertised).await.expect("the address is free");
                tokio::spawn(inner.clone().datagrams_for(*node, socket));
            }
            for way in inner.faces.keys() {
                tokio::spawn(inner.clone().answers(*way));
            }
            inner
        });
        self.inner = Some((inner, runtime));
    }

    /// Cuts some ways.
    pub fn cut(&self, ways: impl IntoIterator<Item = Way>) {
        self.rules.send_modify(|rules| rules.cut.extend(ways));
    }

    /// Cuts a node off from all others: what it says, what it hears, or both.
    pub fn isolate(&self, node: NodeId, says: bool, hears: bool) {
        let others: Vec<NodeId> =
            (1..=self.advertised.len() as u64).map(NodeId).filter(|n| *n != node).collect();
        self.cut(others.iter().map(|other| (node, *other)).filter(|_| says));
        self.cut(others.iter().map(|other| (*other, node)).filter(|_| hears));
    }

    /// Opens every way.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| rules.cut.clear());
    }

    /// Everything takes so long from now on, each way.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }
}

impl Inner {
    async fn accept(self: Arc<Self>, to: NodeId, advertised: SocketAddr, listener: TcpListener) {
        loop {
            let Ok((stream, opener)) = listener.accept().await else { continue };
            let inner = self.clone();
            tokio::spawn(async move {
                // Reads files of /proc: not on the thread that passes messages on.
                let looking = {
                    let inner = inner.clone();
                    move || node_behind(&inner.folder, opener, advertised)
                };
                let from = tokio::task::spawn_blocking(looking).await.expect("it does not panic");
                inner.connection(from, to, stream).await;
            });
        }
    }

    /// Passes a connection on, both ways.
    async fn connection(&self, from: Option<NodeId>, to: NodeId, stream: TcpStream) {
        let passes = |way: Option<Way>| Passes { way, rules: self.rules.clone() };
        let mut out = passes(from.map(|from| (from, to)));
        // The three steps of a handshake need both ways.
        let mut back = passes(from.map(|from| (to, from)));
        out.open().await;
        back.open().await;
        let Ok(onward) = TcpStream::connect(self.nodes[&to]).await else { return };
        let (Ok(()), Ok(())) = (stream.set_nodelay(true), onward.set_nodelay(true)) else { return };
        let ((from_read, from_write), (to_read, to_write)) =
            (stream.into_split(), onward.into_split());
        tokio::join!(out.pass(from_read, to_write), back.pass(to_read, from_write));
    }

    /// What nodes send to the advertised address of `to`.
    async fn datagrams_for(self: Arc<Self>, to: NodeId, socket: UdpSocket) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let Ok((length, source)) = socket.recv_from(&mut bytes).await else { continue };
            let from = self.nodes.iter().find(|(_, address)| **address == source);
            if let Some((from, _)) = from {
                self.datagram((*from, to), &bytes[..length]).await;
            }
        }
    }

    /// What comes back to the socket that stands for `from`: `to` answers it.
    async fn answers(self: Arc<Self>, (from, to): Way) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let Ok((length, _)) = self.faces[&(from, to)].recv_from(&mut bytes).await else {
                continue;
            };
            self.datagram((to, from), &bytes[..length]).await;
        }
    }

    async fn datagram(self: &Arc<Self>, way: Way, bytes: &[u8]) {
        let (delay, cut) = {
            let rules = self.rules.borrow();
            (rules.delay, rules.cut.contains(&way))
        };
        // A node whose own address is among its seeds speaks to itself too.
        if cut || way.0 == way.1 {
            return;
        }
        let (inner, bytes) = (self.clone(), bytes.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // Nobody listens while a node is down.
            let _ = inner.faces[&way].send_to(&bytes, inner.nodes[&way.1]).await;
        });
    }
}

/// One way of one connection.
struct Passes {
    /// None: not between nodes.
    way: Option<Way>,
    rules: watch::Receiver<Rules>,
}

impl Passes {
    /// Waits until the way is open.
    async fn open(&mut self) {
        let Some(way) = self.way else { return };
        // An error means that the network is gone.
        let _ = self.rules.wait_for(|rules| !rules.cut.contains(&way)).await;
    }

    /// Passes everything on, and the end too.
    async fn pass(mut self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
        let (send, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
        let rules = self.rules.clone();
        let between_nodes = self.way.is_some();
        let read = async move {
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let got = from.read_buf(&mut piece).await;
                let delay = if between_nodes { rules.borrow().delay } else { Duration::ZERO };
                if !got.is_ok_and(|got| got > 0)
                    || send.send((Instant::now() + delay, piece)).await.is_err()
                {
                    return;
                }
            }
        };
        let write = async move {
            while let Some((due, piece)) = pieces.recv().await {
                sleep_until(due).await;
                self.open().await;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
            self.open().await;
            let _ = to.shutdown().await;
        };
        tokio::join!(read, write);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some((_, runtime)) = self.inner.take() {
            runtime.shutdown_background();
        }
    }
}
