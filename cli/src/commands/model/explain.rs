//! `isobar model explain`.

use super::{computed, place::Database};
use crate::{
    args::Global,
    failure::Outcome,
    screen::{Screen, table},
};
use clap::Args;
use isobar_training::{Reason, interchange};
use serde_json::json;

/// Weights shown; -o json has them all.
const REASONS_MAX: usize = 40;

/// `model explain`
#[derive(Args, Debug)]
pub struct Explain {
    /// Folder of the package, or NAME@VERSION of a registered one
    package: String,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Explain, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let (_, package) = place.resolve(&args.package).await?.into_package(&args.package)?;
    let reasons = computed(screen, |_| interchange::reasons(&package))?;
    let shown = json!({
        "package_hash": package.hash, "manifest": package.manifest, "signature": package.signature,
        "sources": package.sources, "metrics": package.metrics, "reasons": reasons, "card": package.card,
    });
    screen.show(&shown, |_| {
        let inputs = package.signature.features.iter();
        let inputs = inputs.map(|f| [f.name.clone(), f.kind.clone(), f.unit.clone()]);
        format!(
            "{}\n## What it reads\n\n{}\n## What weighs how much\n\n{}",
            package.card,
            table(["feature", "type", "unit"], &[], inputs),
            weights(&reasons)
        )
    })
}

fn weights(reasons: &[Reason]) -> String {
    if reasons.is_empty() {
        return "This task does not say.\n".into();
    }
    let rows = reasons.iter().take(REASONS_MAX);
    table(
        ["name", "weight", "of"],
        &[1],
        rows.map(|r| [r.name.clone(), format!("{:.4}", r.weight), r.of.clone()]),
    )
}
