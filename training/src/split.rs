//! Backtesting: which rows a model is fitted on and which it is judged on, by walking forward through time.
//!
//! There is no random split here: rows that are close in time are alike, and a model judged on rows between those it was
//! fitted on looks better than it will ever be. What is fitted always lies before what is judged, with an embargo between
//! (López de Prado, Advances in Financial Machine Learning, 2018, chapter 7): a label that looks `horizon` ahead must not see
//! into the rows that judge it. Groups (machines, drives, series) can be kept apart as well.

use crate::{Error, Result, random::mixed};
use serde::{Deserialize, Serialize};

/// Folds of one plan.
pub const FOLDS_MAX: usize = 10_000;

/// What is known of a row before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// When it was observed, in whatever unit the plan is.
    pub at: u64,
    /// To what it belongs.
    pub group: &'a str,
}

/// How much of the past a fold is fitted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// All of it: the window expands.
    All,
    /// Its newest part, this long: the window slides.
    Newest(u64),
}

/// A way to walk through time. All lengths are in the unit of [`Row::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How much there must be before the first test.
    pub first: u64,
    /// Length of a test window.
    pub test: u64,
    /// How far the next fold is; at least `test`, so that no row is judged twice.
    pub step: u64,
    /// How much of the past a fold is fitted on.
    pub past: Past,
    /// How far a label looks ahead.
    pub horizon: u64,
    /// What is left out between both sides; at least `horizon`.
    pub embargo: u64,
    /// Parts into which the groups are dealt; each fold is judged on one part, in turn, and fitted on the others. 1: the same
    /// groups on both sides.
    pub parts: u64,
    /// Seed by which groups are dealt.
    pub seed: u64,
}

/// One fold: positions of rows, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Rows to fit on.
    pub train: Vec<usize>,
    /// Rows to judge on.
    pub test: Vec<usize>,
    /// Begin of the test window.
    pub from: u64,
    /// Its end, not in it.
    pub to: u64,
}

impl Plan {
    fn check(&self) -> Result<()> {
        let refused = |what: &str| Err(Error::Unsuitable(format!("a backtest's {what}")));
        match self {
            _ if self.first == 0 || self.test == 0 => {
                refused("windows must be longer than nothing")
            }
            _ if self.step < self.test => {
                refused("step must be at least its test window, or rows are judged twice")
            }
            _ if self.embargo < self.horizon => {
                refused("embargo must be at least the horizon of its labels")
            }
            Plan { past: Past::Newest(0), .. } => refused("past must be longer than nothing"),
            _ if self.parts == 0 => refused("groups are dealt into at least one part"),
            _ => Ok(()),
        }
    }

    /// The part a group is dealt to.
    fn part(&self, group: &str) -> u64 {
        let bytes =
            group.bytes().fold(mixed(self.seed), |hash, byte| mixed(hash ^ u64::from(byte)));
        bytes % self.parts
    }

