//! Histories written by hand.

use crate::{
    history::{History, Operation, Outcome},
    linearizability::{Violation, check, check_linearizability},
};
use isobar_api::Version;
use isobar_client::Mutation;

fn v(hlc: u64) -> Version {
    Version { hlc, ..Version::ABSENT }
}

fn row(value: &'static str, version: u64) -> Outcome {
    Outcome::Row(Some((value.into(), v(version))))
}

fn applied(version: u64) -> Outcome {
    Outcome::Applied(v(version))
}

/// A history of operations of as many clients: `(called, answered, what, outcome)`.
fn history(operations: &[(u64, u64, Operation, Outcome)]) -> History {
    let mut history = History::default();
    for (client, (invoked_ns, returned_ns, operation, outcome)) in operations.iter().enumerate() {
        let client = client as u64;
        history.invoke(client, 1, operation.clone(), *invoked_ns);
        history.answer(client, 1, outcome.clone(), *returned_ns);
    }
    history
}

fn accepted(operations: &[(u64, u64, Operation, Outcome)]) {
    let found = check(&history(operations));
    assert!(found.is_empty(), "{}", found[0]);
}

fn rejected(operations: &[(u64, u64, Operation, Outcome)]) -> String {
    let found = check(&history(operations));
    assert!(!found.is_empty(), "nothing was found");
    found[0].to_string()
}

fn put(value: &'static str) -> Operation {
    Operation::put("k", value)
}

fn get() -> Operation {
    Operation::get("k")
}

fn set(expected: u64, value: &'static str) -> Operation {
    Operation::compare_and_set("k", v(expected), value)
}

fn none() -> Outcome {
    Outcome::Row(None)
}

#[test]
fn a_read_beside_a_write_may_show_either_row_but_not_first_the_new_one() {
    let writes = [(0, 10, put("a"), applied(1)), (20, 60, put("b"), applied(2))];
    let with = |reads: &[(u64, u64, Operation, Outcome)]| [&writes, reads].concat();
    accepted(&with(&[(25, 30, get(), row("a", 1)), (31, 40, get(), row("b", 2))]));
    let why = rejected(&with(&[(25, 30, get(), row("b", 2)), (31, 40, get(), row("a", 1))]));
    let expected = "no order explains what was seen of k\n  after, in this order:\n    \
         [0, 10] client 0 number 1: put k=a -> applied at 0.1@n0\n  \
         there is: k=a at 0.1@n0\n  and one of these must be next:\n    \
         [20, 60] client 1 number 1: put k=b -> applied at 0.2@n0: \
         comes after [31, 40] client 3 number 1: get k -> a at 0.1@n0\n    \
         [25, 30] client 2 number 1: get k -> b at 0.2@n0: shows another row or version\n";
    assert_eq!(why, expected);
}

#[test]
fn a_stale_read_is_found_and_a_bounded_one_may_be_as_old_as_its_bound() {
    let writes = [(0, 10, put("a"), applied(1)), (20, 30, put("b"), applied(2))];
    let with = |read| [writes.as_slice(), &[read]].concat();
    rejected(&with((40, 50, get(), row("a", 1))));
    rejected(&with((40, 50, get(), none())));
    let bounded = |bound| Operation::get_bounded("k", bound);
    accepted(&with((40, 50, bounded(10), row("a", 1))));
    let why = rejected(&with((40, 50, bounded(9), row("a", 1))));
    assert!(why.contains("version 0.2@n0 was known before"), "{why}");
    rejected(&with((40, 50, bounded(25), none())));
    accepted(&with((40, 50, bounded(30), none())));
    rejected(&with((40, 50, bounded(30), row("c", 3))));
}

#[test]
fn a_bounded_read_shows_no_row_only_if_one_was_deleted_or_none_was_there() {
    let gone = Operation::delete("k");
    let writes = [(0, 10, put("a"), applied(1)), (20, 30, gone.clone(), applied(2))];
    let read = (40, 50, Operation::get_bounded("k", 5), none());
    accepted(&[writes.as_slice(), std::slice::from_ref(&read)].concat());
    let again = (31, 33, put("b"), applied(3));
    rejected(&[writes.as_slice(), &[again.clone(), read.clone()]].concat());
    accepted(&[writes.as_slice(), &[again, (34, 35, gone, Outcome::Unknown), read]].concat());
}

