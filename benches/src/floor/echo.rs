//! A gRPC call that does nothing but come back.

use super::{IN_FLIGHT, own_cpu, round};
use crate::{
    drivers::{Driver, Handle},
    load::{Pace, run},
    proto::echo::{
        Payload,
        echo_client::EchoClient,
        echo_server::{Echo, EchoServer},
    },
    report::Round,
    work::{Rows, Work},
};
use async_trait::async_trait;
use bytes::Bytes;
use isobar_api::{ApiError, ErrorCode};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

struct Mirror;

#[async_trait]
impl Echo for Mirror {
    async fn say(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// The caller. It only puts: the value travels there and back.
struct Caller(EchoClient<Channel>);

#[async_trait]
impl Driver for Caller {
    async fn put(&self, _key: Bytes, value: Bytes) -> Result<(), ApiError> {
        let said = self.0.clone().say(Payload { bytes: value }).await;
        said.map(|_| ()).map_err(|why| ApiError::from_status(&why))
    }

    async fn get(&self, _key: Bytes) -> Result<Option<Bytes>, ApiError> {
        Err(ApiError::new(ErrorCode::InvalidArgument, "an echo keeps nothing"))
    }

    async fn scan(&self, _from: Bytes, _rows: u32) -> Result<u64, ApiError> {
        Err(ApiError::new(ErrorCode::InvalidArgument, "an echo keeps nothing"))
    }
}

/// Sends values to and fro over one connection inside this process, [`IN_FLIGHT`] at a time.
pub async fn echo(rows: &Rows, length: Duration) -> Result<Round, ApiError> {
    let failed = |why: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::Unreachable, format!("the echo: {why}"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|why| failed(&why))?;
    let address = listener.local_addr().map_err(|why| failed(&why))?;
    // Ends with this function, however it ends.
    let mut server = JoinSet::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.spawn(
        Server::builder().add_service(EchoServer::new(Mirror)).serve_with_incoming(incoming),
    );
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI");
    let channel = endpoint.connect().await.map_err(|why| failed(&why))?;
    let caller: Handle = Arc::new(Caller(EchoClient::new(channel)));
    let cpu = own_cpu();
    let streams = rows.streams(Work::Write, IN_FLIGHT, 0);
    Ok(round(run(&[caller], streams, Pace::Closed, length).await, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::TraceRows;
    use isobar_datasets::ycsb::Distribution;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_said_comes_back() {
        let trace = TraceRows::default().into();
        let rows = Rows { count: 9, value_bytes: 256, skew: Distribution::Uniform, seed: 1, trace };
        let round = echo(&rows, Duration::from_millis(100)).await.expect("it listens");
        assert_eq!(round.samples.first_error, None);
        assert!(round.samples.answered() > IN_FLIGHT as u64);
    }
}
