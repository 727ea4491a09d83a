//! What an operator's tools ask every process: `/metrics`, `/livez`, `/readyz`, on the port it has anyway.

use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is not ready, with the reason; empty: ready.
pub type NotReady = BTreeMap<String, String>;

/// Parts of a process that must be up before it is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// All parts wait, with the reason `starting`.
    pub fn new(parts: &[&'static str]) -> Self {
        let parts = parts.iter().map(|&part| (part, Some("starting".to_owned()))).collect();
        Self { parts: Arc::new(Mutex::new(parts)) }
    }

    /// This part is up.
    pub fn ready(&self, part: &'static str) {
        self.lock().insert(part, None);
    }

    /// This part is not up (any more), and why.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().insert(part, Some(reason.into()));
    }

    /// What is not ready.
    pub fn waiting(&self) -> NotReady {
        let waiting = |(&part, why): (&&'static str, &Option<String>)| {
            why.clone().map(|why| (part.to_owned(), why))
        };
        self.lock().iter().filter_map(waiting).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The three endpoints; merge it into the process's router.
///
/// `waiting` is asked on every `/readyz`; `Readiness::waiting` or any closure that does not block.
pub fn ops_router(
    metrics: Metrics,
    waiting: impl Fn() -> NotReady + Clone + Send + Sync + 'static,
) -> Router {
    let render = move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render()) };
    let ready = move || async move {
        let waiting = waiting();
        let status =
            if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = Body { ready: waiting.is_empty(), waiting };
        (status, Json(body)).into_response()
    };
    Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

#[derive(serde::Serialize)]
struct Body {
    ready: bool,
    waiting: NotReady,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricUnit;
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// As node and controller do it: the endpoints and gRPC on one port.
    #[tokio::test]
    async fn the_endpoints_live_beside_grpc_on_one_port() {
        let metrics = Metrics::new(&[]);
        metrics.counter("requests", MetricUnit::None, "x").unwrap().inc();
        let readiness = Readiness::new(&["log", "gossip"]);
        let asked = readiness.clone();
        let grpc = tonic::service::Routes::default().into_axum_router();
        let router = ops_router(metrics, move || asked.waiting()).merge(grpc);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .accept_http1(true)
                .add_routes(tonic::service::Routes::from(router))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );

        assert_eq!(get(address, "/livez").await, (200, "ok\n".into()));
        let (status, body) = get(address, "/readyz").await;
        assert_eq!(status, 503);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["ready"], false);
        assert_eq!(body["waiting"]["gossip"], "starting");

        readiness.ready("log");
        readiness.ready("gossip");
        assert_eq!(get(address, "/readyz").await.0, 200);
        readiness.not_ready("log", "disk full");
        let (status, body) = get(address, "/readyz").await;
        assert!(status == 503 && body.contains("disk full"), "{status} {body}");
        let (status, body) = get(address, "/metrics").await;
        assert!(status == 200 && body.contains("isobar_requests_total 1"), "{body}");
    }
}