#[test]
fn a_linearizable_read_is_as_good_as_an_acknowledgement_for_bounded_ones() {
    let write = (0, 10, put("a"), Outcome::Unknown);
    let seen = (20, 30, get(), row("a", 1));
    let bounded = Operation::get_bounded("k", 5);
    rejected(&[write.clone(), seen.clone(), (40, 50, bounded.clone(), none())]);
    accepted(&[write, seen, (34, 50, bounded, none())]);
}

#[test]
fn a_lost_update_is_found() {
    accepted(&[
        (0, 10, put("a"), applied(1)),
        (20, 30, set(1, "b"), applied(2)),
        (20, 30, set(1, "c"), Outcome::Conflict(vec![v(2)])),
    ]);
    // Two compare-and-sets on one version: one of them was overwritten unseen.
    rejected(&[
        (0, 10, put("a"), applied(1)),
        (20, 30, set(1, "b"), applied(2)),
        (20, 30, set(1, "c"), applied(3)),
    ]);
    rejected(&[(0, 10, put("a"), applied(1)), (20, 30, set(0, "b"), applied(2))]);
    // A conflict that nobody caused.
    let why = rejected(&[
        (0, 10, put("a"), applied(1)),
        (20, 30, set(1, "b"), Outcome::Conflict(vec![v(1)])),
    ]);
    assert!(why.contains("its conditions hold"), "{why}");
    // An acknowledged write that is gone.
    rejected(&[(0, 10, put("a"), applied(1)), (20, 30, get(), none())]);
}

#[test]
fn versions_rise_with_the_order_of_writes() {
    accepted(&[(0, 30, put("a"), applied(2)), (0, 30, put("b"), applied(1))]);
    rejected(&[(0, 10, put("a"), applied(2)), (20, 30, put("b"), applied(1))]);
    rejected(&[(0, 10, put("a"), applied(2)), (20, 30, put("b"), applied(2))]);
}

#[test]
fn a_retry_is_one_operation_and_is_applied_once() {
    let retried = |first: Outcome, again: Outcome| {
        let mut history = History::default();
        history.invoke(1, 1, put("a"), 0);
        history.answer(1, 1, first, 10);
        history.invoke(1, 1, put("a"), 15);
        history.invoke(2, 1, put("b"), 20);
        history.answer(2, 1, applied(2), 30);
        history.answer(1, 1, again, 40);
        history
    };
    assert_eq!(check(&retried(Outcome::Unknown, applied(1))), []);
    assert_eq!(check(&retried(Outcome::Unknown, applied(3))), []);
    assert_eq!(check(&retried(Outcome::Failed, Outcome::Unknown)), []);
    let found = check(&retried(applied(1), applied(3)));
    assert!(matches!(&found[..], [Violation::AppliedTwice { .. }]), "{found:?}");
    // The same, seen by a read only.
    let mut history = retried(Outcome::Unknown, applied(1));
    history.invoke(3, 1, get(), 50);
    history.answer(3, 1, row("a", 3), 60);
    let found = check(&history);
    assert!(matches!(&found[0], Violation::AppliedTwice { .. }), "{found:?}");
    assert!(matches!(&found[1], Violation::NotLinearizable { .. }), "{found:?}");
}

#[test]
fn a_write_of_unknown_outcome_applies_late_or_never_but_once() {
    let unknown = (0, 5, put("a"), Outcome::Unknown);
    let with = |others: &[(u64, u64, Operation, Outcome)]| {
        [std::slice::from_ref(&unknown), others].concat()
    };
    let late = [(10, 20, put("b"), applied(1)), (30, 40, get(), row("b", 1))];
    accepted(&with(&late));
    accepted(&with(&[late.as_slice(), &[(50, 60, get(), row("a", 2))]].concat()));
    let gone_again = [(50, 60, get(), row("a", 2)), (70, 80, get(), row("b", 1))];
    rejected(&with(&[late.as_slice(), &gone_again].concat()));
    let twice = [
        (50, 60, get(), row("a", 2)),
        (70, 80, put("c"), applied(3)),
        (90, 99, get(), row("a", 4)),
    ];
    let found = check_linearizability(&history(&with(&[late.as_slice(), &twice].concat())));
    assert_eq!(found.len(), 1, "{found:?}");
    // Its version is still to be learned when something else sees the row.
    accepted(&with(&[(10, 20, set(7, "b"), applied(8)), (30, 40, get(), row("b", 8))]));
    accepted(&with(&[(10, 20, set(3, "b"), Outcome::Conflict(vec![v(7)]))]));
    rejected(&with(&[
        (10, 20, set(3, "b"), Outcome::Conflict(vec![v(7)])),
        (30, 40, get(), row("a", 8)),
    ]));
    // What has failed is in no row.
    rejected(&[(0, 5, put("a"), Outcome::Failed), (10, 20, get(), row("a", 1))]);
    // Nor is it there before it is called.
    rejected(&[(10, 20, get(), row("a", 1)), (30, 40, put("a"), Outcome::Unknown)]);
}

