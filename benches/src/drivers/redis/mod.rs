//! Redis over RESP2, and optionally `WAIT` for its replicas after each write.

mod direct;
mod pipelined;
mod resp;

use super::Driver;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use direct::Direct;
use isobar_api::{ApiError, ErrorCode};
use pipelined::Pipelined;
use resp::Reply;
use std::{fmt, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long the server may wait for its replicas before it says how many there were, milliseconds.
const WAIT_MS: &[u8] = b"1000";

/// How a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Requests of many tasks travel together, as clients do that are shared. Otherwise there is one at a time.
    pub pipelined: bool,
    /// Replicas that must have a write before it counts; 0 sends no `WAIT`.
    pub replicas: u8,
}

/// One connection.
#[derive(Debug)]
pub enum RedisDriver {
    /// One request at a time.
    Direct(Direct),
    /// Requests of many tasks together.
    Pipelined(Pipelined),
}

impl RedisDriver {
    /// Connects.
    pub async fn connect(server: SocketAddr, options: RedisOptions) -> Result<Self, ApiError> {
        let tcp = dial(server).await?;
        Ok(if options.pipelined {
            Self::Pipelined(Pipelined::start(tcp, options.replicas))
        } else {
            Self::Direct(Direct::new(tcp, options.replicas))
        })
    }

    async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        match self {
            Self::Direct(connection) => connection.call(command).await,
            Self::Pipelined(connection) => connection.call(command).await,
        }
    }
}

/// Asks one question on a connection of its own; the answer as text.
pub async fn ask(server: SocketAddr, words: &[&str]) -> Result<String, ApiError> {
    let mut tcp = dial(server).await?;
    let mut out = BytesMut::new();
    resp::encode(&mut out, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    tcp.write_all(&out).await.map_err(lost)?;
    match read_reply(&mut tcp, &mut BytesMut::new()).await? {
        Reply::Simple(text) => Ok(text),
        Reply::Integer(number) => Ok(number.to_string()),
        Reply::Bulk(value) => Ok(String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()),
        Reply::Error(message) => Err(refused(&message)),
    }
}

#[async_trait]
impl Driver for RedisDriver {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), ApiError> {
        match self.call(Command::Set(key, value)).await? {
            Reply::Simple(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, ApiError> {
        match self.call(Command::Get(key)).await? {
            Reply::Bulk(value) => Ok(value),
            other => Err(unexpected(other)),
        }
    }

    async fn scan(&self, _from: Bytes, _rows: u32) -> Result<u64, ApiError> {
        Err(ApiError::new(ErrorCode::InvalidArgument, "Redis keeps its keys in no order"))
    }

    fn can_scan(&self) -> bool {
        false
    }
}

/// What is sent.
#[derive(Debug)]
enum Command {
    Set(Bytes, Bytes),
    Get(Bytes),
}

impl Command {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Set(key, value) => resp::encode(out, &[b"SET", key, value]),
            Self::Get(key) => resp::encode(out, &[b"GET", key]),
        }
    }

    /// Whether replicas are to be waited for.
    fn waits(&self, replicas: u8) -> bool {
        replicas > 0 && matches!(self, Self::Set(..))
    }
}

fn encode_wait(out: &mut BytesMut, replicas: u8) {
    resp::encode(out, &[b"WAIT", replicas.to_string().as_bytes(), WAIT_MS]);
}

/// Judges the answer to `WAIT`.
fn check_wait(reply: Reply, replicas: u8) -> Result<(), ApiError> {
    match reply {
        Reply::Integer(found) if found >= i64::from(replicas) => Ok(()),
        Reply::Integer(found) => {
            let message = format!("Redis: {found} of {replicas} replicas had the write in time");
            Err(ApiError::new(ErrorCode::Unavailable, message))
        }
        other => Err(unexpected(other)),
    }
}

async fn dial(server: SocketAddr) -> Result<TcpStream, ApiError> {
    let tcp = TcpStream::connect(server).await.and_then(|tcp| {
        tcp.set_nodelay(true)?;
        Ok(tcp)
    });
    tcp.map_err(|why| ApiError::new(ErrorCode::Unreachable, format!("Redis at {server}: {why}")))
}

async fn read_reply(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Reply, ApiError> {
    loop {
        if let Some(reply) = resp::decode(buffer).map_err(lost)? {
            return Ok(reply);
        }
        if from.read_buf(buffer).await.map_err(lost)? == 0 {
            return Err(lost("it was closed"));
        }
    }
}

fn lost(why: impl fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Unreachable, format!("the connection to Redis is lost: {why}"))
}

fn refused(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, format!("Redis: {message}"))
}

fn unexpected(reply: Reply) -> ApiError {
    match reply {
        Reply::Error(message) => refused(&message),
        other => lost(format!("an answer to something else: {other:?}")),
    }
}

#[cfg(test)]
mod tests;
