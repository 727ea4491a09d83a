//! Spans reach a real OTLP/gRPC collector; a dead one costs nothing but spans.
#![allow(clippy::unwrap_used)] // helpers of tests: a failure here is a failed test

#[path = "support/collector.rs"]
mod collector;

use collector::collector;
use isobar_telemetry::{
    observability::{ObservabilityConfig, layered},
    trace_context::{current_traceparent, set_parent},
};
use std::{io, time::Duration};

fn config(service: &str, endpoint: &str) -> ObservabilityConfig {
    ObservabilityConfig {
        otlp_endpoint: Some(endpoint.into()),
        ..ObservabilityConfig::new(service)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directive_is_one_trace_over_controller_and_node() {
    let (endpoint, received) = collector().await;
    let run = tokio::task::spawn_blocking(move || {
        let (controller, controller_guard) =
            layered(&config("isobar-controller", &endpoint), io::sink).unwrap();
        let traceparent = tracing::subscriber::with_default(controller, || {
            let span = tracing::info_span!("directive", directive = "d7");
            span.in_scope(|| {
                tracing::info_span!("send").in_scope(|| current_traceparent().unwrap())
            })
        });
        let (node, node_guard) = layered(&config("isobar-node", &endpoint), io::sink).unwrap();
        tracing::subscriber::with_default(node, || {
            let span = tracing::info_span!("apply step");
            set_parent(&span, &traceparent).unwrap();
            span.in_scope(|| tracing::info_span!("promote").in_scope(|| ()));
        });
        drop((controller_guard, node_guard));
    });
    run.await.unwrap();

    let received = received.lock().unwrap().clone();
    let find = |name: &str| {
        received.iter().find(|(_, span)| span.name == name).unwrap_or_else(|| panic!("no {name}"))
    };
    let (directive, send, apply, promote) =
        (find("directive"), find("send"), find("apply step"), find("promote"));
    assert_eq!(directive.0, "isobar-controller");
    assert_eq!(apply.0, "isobar-node");
    for (_, span) in [send, apply, promote] {
        assert_eq!(span.trace_id, directive.1.trace_id, "{} is in the same trace", span.name);
    }
    assert_eq!(apply.1.parent_span_id, send.1.span_id);
    assert_eq!(promote.1.parent_span_id, apply.1.span_id);
    let attribute = directive.1.attributes.iter().find(|a| a.key == "directive");
    assert!(attribute.is_some(), "fields of the span are exported");
    assert_eq!(received.len(), 4, "the exporter's own calls are no spans");
}

#[test]
fn a_dead_collector_costs_spans_and_nothing_else() {
    // Bound and never accepted: connections hang, the worst kind of dead.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hanging.local_addr().unwrap());
    let config = ObservabilityConfig {
        queue_spans_max: 64,
        export_timeout: Duration::from_millis(300),
        ..config("isobar-node", &endpoint)
    };
    let (subscriber, guard) = layered(&config, io::sink).unwrap();
    let mut recorded = 0;
    tracing::subscriber::with_default(subscriber, || {
        for i in 0..20_000 {
            tracing::info_span!("request", i).in_scope(|| recorded += 1);
        }
    });
    assert_eq!(recorded, 20_000);
    // Returns at all: without the bound on the export this would wait as long as the collector is silent.
    drop(guard);
}
