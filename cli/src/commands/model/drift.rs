//! `isobar model drift`.

use super::{computed, place::Database};
use crate::{
    args::Global,
    failure::{Outcome, invalid},
    screen::{Screen, table},
};
use clap::{Args, ValueHint};
use isobar_training::{drift::Drift as Found, evidence::SAMPLE_ROWS};
use std::path::PathBuf;

/// `model drift`
#[derive(Args, Debug)]
pub struct Drift {
    /// Folder of the package, or NAME@VERSION of a registered one
    package: String,
    /// Folder of the data set to compare
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data: PathBuf,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Drift, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let (_, package) = place.resolve(&args.package).await?.into_package(&args.package)?;
    if package.reference.features.is_empty() {
        return Err(invalid(format!("{} has no drift reference", args.package)).into());
    }
    let lesson = package.manifest.task.lesson();
    let data = [args.data.clone()];
    let sample = computed(screen, |bar| lesson.features(&data, SAMPLE_ROWS, bar))?;
    screen.show(&package.reference.compare(&sample), describe)
}

fn describe(drift: &Found) -> String {
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    let rows = drift.features.iter().map(|f| {
        [
            f.feature.clone(),
            format!("{:.3}", f.psi),
            format!("{:.3}", f.ks),
            format!("{:.2e}", f.ks_p),
            share(f.missing_before),
            share(f.missing_now),
            f.verdict.name().to_owned(),
        ]
    });
    let header = ["feature", "psi", "ks", "ks p", "missing before", "now", "verdict"];
    let mut text = table(header, &[1, 2, 3, 4, 5], rows);
    for (what, names) in [("gone", &drift.absent), ("not known to the model", &drift.unknown)] {
        if !names.is_empty() {
            let shown: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
            text.push_str(&format!("{what}: {} ({} in all)\n", shown.join(", "), names.len()));
        }
    }
    text.push_str(&format!(
        "{} of {} drifted\n",
        drift.drifted(),
        drift.features.len() + drift.absent.len()
    ));
    text
}
