use super::*;
use crate::{
    executor::fake_node::move_directive,
    store::{Grant, testing::databases},
};
use DirectiveState as S;
use isobar_api::{
    DirectiveId, PlanId, Term,
    directive::Directive,
    plan::{CheckNote, Plan},
    policy::Mode,
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn plan(directives: Vec<Directive>) -> Plan {
    Plan {
        id: PlanId(0),
        parent: None,
        controller_term: Term(0),
        at_unix_ms: 1_000,
        policy_version: 1,
        seed: 7,
        input_hash: "h".into(),
        inputs: vec![],
        candidates: vec![],
        candidates_dropped: 0,
        directives,
        notes: vec![],
    }
}

fn on_shard(shard: u64) -> Directive {
    Directive { shard: ShardId(shard), expires_at_unix_ms: 60_000, ..move_directive(1, 4) }
}

async fn led(database: &crate::store::testing::TestDatabase) -> (Journal, Grant) {
    let store = database.open().await;
    let now = 1_000_000_000_000;
    let grant = store.acquire_lease("test", now, 1_000).await.expect("sql").expect("free");
    (Journal::new(store), grant)
}

#[tokio::test]
async fn a_plan_gets_numbers_and_its_directives_become_durable_before_they_start() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        let offered = plan(vec![on_shard(1), on_shard(2)]);
        let recorded =
            journal.record(grant, offered, Mode::Act, TRACE, false, 2_000).await.expect("sql");
        let recorded = recorded.expect("two new directives");
        assert_eq!(recorded.plan.id, PlanId(1));
        assert_eq!(recorded.started, [DirectiveId(1), DirectiveId(2)]);
        let kept = journal.plan(PlanId(1)).await.expect("kept");
        assert_eq!(kept.plan, recorded.plan);
        let states: Vec<S> = kept.directives[0].events.iter().map(|e| e.state).collect();
        assert_eq!(states, [S::Proposed, S::Checked, S::Approved, S::Journaled]);
        let open = journal.open().await.expect("sql");
        assert_eq!(open.len(), 2);
        assert_eq!(
            (open[0].traceparent.as_str(), open[0].epoch),
            (TRACE, on_shard(1).expected_epoch)
        );
        assert_eq!(journal.counts().await.expect("sql"), [(S::Journaled, 2)]);
    }
}

#[tokio::test]
async fn only_what_the_mode_allows_starts_and_what_waits_is_not_stored_twice() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        let mut repair = on_shard(2);
        repair.kind = DirectiveKind::Repair;
        let offered = plan(vec![on_shard(1), repair]);
        let first =
            journal.record(grant, offered, Mode::Observe, "", false, 2_000).await.expect("sql");
        assert_eq!(first.expect("new").started, [DirectiveId(2)], "repair runs in every mode");
        // The same wish again: not stored, but it waits longer now.
        let again = Directive { expires_at_unix_ms: 90_000, ..on_shard(1) };
        let offered = plan(vec![again.clone()]);
        let repeat =
            journal.record(grant, offered, Mode::Observe, "", true, 3_000).await.expect("sql");
        assert_eq!(repeat, None);
        assert_eq!(journal.expire_waiting(grant, 70_000).await.expect("sql"), 0);
        // In mode act it runs at once, and the waiting one is taken back.
        let run = journal
            .record(grant, plan(vec![again]), Mode::Act, "", false, 4_000)
            .await
            .expect("sql");
        assert_eq!(run.expect("new").started, [DirectiveId(3)]);
        let old = journal.directive(DirectiveId(1)).await.expect("kept");
        assert_eq!(old.state, S::Expired);
    }
}

#[tokio::test]
async fn proposals_expire_and_people_decide_once() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        let offered = plan(vec![on_shard(1), on_shard(2), on_shard(3)]);
        journal.record(grant, offered, Mode::Propose, "", false, 2_000).await.expect("sql");
        let decide =
            |id, yes, now| journal.decide(grant, DirectiveId(id), yes, "ann", "because", now);
        decide(1, true, 3_000).await.expect("it waited");
        decide(2, false, 3_000).await.expect("it waited");
        assert!(matches!(decide(1, true, 3_000).await, Err(Error::NotAllowed(_))));
        assert!(decide(99, true, 3_000).await.is_err());
        assert_eq!(journal.expire_waiting(grant, 60_000).await.expect("sql"), 1);
        let states = journal.directives(10, None).await.expect("sql");
        let states: Vec<S> = states.iter().map(|r| r.state).collect();
        assert_eq!(states, [S::Expired, S::Rejected, S::Journaled]);
        // What was rejected is not proposed again a moment later.
        let print = fingerprint(ShardId(2), on_shard(2).kind, &on_shard(2).steps);
        assert_eq!(journal.quiet(70_000).await.expect("sql"), [print].into());
        assert!(journal.quiet(303_000).await.expect("sql").is_empty());
        let again =
            journal.record(grant, plan(vec![on_shard(2)]), Mode::Propose, "", false, 70_000).await;
        assert_eq!(again.expect("sql"), None);
        let later =
            journal.record(grant, plan(vec![on_shard(2)]), Mode::Propose, "", false, 400_000).await;
        assert!(later.expect("sql").is_some());
    }
}

