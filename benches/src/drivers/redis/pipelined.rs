//! A connection that many tasks share: what is asked at the same time travels in one write.
//!
//! A batch that sets something costs the server an fsync (`appendfsync always`), and `WAIT` holds the whole connection
//! up until the replicas have everything before it. So the next batch gathers until such a one is answered, and one
//! `WAIT` at its end covers all of it. Sent at once, many small batches would queue for one fsync each.

use super::{Command, Reply, check_wait, encode_wait, lost, read_reply};
use bytes::BytesMut;
use isobar_api::ApiError;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Requests that wait to be written; further callers wait.
const QUEUE_MAX: usize = 1_024;
/// Most requests in one write.
const BATCH_MAX: usize = 256;
/// Most writes whose answers are still to come.
const BATCHES_MAX: usize = 64;

type Answer = Result<Reply, ApiError>;

struct Call {
    command: Command,
    answer: oneshot::Sender<Answer>,
}

/// Requests that were written together.
struct Batch {
    /// Whether a request waits for replicas, and who wants the answer.
    answers: Vec<(bool, oneshot::Sender<Answer>)>,
    /// Dropped when all is answered.
    _done: oneshot::Sender<()>,
}

/// The connection. Its tasks end with it.
#[derive(Debug)]
pub struct Pipelined {
    calls: mpsc::Sender<Call>,
    _tasks: JoinSet<()>,
}

impl Pipelined {
    pub(super) fn start(tcp: TcpStream, replicas: u8) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE_MAX);
        let (batches, expected) = mpsc::channel(BATCHES_MAX);
        let (reading, writing) = tcp.into_split();
        let mut tasks = JoinSet::new();
        tasks.spawn(write(queue, writing, batches, replicas));
        tasks.spawn(async move {
            // What is unanswered is dropped with its sender, and its caller told that the connection is lost.
            let _ = read(expected, reading, replicas).await;
        });
        Self { calls, _tasks: tasks }
    }

    pub(super) async fn call(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        let call = Call { command, answer };
        self.calls.send(call).await.map_err(|_| lost("it was closed"))?;
        answered.await.map_err(|_| lost("it was closed"))?
    }
}

async fn write(
    mut queue: mpsc::Receiver<Call>,
    mut tcp: OwnedWriteHalf,
    batches: mpsc::Sender<Batch>,
    replicas: u8,
) {
    let mut out = BytesMut::new();
    let mut calls = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut calls, BATCH_MAX).await > 0 {
        out.clear();
        let mut answers = Vec::with_capacity(calls.len());
        let sets = calls.iter().any(|call| matches!(call.command, Command::Set(..)));
        for call in calls.drain(..) {
            call.command.encode(&mut out);
            answers.push((call.command.waits(replicas), call.answer));
        }
        if sets && replicas > 0 {
            encode_wait(&mut out, replicas);
        }
        let (done, is_done) = oneshot::channel();
        if batches.send(Batch { answers, _done: done }).await.is_err() {
            return;
        }
        if tcp.write_all(&out).await.is_err() {
            return;
        }
        if sets {
            // Only its end counts; it ends with an error in either case.
            let _ = is_done.await;
        }
    }
}

async fn read(
    mut batches: mpsc::Receiver<Batch>,
    mut tcp: OwnedReadHalf,
    replicas: u8,
) -> Result<(), ApiError> {
    let mut buffer = BytesMut::new();
    while let Some(batch) = batches.recv().await {
        let mut held = Vec::new();
        for (waits, answer) in batch.answers {
            let reply = read_reply(&mut tcp, &mut buffer).await?;
            if waits {
                held.push((answer, reply));
            } else {
                // A caller that gave up wants no answer.
                let _ = answer.send(Ok(reply));
            }
        }
        if held.is_empty() {
            continue;
        }
        let waited = check_wait(read_reply(&mut tcp, &mut buffer).await?, replicas);
        for (answer, reply) in held {
            let _ = answer.send(waited.clone().map(|()| reply));
        }
    }
    Ok(())
}
