//! The whole controller against fake nodes that speak the real protocol.

use super::*;
use crate::executor::fake_node::FakeNode;
use isobar_api::{
    NodeId, Region,
    directive::DirectiveKind,
    plan::DirectiveRecord,
    proto::{self, controller_client::ControllerClient},
    rtt::RttMatrix,
};
use std::path::Path;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinHandle,
};

/// Longest wait for anything; only reached when something is broken.
const AT_MOST: Duration = Duration::from_secs(90);

const QUICK_POLICY: &str = "
[observe]
window_s = 1
windows_min = 2
stale_after_s = 3
horizon_windows = 2
[repair]
dead_after_s = 5
";

fn config(directory: &Path, nodes: &[FakeNode], mode: Mode) -> ControllerConfig {
    let policy = directory.join("policy.toml");
    std::fs::write(&policy, QUICK_POLICY).expect("a file");
    let [eu, us] = ["eu", "us"].map(|r| Region::new(r).expect("legal"));
    let mut rtt = RttMatrix::default();
    rtt.set(&eu, &us, 80.0);
    ControllerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: directory.join("controller"),
        connect: vec![nodes[0].address.clone()],
        mode,
        policy: Some(policy),
        rtt,
        tick_ms: 100,
        lease_ms: 1_500,
        ..ControllerConfig::default()
    }
}

struct Running {
    handle: ControllerHandle,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

async fn start(config: ControllerConfig) -> Running {
    let service = ControllerService::start(config).await.expect("it starts");
    let (stop, stopped) = oneshot::channel::<()>();
    let (handle, address) = (service.handle(), service.address());
    let task = tokio::spawn(service.run(async move { drop(stopped.await) }));
    Running { handle, address, stop, task }
}

impl Running {
    async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("no panic").expect("a clean end");
    }
}

/// Asks again until the answer is there.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(AT_MOST, found).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

async fn leads(handle: &ControllerHandle) {
    until("the lease", async || handle.status().await.expect("sql").leads.then_some(())).await;
}

