//! A write that was sent many times took effect once, and one that was refused never.

use super::Violation;
use crate::history::{History, Operation, Outcome, Recorded};
use bytes::Bytes;
use isobar_api::Version;
use std::collections::BTreeMap;

/// The write that gives a key a value; `None`: more than one does, so that the value does not tell.
type Writers<'a> = BTreeMap<(&'a Bytes, &'a Bytes), Option<&'a Recorded>>;

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut writers = Writers::new();
    for recorded in history.operations() {
        let Operation::Write(mutations) = &recorded.operation else { continue };
        let mut answers = recorded.answers.iter().map(|answer| &answer.outcome);
        let mut definite = answers.by_ref().filter(|outcome| outcome.is_definite());
        if let Some(first) = definite.next()
            && let Some(other) = definite.find(|other| *other != first)
        {
            let why = format!("answered as {first} and as {other}");
            found.push(Violation::AppliedTwice { write: recorded.clone(), why });
        }
        for mutation in mutations {
            let Some(value) = &mutation.value else { continue };
            let writer = writers.entry((&mutation.key, value)).or_insert(Some(recorded));
            *writer = writer.filter(|known| std::ptr::eq(*known, recorded));
        }
    }
    let mut shown: BTreeMap<(&Bytes, &Bytes), Version> = BTreeMap::new();
    for read in history.operations() {
        let (Operation::Get { key, .. }, Outcome::Row(Some((value, version)))) =
            (&read.operation, read.outcome())
        else {
            continue;
        };
        let Some(Some(write)) = writers.get(&(key, value)).copied() else { continue };
        let why = match write.outcome() {
            Outcome::Applied(applied) if applied != version => {
                format!("applied at {applied}, and read at {version}")
            }
            Outcome::Conflict(_) | Outcome::Failed => {
                format!("it had no effect, and was read at {version}")
            }
            _ => match *shown.entry((key, value)).or_insert(*version) {
                other if other != *version => format!("read at {other} and at {version}"),
                _ => continue,
            },
        };
        found.push(Violation::AppliedTwice { write: write.clone(), why });
    }
    found
}
