//! One directive is one trace, from its plan on the controller to its last step on the nodes: real processes, and a collector in
//! this one.

#[path = "../../telemetry/tests/support/collector.rs"]
mod collector;
mod support;

use collector::collector;
use isobar_api::{
    DirectiveId, ShardId,
    directive::{DirectiveKind, DirectiveState},
    plan::{DirectiveRecord, PlanRecord, PlanSummary},
};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};
use support::cluster::{Cluster, Plan};

const QUICK: &str = "\
[observe]
window_s = 1
stale_after_s = 3
";

#[test]
fn a_drain_is_one_trace_from_its_plan_to_its_last_step() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (endpoint, received) = runtime.block_on(collector());
    let cluster = Cluster::start(Plan {
        policy: Some(QUICK.into()),
        otlp_endpoint: Some(endpoint),
        ..Plan::nodes(&["eu"; 4])
    });
    runtime.block_on(cluster.create_table("orders", 3, &[]));
    let shard = runtime.block_on(cluster.shards("orders")).remove(0);
    let leader = shard.leader.expect("it was waited for");
    cluster.run(&["node-drain", &leader.to_string()]);

    let mut drained = None;
    support::wait_until("a drain that was carried out", || {
        drained = drain_of(&cluster, shard.shard_id);
        drained.is_some()
    });
    let directive = drained.expect("it was just found").directive;
    assert!(directive.steps.len() >= 3, "add, promote, remove: {:?}", directive.steps);
    let id = directive.id;
    support::wait_until("the spans of every process", || {
        let spans = received.lock().expect("no panic").clone();
        let done = |index| node_steps(&spans, id, index).next().is_some();
        (0..directive.steps.len()).all(done) && find(&spans, "directive", id).next().is_some()
    });
    let spans = received.lock().expect("no panic").clone();

    let (service, root) = find(&spans, "directive", id).next().expect("it was waited for");
    assert_eq!(service, "isobar-controller");
    let of_it = |(_, span): &&(String, Span)| attribute(span, "directive") == id.to_string();
    for (service, span) in spans.iter().filter(of_it) {
        assert_eq!(span.trace_id, root.trace_id, "{} of {service} is in another trace", span.name);
    }
    let by_id = |span_id: &[u8]| {
        let found = spans.iter().map(|(_, span)| span).find(|span| span.span_id == span_id);
        found.unwrap_or_else(|| panic!("a parent was never exported"))
    };
    let plan = by_id(&root.parent_span_id);
    assert_eq!((plan.name.as_str(), &plan.trace_id), ("plan", &root.trace_id));
    assert_eq!(attribute(plan, "plan"), directive.plan_id.to_string());
    assert!(plan.parent_span_id.is_empty(), "the plan is where it begins");
    for (index, step) in directive.steps.iter().enumerate() {
        let (_, done) = node_steps(&spans, id, index).next().expect("it was waited for");
        assert_eq!(attribute(done, "what"), step.to_string());
        let received = by_id(&done.parent_span_id);
        let sent = by_id(&received.parent_span_id);
        assert_eq!((received.name.as_str(), sent.name.as_str()), ("execute_step", "step"));
        assert_eq!(sent.parent_span_id, root.span_id, "step {index} hangs on its directive");
    }
}

/// The directive that took the drained node's replica of a shard away, once it is done.
fn drain_of(cluster: &Cluster, shard: ShardId) -> Option<DirectiveRecord> {
    let list = cluster.run(&["plan", "list", "-o", "json"]);
    let plans: Vec<PlanSummary> = serde_json::from_str(&list).expect("a list of plans");
    let done = [DirectiveState::Applied, DirectiveState::Verified];
    let (plan, directive) = plans.iter().find_map(|plan| {
        let wanted = plan.directives.iter().find(|d| {
            d.shard == shard && d.kind == DirectiveKind::Drain && done.contains(&d.state)
        });
        wanted.map(|d| (plan.id, d.id))
    })?;
    let record = cluster.run(&["plan", "show", &plan.to_string(), "-o", "json"]);
    let record: PlanRecord = serde_json::from_str(&record).expect("a plan");
    record.directives.into_iter().find(|d| d.directive.id == directive)
}

/// Spans of a directive by name.
fn find<'a>(
    spans: &'a [(String, Span)],
    name: &'a str,
    directive: DirectiveId,
) -> impl Iterator<Item = &'a (String, Span)> {
    let wanted = directive.to_string();
    spans
        .iter()
        .filter(move |(_, span)| span.name == name && attribute(span, "directive") == wanted)
}

/// Spans in which nodes carried out a step.
fn node_steps(
    spans: &[(String, Span)],
    directive: DirectiveId,
    index: usize,
) -> impl Iterator<Item = &(String, Span)> {
    let on_node = move |(service, span): &&(String, Span)| {
        service == "isobar-node" && attribute(span, "step") == index.to_string()
    };
    find(spans, "step", directive).filter(on_node)
}

fn attribute(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
    match value.and_then(|v| v.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