    /// The folds, oldest first; those with nothing on one side are left out. Rows may come in any order.
    pub fn folds(&self, rows: &[Row<'_>]) -> Result<Vec<Fold>> {
        self.check()?;
        let times = rows.iter().map(|row| row.at);
        let (Some(oldest), Some(newest)) = (times.clone().min(), times.max()) else {
            return Ok(Vec::new());
        };
        let walk = (newest - oldest).saturating_sub(self.first) / self.step + 1;
        if walk > FOLDS_MAX as u64 {
            let what =
                format!("a backtest of {walk} folds; at most {FOLDS_MAX}: take a longer step");
            return Err(Error::Unsuitable(what));
        }
        let parts: Vec<u64> = rows.iter().map(|row| self.part(row.group)).collect();
        let mut folds = Vec::new();
        let mut from = oldest.saturating_add(self.first);
        for number in 0.. {
            if from > newest {
                break;
            }
            let fold = self.fold(
                rows,
                &parts,
                (from, from.saturating_add(self.test)),
                number % self.parts,
            );
            if !fold.train.is_empty() && !fold.test.is_empty() {
                folds.push(fold);
            }
            match from.checked_add(self.step) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(folds)
    }

    fn fold(&self, rows: &[Row<'_>], parts: &[u64], window: (u64, u64), turn: u64) -> Fold {
        let (from, to) = window;
        // The last moment that may be fitted on lies a whole embargo before the first that is judged.
        let end = from.checked_sub(self.embargo);
        let begin = match self.past {
            Past::All => 0,
            Past::Newest(length) => end.unwrap_or(0).saturating_sub(length),
        };
        let apart = self.parts > 1;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (index, (row, part)) in rows.iter().zip(parts).enumerate() {
            if (from..to).contains(&row.at) && (!apart || *part == turn) {
                test.push(index);
            } else if end.is_some_and(|end| (begin..end).contains(&row.at))
                && (!apart || *part != turn)
            {
                train.push(index);
            }
        }
        Fold { train, test, from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        Plan {
            first: 50,
            test: 10,
            step: 10,
            past: Past::All,
            horizon: 5,
            embargo: 5,
            parts: 1,
            seed: 1,
        }
    }

    fn hours(n: u64) -> Vec<Row<'static>> {
        (0..n).map(|at| Row { at, group: "a" }).collect()
    }

    #[test]
    fn windows_expand_or_slide_and_every_later_row_is_judged_once() {
        let rows = hours(100);
        let folds = plan().folds(&rows).expect("sound");
        assert_eq!(folds.len(), 5);
        assert_eq!((folds[0].train.len(), folds[4].train.len()), (45, 85));
        let judged: Vec<usize> = folds.iter().flat_map(|f| f.test.clone()).collect();
        assert_eq!(judged, (50..100).collect::<Vec<_>>());
        let sliding = Plan { past: Past::Newest(20), ..plan() }.folds(&rows).expect("sound");
        assert!(sliding.iter().all(|f| f.train.len() == 20));
        assert_eq!(sliding[4].train, (65..85).collect::<Vec<_>>());
    }

    #[test]
    fn plans_that_would_leak_or_never_end_are_refused() {
        let refused = |plan: Plan| plan.folds(&hours(100)).expect_err("refused").to_string();
        assert!(refused(Plan { embargo: 4, ..plan() }).contains("embargo"));
        assert!(refused(Plan { step: 9, ..plan() }).contains("judged twice"));
        assert!(refused(Plan { test: 0, ..plan() }).contains("longer than nothing"));
        assert!(refused(Plan { past: Past::Newest(0), ..plan() }).contains("past"));
        assert!(refused(Plan { parts: 0, ..plan() }).contains("part"));
        let far = [Row { at: 0, group: "a" }, Row { at: u64::MAX, group: "a" }];
        assert!(plan().folds(&far).expect_err("endless").to_string().contains("longer step"));
        assert_eq!(plan().folds(&[]).expect("nothing to do"), []);
    }

    fn plans() -> impl Strategy<Value = Plan> {
        let past = prop_oneof![Just(Past::All), (1_u64..80).prop_map(Past::Newest)];
        let lengths = (1_u64..60, 1_u64..20, 0_u64..20, 0_u64..15, 0_u64..10);
        (lengths, past, 1_u64..5, any::<u64>()).prop_map(
            |((first, test, more, horizon, wait), past, parts, seed)| Plan {
                first,
                test,
                step: test + more,
                past,
                horizon,
                embargo: horizon + wait,
                parts,
                seed,
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_judged_is_near_or_before_what_was_fitted(
            plan in plans(),
            rows in prop::collection::vec((0_u64..300, 0_usize..12), 0..250),
        ) {
            let names: Vec<String> = (0..12).map(|i| format!("machine-{i}")).collect();
            let rows: Vec<Row<'_>> = rows.iter().map(|(at, g)| Row { at: *at, group: &names[*g] }).collect();
            let mut judged = BTreeSet::new();
            for fold in plan.folds(&rows).expect("sound") {
                let newest = fold.train.iter().map(|i| rows[*i].at).max().expect("not empty");
                let oldest = fold.test.iter().map(|i| rows[*i].at).min().expect("not empty");
                prop_assert!(newest + plan.embargo < oldest, "{newest} {oldest}");
                // The label of the newest row fitted on looks no further than the rows judged.
                prop_assert!(newest + plan.horizon < oldest);
                if plan.parts > 1 {
                    let groups = |side: &[usize]| side.iter().map(|i| rows[*i].group).collect::<BTreeSet<_>>();
                    prop_assert!(groups(&fold.train).is_disjoint(&groups(&fold.test)));
                }
                for row in &fold.test {
                    prop_assert!(judged.insert(*row), "judged twice");
                }
            }
            if plan.parts == 1 && plan.step == plan.test && plan.past == Past::All && plan.embargo < plan.first {
                let oldest = rows.iter().map(|row| row.at).min().unwrap_or(0);
                let due = rows.iter().filter(|row| row.at >= oldest + plan.first).count();
                prop_assert_eq!(judged.len(), due, "no later row is left out");
            }
        }
    }
}
