use super::{
    fake_node::{FakeNode, Misbehaviour, move_directive, view},
    probe::Point,
    *,
};
use crate::store::{Store, testing::databases};
use isobar_api::{
    DirectiveId, NodeId, PlanId, Term,
    directive::{Directive, DirectiveState as S, Refusal},
    plan::{DirectiveRecord, Plan},
    policy::Mode,
};
use std::collections::BTreeSet;

/// A controller process: its journal, its term, its executor.
struct Process {
    journal: Journal,
    executor: Executor,
    // Dropping a sender is what a crash does to the watchers; they must outlive the tasks.
    _view: watch::Sender<Arc<ClusterView>>,
    _grant: watch::Sender<Option<Grant>>,
    _freezes: watch::Sender<Arc<Vec<Freeze>>>,
}

async fn process(
    store: Store,
    node: &FakeNode,
    life: u64,
    probe: Arc<dyn Probe>,
) -> (Process, Grant) {
    let now = life * 10_000;
    let grant = store.acquire_lease("test", now, 1_000).await.expect("sql").expect("expired");
    let mut world = view(&[&node.address]);
    world
        .shards
        .values_mut()
        .for_each(|s| s.entry = node.state.lock().expect("no panic").entry.clone());
    let (view_tx, view) = watch::channel(Arc::new(world));
    let (grant_tx, grant_rx) = watch::channel(Some(grant));
    let (freezes_tx, freezes) = watch::channel(Arc::new(Vec::new()));
    let journal = Journal::new(store);
    let pauses = Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(5) };
    let executor = Executor::new(Shared {
        journal: journal.clone(),
        nodes: NodeConnections::default(),
        view,
        grant: grant_rx,
        freezes,
        pauses,
        probe,
    });
    (Process { journal, executor, _view: view_tx, _grant: grant_tx, _freezes: freezes_tx }, grant)
}

fn plan_of(directive: Directive) -> Plan {
    Plan {
        id: PlanId(0),
        parent: None,
        controller_term: Term(0),
        at_unix_ms: 0,
        policy_version: 1,
        seed: 0,
        input_hash: String::new(),
        inputs: vec![],
        candidates: vec![],
        candidates_dropped: 0,
        directives: vec![directive],
        notes: vec![],
    }
}

impl Process {
    /// Carries on everything that is open, and waits until nothing moves.
    async fn work(&self) {
        for entry in self.journal.open().await.expect("sql") {
            self.executor.carry_on(&entry);
        }
        self.executor.idle().await;
    }

    async fn record(&self) -> DirectiveRecord {
        self.journal.directive(DirectiveId(1)).await.expect("it was journaled")
    }
}

/// Runs one directive with a node that misbehaves first.
async fn run(directive: Directive, trouble: Vec<Misbehaviour>) -> (DirectiveRecord, FakeNode) {
    let database = databases().await.remove(0);
    let node = FakeNode::start().await;
    node.misbehave(trouble);
    let (process, grant) = process(database.open().await, &node, 1, Arc::new(NoProbe)).await;
    let recorded = process.journal.record(grant, plan_of(directive), Mode::Act, "", false, 1).await;
    recorded.expect("sql").expect("new");
    process.work().await;
    (process.record().await, node)
}

const MOVED: [&str; 4] = [
    "0: add learner on n4",
    "1: promote n4",
    "2: transfer leader to n4",
    "3: remove replica from n1",
];

#[tokio::test]
async fn a_directive_is_carried_out_step_by_step() {
    let (record, node) = run(move_directive(1, 4), vec![]).await;
    assert_eq!((record.state, record.steps_done), (S::Applied, 4));
    assert_eq!(node.effects(), MOVED);
}

#[tokio::test]
async fn retryable_refusals_and_lost_answers_are_tried_again() {
    let busy = Misbehaviour::Refuse(Refusal::Busy { directive: DirectiveId(9) });
    let hint = Misbehaviour::Refuse(Refusal::NotLeader { leader: Some(NodeId(2)) });
    let later = Misbehaviour::Refuse(Refusal::NotNow { why: "disk busy".into() });
    let (record, node) =
        run(move_directive(1, 4), vec![busy, hint, later, Misbehaviour::LoseAnswer]).await;
    assert_eq!(record.state, S::Applied);
    assert_eq!(node.effects(), MOVED, "the lost answer did not repeat the effect");
    assert_eq!(node.state.lock().expect("no panic").orders, 8);
}

#[tokio::test]
async fn a_refused_first_step_fails_without_a_trace() {
    let full = Refusal::NoHeadroom { node: NodeId(4), free_bytes: 1, needed_bytes: 2 };
    let (record, node) = run(move_directive(1, 4), vec![Misbehaviour::Refuse(full)]).await;
    assert_eq!(record.state, S::Failed);
    assert!(record.events.last().expect("some").reason.contains("1 bytes free"));
    assert!(node.effects().is_empty());
}

#[tokio::test]
async fn a_step_that_stalls_is_aborted_and_what_was_done_is_undone() {
    let mut directive = move_directive(1, 4);
    directive.budget.stall_ms = 1_500;
    let database = databases().await.remove(0);
    let node = FakeNode::start().await;
    let (process, grant) =
        process(database.open().await, &node, 1, Arc::new(HangAt(node.clone(), 1))).await;
    let recorded = process.journal.record(grant, plan_of(directive), Mode::Act, "", false, 1).await;
    recorded.expect("sql").expect("new");
    process.work().await;
    let record = process.record().await;
    assert_eq!(record.state, S::Undone, "{:?}", record.events);
    assert_eq!(node.state.lock().expect("no panic").aborted, [1], "the abort was confirmed first");
    assert_eq!(node.effects(), ["0: add learner on n4", "7: remove replica from n4"]);
    assert_eq!(node.state.lock().expect("no panic").entry.replicas.len(), 3);
}