async fn newest(handle: &ControllerHandle, state: DirectiveState) -> DirectiveRecord {
    until(&format!("a directive that is {state}"), async || {
        let all = handle.directives(10, None).await.expect("sql");
        all.into_iter().find(|r| r.state == state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_observes_proposes_acts_and_verifies() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let nodes = FakeNode::start_cluster().await;
    let running = start(config(directory.path(), &nodes, Mode::Propose)).await;
    let handle = running.handle.clone();
    leads(&handle).await;
    let waiting = newest(&handle, DirectiveState::Checked).await;
    assert!(nodes[0].effects().is_empty(), "nothing moves before somebody decides");
    let directive = &waiting.directive;
    assert_eq!(directive.kind, DirectiveKind::MoveReplica, "{}", directive.reason);
    assert_eq!(
        (directive.predicted.metric.as_str(), directive.predicted.before),
        ("read_rtt_ms_mean", 80.0)
    );
    // The same wish is not stored again while it waits.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(handle.directives(10, None).await.expect("sql").len(), 1);
    handle.decide(directive.id, true, "ann", "looks right").await.expect("it waits");
    let done = newest(&handle, DirectiveState::Verified).await;
    assert_eq!(done.directive.predicted.realised, Some(0.0), "readers are next to the leader now");
    assert_eq!(nodes[0].state.lock().expect("no panic").entry.leader, Some(NodeId(4)));
    let plan = handle.plan(done.directive.plan_id).await.expect("kept");
    assert_eq!(plan.directives[0].state, DirectiveState::Verified);
    assert!(plan.plan.inputs.iter().any(|i| i.source == "report of n1"));
    let status = handle.status().await.expect("sql");
    assert_eq!((status.nodes, status.shards, status.cluster_id.as_str()), (4, 1, "test"));
    assert!(!status.champions.is_empty(), "{status:?}");
    running.stop().await;
}

/// Freezes the cluster, sets mode and policy, and begins to drain node 2.
async fn configure(handle: &ControllerHandle) {
    handle.pause("cluster", "release week", "ann", 600).await.expect("leads");
    handle.set_mode(Mode::Act, "ann", "go").await.expect("leads");
    let dry = handle.set_policy("[balance]\ndwell_s = 9", true, "ann").await.expect("valid");
    let wanted = |c: &isobar_api::policy::PolicyChange| {
        c.key == "balance.dwell_s" && c.old == "300" && c.new == "9"
    };
    assert!(dry.changes.iter().any(wanted));
    let versions = (dry.version, handle.policy().version);
    assert_eq!(versions, (1, 1), "a dry run changes nothing");
    let text = format!("{QUICK_POLICY}[balance]\ndwell_s = 9\n");
    let set = handle.set_policy(&text, false, "ann").await.expect("valid");
    assert_eq!(set.version, 2);
    let refused = handle.set_policy("nonsense = 1", false, "ann").await;
    assert_eq!(refused.expect_err("unknown key").code, ErrorCode::BadPolicy);
    until("nodes", async || (handle.view().nodes.len() == 4).then_some(())).await;
    let drain = handle.start_drain(NodeId(2), "ann").await.expect("known");
    assert_eq!((drain.state.as_str(), drain.replicas_at_start), ("draining", 1));
    assert!(handle.start_drain(NodeId(77), "ann").await.is_err());
}

async fn warm(handle: &ControllerHandle) {
    until("a warm view", async || {
        let view = handle.view();
        let mut shards = view.shards.values();
        shards.next().filter(|s| s.windows > 2).map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_survive_a_restart_and_a_frozen_cluster_stays_still() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let nodes = FakeNode::start_cluster().await;
    let config = config(directory.path(), &nodes, Mode::Observe);
    let first = start(config.clone()).await;
    leads(&first.handle).await;
    configure(&first.handle).await;
    let blocked = until("blockers", async || {
        let drain = first.handle.drain(NodeId(2)).ok();
        drain.filter(|d| !d.blockers.is_empty())
    })
    .await;
    assert!(blocked.blockers[0].reason.contains("frozen"), "{blocked:?}");
    warm(&first.handle).await;
    assert!(nodes[0].effects().is_empty(), "frozen");
    first.stop().await;

    let second = start(config).await;
    leads(&second.handle).await;
    let status = second.handle.status().await.expect("sql");
    let kept = (status.mode, status.policy_version, status.freezes.len());
    assert_eq!(kept, (Mode::Act, 2, 1));
    assert_eq!(second.handle.policy().policy.balance.dwell_s, 9);
    assert!(status.term.0 >= 2);
    warm(&second.handle).await;
    second.handle.resume("", "ann").await.expect("leads");
    let drained = until("drained", async || {
        let drain = second.handle.drain(NodeId(2)).ok();
        drain.filter(|d| d.state == "drained")
    })
    .await;
    assert_eq!((drained.replicas_left, drained.eta_s), (0, Some(0.0)));
    let entry = nodes[0].state.lock().expect("no panic").entry.clone();
    let voters = entry.voters().count();
    assert!(entry.replica_on(NodeId(2)).is_none() && voters == 3, "{entry:?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_the_other_stands_by_until_it_is_gone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let nodes = FakeNode::start_cluster().await;
    let config = config(directory.path(), &nodes, Mode::Observe);
    let first = start(config.clone()).await;
    leads(&first.handle).await;
    let second = start(config).await;
    let refused = second.handle.set_mode(Mode::Act, "bob", "mine").await.expect_err("it stands by");
    assert_eq!(refused.code, ErrorCode::Fenced);
    assert!(refused.message.contains(&first.address.to_string()), "{}", refused.message);
    first.handle.set_mode(Mode::Propose, "ann", "ours").await.expect("leads");
    until("the standby follows", async || {
        let status = second.handle.status().await.expect("sql");
        (status.mode == Mode::Propose && !status.leads && status.nodes == 4).then_some(())
    })
    .await;
    let before = first.handle.status().await.expect("sql").term;
    first.stop().await;
    leads(&second.handle).await;
    assert!(second.handle.status().await.expect("sql").term > before);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_serves_grpc_and_http_and_lost_reports_are_counted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let nodes = FakeNode::start_cluster().await;
    let running = start(config(directory.path(), &nodes, Mode::Observe)).await;
    leads(&running.handle).await;
    until("reports", async || {
        (running.handle.status().await.expect("sql").nodes == 4).then_some(())
    })
    .await;
    nodes[0].state.lock().expect("no panic").skip_report = true;
    until("a gap", async || {
        (running.handle.status().await.expect("sql").report_gaps == 1).then_some(())
    })
    .await;
    let mut client =
        ControllerClient::connect(format!("http://{}", running.address)).await.expect("it serves");
    let answer = client.get_status(proto::GetControllerStatusRequest {}).await.expect("an answer");
    let status: isobar_api::plan::ControllerStatus =
        serde_json::from_slice(&answer.into_inner().json).expect("its own type");
    assert!(status.leads);
    let missing = client.get_directive(proto::GetDirectiveRequest { directive_id: 9 }).await;
    let error = ApiError::from_status(&missing.expect_err("there is none"));
    assert_eq!(error.code, ErrorCode::NoSuchRecord);
    let bad = client
        .set_mode(proto::SetModeRequest {
            mode: "fly".into(),
            owner: "a".into(),
            reason: String::new(),
        })
        .await;
    assert_eq!(ApiError::from_status(&bad.expect_err("no mode")).code, ErrorCode::InvalidArgument);
    an_empty_file_is_a_policy(&mut client).await;
    let shown = client
        .drain(proto::DrainRequest { node_id: 0, action: "status".into(), owner: String::new() })
        .await
        .expect("an answer");
    assert_eq!(&shown.into_inner().json[..], b"[]");
    for (path, wanted) in [
        ("/livez", "ok"),
        ("/readyz", "\"ready\":true"),
        ("/metrics", "isobar_controller_lease_held 1"),
        ("/metrics", "isobar_controller_report_gaps_total 1"),
    ] {
        let text = until(path, async || {
            Some(http_get(running.address, path).await).filter(|text| text.contains(wanted))
        })
        .await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    refuses_a_taken_port(running.address, directory.path(), &nodes).await;
    running.stop().await;
}

async fn an_empty_file_is_a_policy(client: &mut ControllerClient<tonic::transport::Channel>) {
    for (owner, changes) in [("", false), ("ann", true)] {
        let policy_toml = Vec::new().into();
        let request = proto::PolicyRequest { policy_toml, dry_run: true, owner: owner.into() };
        let answer = client.policy(request).await.expect("an answer").into_inner();
        let state: isobar_api::policy::PolicyState =
            serde_json::from_slice(&answer.json).expect("its own type");
        assert_eq!(!state.changes.is_empty(), changes, "asked by `{owner}`");
    }
}

async fn refuses_a_taken_port(address: SocketAddr, directory: &Path, nodes: &[FakeNode]) {
    let taken = ControllerConfig { listen: address, ..config(directory, nodes, Mode::Observe) };
    let refused = ControllerService::start(taken).await.err().expect("the port is taken");
    assert_eq!(refused.code, ErrorCode::BadAddress);
}

async fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_on_an_old_cluster_outbids_the_old_term() {
    // The old controller's first term is also the new one's own first.
    for seen in [41, 1] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let nodes = FakeNode::start_cluster().await;
        nodes[0].state.lock().expect("no panic").highest_term = isobar_api::Term(seen);
        let running = start(config(directory.path(), &nodes, Mode::Act)).await;
        let done = newest(&running.handle, DirectiveState::Verified).await;
        assert!(done.directive.controller_term.0 > seen);
        let ids = done.directive.id.0;
        assert!(ids > seen * 1_000_000, "no id that a node may remember: {ids}");
        running.stop().await;
    }
}
