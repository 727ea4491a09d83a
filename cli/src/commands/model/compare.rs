//! `isobar model compare`.

use super::{
    evaluate::side,
    figures::beside_baselines,
    place::{Database, Side},
};
use crate::{
    args::Global,
    failure::{Outcome, invalid},
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::ApiError;
use isobar_training::{Evaluation, set_beside};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// `model compare`
#[derive(Args, Debug)]
pub struct Compare {
    /// Folder of a package, NAME@VERSION, or a file that `evaluate -o json` wrote
    a: String,
    /// What it is compared with
    b: String,
    /// Folder of the data set on which packages are judged now
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Compare, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let mut judged = Vec::with_capacity(2);
    for text in [&args.a, &args.b] {
        judged.push(match (&args.data, place.resolve(text).await?) {
            (_, Side::Judged(evaluation)) => *evaluation,
            (Some(data), Side::Package { .. }) => side(&place, text, data, screen).await?,
            (None, Side::Package { .. }) => {
                let message = format!("{text} is a package: --data DIR says on what to judge it");
                return Err(invalid(message).into());
            }
        });
    }
    let (b, a) = (judged.pop().expect("two"), judged.pop().expect("two"));
    same_rows(&a, &b)?;
    let compared = beside(a, &args.b, &b);
    screen.show(&compared, beside_baselines)
}

/// The first with nothing beside it but the second.
fn beside(mut a: Evaluation, name: &str, b: &Evaluation) -> Evaluation {
    // The units that follow from the groups of figures stay with them.
    (a.baselines, a.baseline_units, a.intervals) = Default::default();
    set_beside(&mut a, name, b);
    a.curves = BTreeMap::new();
    a
}

/// Figures of different rows say nothing about each other.
fn same_rows(a: &Evaluation, b: &Evaluation) -> Result<(), ApiError> {
    let name = |evaluation: &Evaluation| {
        let path = Path::new(&evaluation.dataset).file_name();
        path.map_or_else(|| evaluation.dataset.clone(), |name| name.to_string_lossy().into_owned())
    };
    if (&a.task, name(a), a.n) == (&b.task, name(b), b.n) {
        return Ok(());
    }
    Err(invalid(format!(
        "not the same rows: {} on {} with {} rows, {} on {} with {}",
        a.task, a.dataset, a.n, b.task, b.dataset, b.n
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_judgements_of_the_same_rows_are_compared() {
        let judged = |task: &str, dataset: &str, n: u64| Evaluation {
            task: task.into(),
            dataset: dataset.into(),
            n,
            ..Evaluation::default()
        };
        let a = judged("hazard", "sets/disks", 9);
        assert!(same_rows(&a, &judged("hazard", "elsewhere/disks", 9)).is_ok());
        for other in [
            judged("forecast", "sets/disks", 9),
            judged("hazard", "sets/other", 9),
            judged("hazard", "disks", 8),
        ] {
            assert!(same_rows(&a, &other).is_err(), "{other:?}");
        }
    }
}
