//! Histories made from an object, right and with a mistake planted, and small ones held against the references.

use super::{
    object::{Intent, Plant, intents, run},
    reference::{by_brute_force, by_todc},
};
use crate::{
    history::{History, Operation, Outcome, Recorded},
    linearizability::{Violation, check, check_exactly_once, check_linearizability},
};
use isobar_api::Version;
use proptest::{prelude::*, strategy::ValueTree};

/// The same history with one answer changed: `which` of them, and how.
fn distort(history: &History, which: usize, how: u8, number: u64) -> History {
    let mut distorted = History::default();
    let which = which % history.operations().len().max(1);
    for (n, recorded) in history.operations().iter().enumerate() {
        let (client, sequence) = (recorded.client, recorded.sequence);
        distorted.invoke(client, sequence, recorded.operation.clone(), recorded.invoked_ns);
        let version = Version { hlc: number, ..Version::ABSENT };
        let Some(answer) = recorded.answers.first() else { continue };
        let outcome = match (&answer.outcome, how) {
            (same, _) if n != which => same.clone(),
            (Outcome::Row(Some((value, _))), 0) => Outcome::Row(Some((value.clone(), version))),
            (Outcome::Row(_), 1) => Outcome::Row(None),
            (Outcome::Row(_), _) => Outcome::Row(Some(("w1".into(), version))),
            (Outcome::Applied(_), 0) => Outcome::Failed,
            (Outcome::Applied(_), 1) => Outcome::Unknown,
            (Outcome::Conflict(current), 0) => Outcome::Conflict(vec![version; current.len()]),
            (Outcome::Applied(_) | Outcome::Conflict(_), _) => Outcome::Applied(version),
            (same, _) => same.clone(),
        };
        distorted.answer(client, sequence, outcome, answer.at_ns);
    }
    distorted
}

fn without_deletes(intents: &mut [Intent]) {
    intents.iter_mut().filter(|intent| intent.kind == 5).for_each(|intent| intent.kind = 3);
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_an_atomic_object_does_is_accepted(intents in intents(10, 3, 1..300)) {
        let found = check(&run(&intents, 3, Plant::None).0);
        prop_assert!(found.is_empty(), "{}", found[0]);
    }

    #[test]
    fn a_batch_done_in_half_is_found(mut intents in intents(5, 2, 20..100)) {
        let writes = intents.iter_mut().filter(|intent| (3..=8).contains(&intent.kind));
        writes.for_each(|intent| intent.kind = 8);
        let (history, met) = run(&intents, 2, Plant::HalveLast);
        prop_assume!(met);
        prop_assert!(!check_linearizability(&history).is_empty());
    }

    #[test]
    fn what_was_lost_is_found(mut intents in intents(5, 2, 20..100)) {
        // A delete of unknown outcome would explain a row that is not there.
        without_deletes(&mut intents);
        let (history, met) = run(&intents, 2, Plant::LoseLast);
        prop_assume!(met);
        prop_assert!(!check_linearizability(&history).is_empty());
    }

    #[test]
    fn what_was_applied_again_is_found(intents in intents(5, 2, 20..100), n in 0..20_usize) {
        let (history, met) = run(&intents, 2, Plant::Repeat(n));
        prop_assume!(met);
        prop_assert!(!check_exactly_once(&history).is_empty());
        prop_assert!(!check_linearizability(&history).is_empty());
    }

    #[test]
    fn a_condition_that_was_ignored_is_found(mut intents in intents(5, 2, 20..100), n in 0..10_usize) {
        without_deletes(&mut intents);
        let (history, met) = run(&intents, 2, Plant::Ignore(n));
        prop_assume!(met);
        prop_assert!(!check_linearizability(&history).is_empty());
    }

    #[test]
    fn small_histories_are_judged_as_by_brute_force_and_by_another_checker(
        mut intents in intents(4, 2, 1..6),
        keys in 1..3_u8,
        batches in any::<bool>(),
        distortions in prop::collection::vec((0..8_usize, 0..3_u8, 0..6_u64), 0..3),
    ) {
        if batches {
            let puts = intents.iter_mut().filter(|intent| (3..=4).contains(&intent.kind));
            puts.for_each(|intent| intent.kind = 8);
        }
        let (mut history, _) = run(&intents, keys, Plant::None);
        for (which, how, number) in distortions {
            history = distort(&history, which, how, number);
        }
        let expected = by_brute_force(&history);
        let found = check_linearizability(&history);
        prop_assert_eq!(found.is_empty(), expected, "{:#?}", found);
        prop_assert_eq!(by_todc(&history), expected);
    }
}

/// Thousands of operations on one key by ten clients at once, a sixth of them of unknown outcome; and keys that batches
/// tie together.
#[test]
fn long_histories_are_decided() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (keys, count) in [(1, 5_000), (4, 300)] {
        let intents = intents(10, keys, count..count + 1).new_tree(&mut runner).unwrap().current();
        let (history, _) = run(&intents, keys, Plant::None);
        assert_eq!(check(&history), []);
        let shows_a_row = |r: &Recorded| {
            matches!(r.operation, Operation::Get { bound_ns: None, .. })
                && matches!(r.outcome(), Outcome::Row(Some(_)))
        };
        let late = history.operations().iter().rposition(shows_a_row).unwrap();
        let found = check_linearizability(&distort(&history, late, 0, 1));
        assert!(matches!(&found[..], [Violation::NotLinearizable { .. }]), "{found:?}");
    }
}
