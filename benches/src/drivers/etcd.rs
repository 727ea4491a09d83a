//! etcd over its v3 gRPC protocol.

use super::Driver;
use crate::proto::etcd::{
    PutRequest, RangeRequest, StatusRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
use async_trait::async_trait;
use bytes::Bytes;
use isobar_api::{ApiError, ErrorCode};
use std::{net::SocketAddr, time::Duration};
use tonic::transport::{Channel, Endpoint};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// One gRPC channel to one member.
#[derive(Clone, Debug)]
pub struct EtcdDriver {
    kv: KvClient<Channel>,
}

impl EtcdDriver {
    /// Connects to a member. The leader is the best choice: it answers without asking another one first.
    pub async fn connect(member: SocketAddr) -> Result<Self, ApiError> {
        Ok(Self { kv: KvClient::new(channel(member).await?) })
    }
}

/// Which of the members leads: its place in the list. None while no leader is elected.
pub async fn leader(members: &[SocketAddr]) -> Result<Option<usize>, ApiError> {
    let mut ids = Vec::new();
    let mut leader = 0;
    for member in members {
        let mut request = tonic::Request::new(StatusRequest {});
        request.set_timeout(ANSWER_WITHIN);
        let status = MaintenanceClient::new(channel(*member).await?).status(request).await;
        let status = status.map_err(|why| failure(&why))?.into_inner();
        leader = status.leader;
        ids.push(status.header.unwrap_or_default().member_id);
    }
    Ok(ids.iter().position(|id| leader != 0 && *id == leader))
}

async fn channel(member: SocketAddr) -> Result<Channel, ApiError> {
    let endpoint = Endpoint::from_shared(format!("http://{member}")).expect("an address is a URI");
    let connected = endpoint.connect_timeout(CONNECT_WITHIN).connect().await;
    connected
        .map_err(|why| ApiError::new(ErrorCode::Unreachable, format!("etcd at {member}: {why}")))
}

fn failure(status: &tonic::Status) -> ApiError {
    let error = ApiError::from_status(status);
    ApiError::new(error.code, format!("etcd: {}", error.message))
}

#[async_trait]
impl Driver for EtcdDriver {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), ApiError> {
        let put = self.kv.clone().put(PutRequest { key, value }).await;
        put.map(|_| ()).map_err(|why| failure(&why))
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, ApiError> {
        let request = RangeRequest { key, range_end: Bytes::new(), limit: 0 };
        let found = self.kv.clone().range(request).await.map_err(|why| failure(&why))?;
        Ok(found.into_inner().kvs.into_iter().next().map(|row| row.value))
    }

    async fn scan(&self, from: Bytes, rows: u32) -> Result<u64, ApiError> {
        let range_end = Bytes::from_static(b"\0");
        let request = RangeRequest { key: from, range_end, limit: rows.into() };
        let found = self.kv.clone().range(request).await.map_err(|why| failure(&why))?;
        Ok(found.into_inner().kvs.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcd::{
        KeyValue, PutResponse, RangeResponse, ResponseHeader, StatusResponse,
        kv_server::{Kv, KvServer},
        maintenance_server::{Maintenance, MaintenanceServer},
    };
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };
    use tokio::{net::TcpListener, task::JoinSet};
    use tonic::{
        Request, Response, Status,
        transport::{Server, server::TcpIncoming},
    };

    /// A member that says who leads, and keeps rows for itself.
    #[derive(Clone)]
    struct Member {
        id: u64,
        leader: u64,
        rows: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
    }

    #[async_trait]
    impl Kv for Member {
        async fn range(
            &self,
            of: Request<RangeRequest>,
        ) -> Result<Response<RangeResponse>, Status> {
            let RangeRequest { key, range_end, limit } = of.into_inner();
            let one = range_end.is_empty();
            assert!(one || range_end == "\0", "only to the end of all");
            let rows = self.rows.lock().expect("nobody panics");
            let found = rows.range(key.clone()..).filter(|(k, _)| !one || **k == key);
            let most = if limit == 0 { usize::MAX } else { limit as usize };
            let row = |(key, value): (&Bytes, &Bytes)| KeyValue {
                key: key.clone(),
                value: value.clone(),
            };
            Ok(Response::new(RangeResponse { kvs: found.take(most).map(row).collect() }))
        }

        async fn put(&self, of: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
            let PutRequest { key, value } = of.into_inner();
            if key.is_empty() {
                return Err(Status::invalid_argument("no key"));
            }
            self.rows.lock().expect("nobody panics").insert(key, value);
            Ok(Response::new(PutResponse { header: None }))
        }
    }

    #[async_trait]
    impl Maintenance for Member {
        async fn status(
            &self,
            _: Request<StatusRequest>,
        ) -> Result<Response<StatusResponse>, Status> {
            let header = Some(ResponseHeader { member_id: self.id });
            Ok(Response::new(StatusResponse { header, leader: self.leader }))
        }
    }

    async fn members(
        leader: u64,
    ) -> (Vec<SocketAddr>, JoinSet<Result<(), tonic::transport::Error>>) {
        let (mut addresses, mut servers) = (Vec::new(), JoinSet::new());
        for id in [7, 8] {
            let member = Member { id, leader, rows: Arc::default() };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("bound"));
            let server = Server::builder()
                .add_service(KvServer::new(member.clone()))
                .add_service(MaintenanceServer::new(member));
            servers.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        }
        (addresses, servers)
    }

    #[tokio::test]
    async fn the_leader_is_found_by_its_id() {
        for (leads, place) in [(8, Some(1)), (7, Some(0)), (0, None)] {
            let (addresses, _servers) = members(leads).await;
            assert_eq!(leader(&addresses).await, Ok(place));
        }
    }

    #[tokio::test]
    async fn rows_are_put_got_and_scanned() {
        let (addresses, _servers) = members(7).await;
        let driver = EtcdDriver::connect(addresses[0]).await.expect("it listens");
        for n in 0..9 {
            driver.put(format!("k{n}").into(), format!("v{n}").into()).await.expect("room");
        }
        assert_eq!(driver.get("k3".into()).await, Ok(Some("v3".into())));
        assert_eq!(driver.get("k".into()).await, Ok(None), "no prefix search");
        assert_eq!(driver.scan("k2".into(), 4).await, Ok(4));
        assert_eq!(driver.scan("k7".into(), 100).await, Ok(2));
        let error = driver.put("".into(), "v".into()).await.expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }
}
