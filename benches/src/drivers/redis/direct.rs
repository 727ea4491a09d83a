//! A connection with one request at a time: the next one waits until the answer is there.

use super::{Command, Reply, check_wait, encode_wait, lost, read_reply};
use bytes::BytesMut;
use isobar_api::ApiError;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Mutex};

/// The connection, and whether it can still be used.
#[derive(Debug)]
pub struct Direct {
    /// Taken out for each request: one that is given up half way leaves none, because its answer is still to come.
    stream: Mutex<Option<Stream>>,
    replicas: u8,
}

#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    out: BytesMut,
    buffer: BytesMut,
}

impl Direct {
    pub(super) fn new(tcp: TcpStream, replicas: u8) -> Self {
        let stream = Stream { tcp, out: BytesMut::new(), buffer: BytesMut::new() };
        Self { stream: Mutex::new(Some(stream)), replicas }
    }

    pub(super) async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        let mut place = self.stream.lock().await;
        let mut stream = place.take().ok_or_else(|| lost("an earlier request was given up"))?;
        let waits = command.waits(self.replicas);
        stream.out.clear();
        command.encode(&mut stream.out);
        if waits {
            encode_wait(&mut stream.out, self.replicas);
        }
        stream.tcp.write_all(&stream.out).await.map_err(lost)?;
        let reply = read_reply(&mut stream.tcp, &mut stream.buffer).await?;
        let waited = match waits {
            true => Some(read_reply(&mut stream.tcp, &mut stream.buffer).await?),
            false => None,
        };
        *place = Some(stream);
        drop(place);
        waited.map_or(Ok(()), |reply| check_wait(reply, self.replicas))?;
        Ok(reply)
    }
}