/// Lets the node hang at one step, the first time it is sent.
struct HangAt(FakeNode, u32);

impl Probe for HangAt {
    fn at(&self, point: Point) -> Result<(), Error> {
        if point == Point::BeforeSend(self.1) {
            self.0.misbehave([Misbehaviour::Hang]);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_fenced_executor_stops_and_writes_nothing() {
    let seen = Misbehaviour::Refuse(Refusal::StaleTerm { sent: Term(1), seen: Term(5) });
    let (record, node) = run(move_directive(1, 4), vec![seen]).await;
    assert_eq!(record.state, S::Sent, "it is the next controller's to go on");
    assert!(node.effects().is_empty());
}

/// Writes down every point it passes, and stops the process at the n-th.
struct StopAt {
    at: Option<usize>,
    passed: Mutex<Vec<Point>>,
}

impl Probe for StopAt {
    fn at(&self, point: Point) -> Result<(), Error> {
        let mut passed = self.passed.lock().expect("no panic");
        passed.push(point);
        match self.at {
            Some(n) if passed.len() > n => Err(Error::Stopped),
            _ => Ok(()),
        }
    }
}

fn stop_at(at: Option<usize>) -> Arc<StopAt> {
    Arc::new(StopAt { at, passed: Mutex::new(Vec::new()) })
}

/// Stops the process at its n-th point, starts another with the next term, and lets it finish.
/// Returns the points the first one passed.
async fn crash_and_resume(
    at: Option<usize>,
    refusals: &[(u32, Refusal)],
) -> (Vec<Point>, DirectiveRecord, FakeNode) {
    let database = databases().await.pop().expect("at least SQLite");
    let node = FakeNode::start().await;
    let probe = stop_at(at);
    let refusing = |inner: Arc<StopAt>| -> Arc<dyn Probe> {
        Arc::new(RefuseAt(node.clone(), refusals.to_vec(), inner))
    };
    let (first, grant) = process(database.open().await, &node, 1, refusing(probe.clone())).await;
    let recorded =
        first.journal.record(grant, plan_of(move_directive(1, 4)), Mode::Act, "", false, 1).await;
    recorded.expect("sql").expect("new");
    first.work().await;
    first.executor.stop();
    drop(first);
    let (second, _) = process(database.open().await, &node, 2, refusing(stop_at(None))).await;
    second.work().await;
    let record = second.record().await;
    let passed = probe.passed.lock().expect("no panic").clone();
    (passed, record, node)
}

/// The node refuses these steps whenever they are sent.
struct RefuseAt(FakeNode, Vec<(u32, Refusal)>, Arc<StopAt>);

impl Probe for RefuseAt {
    fn at(&self, point: Point) -> Result<(), Error> {
        self.2.at(point)?;
        let wanted = self.1.iter().filter(|(index, _)| point == Point::BeforeSend(*index));
        self.0.misbehave(wanted.map(|(_, refusal)| Misbehaviour::Refuse(refusal.clone())));
        Ok(())
    }
}

const BELOW_FLOOR: Refusal = Refusal::BelowFloor { remaining: 2, floor: 3 };

#[tokio::test]
async fn a_crash_at_any_point_loses_and_doubles_nothing() {
    let (points, record, _) = crash_and_resume(None, &[]).await;
    assert_eq!(record.state, S::Applied);
    let kinds: BTreeSet<String> = points.iter().map(|p| format!("{p:?}")).collect();
    assert!(kinds.len() >= 25, "every transition is a point of its own: {kinds:?}");
    for (at, point) in points.iter().enumerate() {
        let (_, record, node) = crash_and_resume(Some(at), &[]).await;
        assert_eq!((record.state, record.steps_done), (S::Applied, 4), "crash at {point:?}");
        assert_eq!(node.effects(), MOVED, "crash at {point:?}");
    }
}

#[tokio::test]
async fn a_crash_while_undoing_loses_and_doubles_nothing() {
    // The last step is refused, so that everything before it has to be undone.
    let refusals = [(3, BELOW_FLOOR)];
    let (points, record, node) = crash_and_resume(None, &refusals).await;
    assert_eq!(record.state, S::Undone, "{:?}", record.events);
    let clean = node.effects();
    let undone = clean.iter().filter(|e| e.as_str() >= "4").count();
    assert!(undone >= 2, "leadership and the new replica went back: {clean:?}");
    for (at, point) in points.iter().enumerate() {
        let (_, record, node) = crash_and_resume(Some(at), &refusals).await;
        assert_eq!(record.state, S::Undone, "crash at {point:?}: {:?}", record.events);
        assert_eq!(node.effects(), clean, "crash at {point:?}");
    }
}

#[tokio::test]
async fn an_undo_that_a_guard_refuses_ends_as_failed_and_says_so_after_any_crash() {
    let wrong = Refusal::RegionNotAllowed { region: isobar_api::Region::new("us").expect("legal") };
    let refusals = [(1, wrong), (7, BELOW_FLOOR)];
    let (points, _, _) = crash_and_resume(None, &refusals).await;
    for at in (0..points.len()).map(Some).chain([None]) {
        let (_, record, node) = crash_and_resume(at, &refusals).await;
        let point = at.map(|at| points[at]);
        assert_eq!(record.state, S::Failed, "crash at {point:?}: {:?}", record.events);
        let end = &record.events.last().expect("some").reason;
        assert!(end.contains("the floor is 3"), "crash at {point:?}: {end}");
        assert_eq!(node.effects(), MOVED[..1], "crash at {point:?}");
    }
}
