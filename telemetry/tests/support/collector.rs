//! An OTLP/gRPC collector inside the test.
#![allow(clippy::unwrap_used)] // helpers of tests: a failure here is a failed test

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use std::sync::{Arc, Mutex};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What it received: service name and span.
pub type Received = Arc<Mutex<Vec<(String, Span)>>>;

struct Collector(Received);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let attributes = group.resource.unwrap_or_default().attributes;
            let service = attributes
                .into_iter()
                .find(|a| a.key == "service.name")
                .and_then(|a| a.value?.value)
                .map(|value| match value {
                    Value::StringValue(text) => text,
                    other => format!("{other:?}"),
                })
                .unwrap_or_default();
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// Starts one on a free port. Returns its endpoint and what it receives.
pub async fn collector() -> (String, Received) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(Collector(received.clone()));
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (endpoint, received)
}