#[tokio::test]
async fn fatal_notes_and_busy_shards_reject() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        let mut offered = plan(vec![on_shard(1), on_shard(2)]);
        offered.notes.push(CheckNote {
            fatal: true,
            shard: ShardId(2),
            message: "below floor".into(),
        });
        let recorded =
            journal.record(grant, offered, Mode::Act, "", false, 2_000).await.expect("sql");
        assert_eq!(recorded.expect("new").started, [DirectiveId(1)]);
        let other = Directive { kind: DirectiveKind::Drain, ..on_shard(1) };
        let recorded = journal
            .record(grant, plan(vec![other]), Mode::Act, "", false, 3_000)
            .await
            .expect("sql");
        assert_eq!(recorded.expect("new").started, [], "one active directive per shard");
        let rejected = journal.directive(DirectiveId(3)).await.expect("kept");
        assert_eq!(
            rejected.events.last().expect("it has some").reason,
            "the shard is busy with d1"
        );
        assert_eq!(journal.directive(DirectiveId(2)).await.expect("kept").state, S::Rejected);
    }
}

#[tokio::test]
async fn changes_follow_the_allowed_order_and_only_under_our_term() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        journal
            .record(grant, plan(vec![on_shard(1)]), Mode::Act, "", false, 2_000)
            .await
            .expect("sql");
        let id = DirectiveId(1);
        let leap = journal.change(grant, id, &Change::to(S::Applied, "leap"), 3_000).await;
        assert!(matches!(leap, Err(Error::NotAllowed(_))), "{leap:?}");
        let mut sent = Change::to(S::Sent, "go");
        sent.steps_done = Some(2);
        sent.epoch = Some(Epoch { shape: 1, membership: 12 });
        let entry = journal.change(grant, id, &sent, 3_000).await.expect("allowed");
        assert_eq!((entry.state, entry.steps_done, entry.epoch.membership), (S::Sent, 2, 12));
        let other = database.open().await;
        let later = 1_000_000_002_000;
        let next = other.acquire_lease("b", later, 1_000).await.expect("sql").expect("expired");
        let late = journal.change(grant, id, &Change::to(S::Applied, "late"), 4_000).await;
        assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
        let entry =
            Journal::new(other).change(next, id, &Change::to(S::Applied, "ours"), 5_000).await;
        let entry = entry.expect("the new holder goes on");
        assert_eq!(
            (entry.applied_unix_ms, entry.directive.controller_term),
            (Some(5_000), Term(2))
        );
        let history = journal.move_history(0).await.expect("sql");
        assert_eq!(history.get(&ShardId(1)), Some(&vec![5_000]));
    }
}

#[tokio::test]
async fn empty_plans_are_kept_only_when_asked_for_and_push_out_no_others() {
    for database in databases().await {
        let (journal, grant) = led(&database).await;
        let none = journal.record(grant, plan(vec![]), Mode::Act, "", false, 1).await.expect("sql");
        assert_eq!(none, None);
        for shard in 1..=PLANS_MAX {
            let offered = plan(vec![on_shard(shard)]);
            journal.record(grant, offered, Mode::Observe, "", false, 1).await.expect("sql");
        }
        for _ in 0..PLANS_EMPTY_MAX + 2 {
            journal.record(grant, plan(vec![]), Mode::Act, "", true, 1).await.expect("sql");
        }
        let newest = journal.newest_plan().await.expect("sql").expect("some");
        assert_eq!(newest, PlanId(PLANS_MAX + PLANS_EMPTY_MAX + 2));
        let kept = journal.plans(u32::MAX).await.expect("sql");
        let empty = kept.iter().filter(|p| p.directives.is_empty()).count() as u64;
        assert_eq!((kept.len() as u64, empty), (PLANS_MAX, PLANS_EMPTY_MAX));
        let oldest = kept.last().expect("some").id;
        assert_eq!(oldest, PlanId(PLANS_EMPTY_MAX + 1), "the newest of each kind are kept");
    }
}