#[test]
fn unknown_conditional_writes_hold_to_their_conditions() {
    let first = (0, 5, put("a"), applied(1));
    let unknown = (10, 15, set(1, "b"), Outcome::Unknown);
    let read = |value, version| (30, 40, get(), row(value, version));
    accepted(&[first.clone(), unknown.clone(), read("b", 2)]);
    accepted(&[first.clone(), unknown.clone(), read("a", 1)]);
    let between = (20, 25, put("c"), applied(3));
    rejected(&[
        first.clone(),
        between.clone(),
        (26, 28, set(1, "b"), Outcome::Unknown),
        read("b", 4),
    ]);
    accepted(&[first.clone(), unknown.clone(), between.clone(), read("c", 3)]);
    // One unknown write on another.
    let second = (10, 15, set(2, "d"), Outcome::Unknown);
    accepted(&[first.clone(), unknown, second.clone(), read("d", 3)]);
    rejected(&[first, second, read("d", 3)]);
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    let both = |value: &'static str| {
        Operation::Write(vec![Mutation::put("x", value), Mutation::put("y", value)])
    };
    let read = |at: u64, key: &'static str, value, version| {
        (at, at + 5, Operation::get(key), row(value, version))
    };
    for second in [applied(2), Outcome::Unknown] {
        let writes = [(0, 10, both("a"), applied(1)), (20, 60, both("b"), second)];
        let with = |reads: &[_]| [writes.as_slice(), reads].concat();
        accepted(&with(&[read(25, "x", "a", 1), read(35, "y", "a", 1)]));
        accepted(&with(&[read(25, "x", "a", 1), read(35, "y", "b", 2), read(45, "x", "b", 2)]));
        let found = rejected(&with(&[read(25, "x", "b", 2), read(35, "y", "a", 1)]));
        assert!(found.contains("seen of x, y"), "{found}");
        rejected(&with(&[read(25, "x", "b", 2), read(35, "y", "b", 3)]));
        // Reads of one key only would not show it.
        accepted(&with(&[read(25, "y", "b", 2)]));
    }
    let conditional = Operation::Write(vec![
        Mutation::put("x", "c").expecting(v(1)),
        Mutation::put("y", "c").expecting(v(9)),
    ]);
    let start = (0, 10, both("a"), applied(1));
    accepted(&[start.clone(), (20, 30, conditional.clone(), Outcome::Conflict(vec![v(1), v(1)]))]);
    rejected(&[start.clone(), (20, 30, conditional.clone(), Outcome::Conflict(vec![v(1), v(9)]))]);
    rejected(&[start, (20, 30, conditional, applied(2))]);
}

#[test]
fn keys_without_a_common_batch_are_apart() {
    let mut operations = vec![(0, 10, put("a"), applied(1))];
    operations.push((0, 10, Operation::put("other", "a"), applied(1)));
    operations.push((20, 30, Operation::get("other"), none()));
    let found = check_linearizability(&history(&operations));
    assert!(matches!(&found[..], [Violation::NotLinearizable { keys, .. }] if keys == &["other"]));
}

#[test]
fn the_version_of_a_batch_of_unknown_outcome_counts_for_rows_overwritten_before_it_is_told() {
    let batch = Operation::Write(vec![Mutation::put("a", "x"), Mutation::put("b", "y")]);
    let told = |version| {
        [
            (0, 10, Operation::put("a", "w"), applied(7)),
            (20, 30, batch.clone(), Outcome::Unknown),
            (40, 50, Operation::put("a", "z"), applied(9)),
            (60, 70, Operation::get("b"), row("y", version)),
        ]
    };
    accepted(&told(8));
    rejected(&told(5));
    // The same where the batch deletes the row.
    let batch = Operation::Write(vec![Mutation::delete("a"), Mutation::put("b", "y")]);
    let told = |version| {
        [
            (0, 10, Operation::put("a", "w"), applied(7)),
            (20, 30, batch.clone(), Outcome::Unknown),
            (40, 50, Operation::get("a"), Outcome::Row(None)),
            (60, 70, Operation::get("b"), row("y", version)),
        ]
    };
    accepted(&told(8));
    rejected(&told(5));
}
