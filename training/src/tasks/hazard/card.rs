//! What the package says of itself.

use super::fit::Fitted;
use crate::package::Feature;
use crate::{Metric, Metrics, Signature};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn signature(fitted: &BTreeMap<String, Fitted>) -> Signature {
    let of_kind = |(kind, fitted): (&String, &Fitted)| -> Vec<Feature> {
        let feature = |name: &String| Feature {
            name: format!("{kind}.{name}"),
            kind: "f32".into(),
            unit: if name.ends_with("_h") { "h".into() } else { String::new() },
        };
        fitted.features.iter().map(feature).collect()
    };
    Signature { features: fitted.iter().flat_map(of_kind).collect() }
}

pub(super) fn metrics(fitted: &BTreeMap<String, Fitted>) -> Metrics {
    let of_kind = |(kind, fitted): (&String, &Fitted)| {
        let figures = Metrics::from([
            ("auc_pr_unseen_units_of_training".into(), fitted.seen_auc_pr.into()),
            ("rows".into(), (fitted.rows as f64).into()),
            ("failing_rows".into(), (fitted.failing_rows as f64).into()),
        ]);
        (kind.clone(), Metric::Group(figures))
    };
    fitted.iter().map(of_kind).collect()
}

pub(super) fn card(fitted: &BTreeMap<String, Fitted>, seed: u64) -> String {
    let mut card = String::from("# Failures of disks and machines\n\n");
    card += "Says with which probability a unit fails within each horizon, to rank units and to raise alerts. Not a ";
    card += "guarantee for any one unit; many failures announce nothing.\n\n";
    card += &format!("Seed {seed}. Trained on what the sets' READMEs call training, split by time");
    card += " (and, for `machines`, by machine).\n\n| kind | rows | failing | horizons, h |\n| --- | --- | --- | --- |\n";
    for (kind, fitted) in fitted {
        let hours: Vec<String> =
            fitted.model.horizons().iter().map(|h| h.hours.to_string()).collect();
        let (rows, failing) = (fitted.rows, fitted.failing_rows);
        card += &format!("| {kind} | {rows} | {failing} | {} |\n", hours.join(", "));
    }
    let machines: BTreeSet<&str> =
        fitted.values().flat_map(|f| f.trained_units.iter().map(String::as_str)).collect();
    if !machines.is_empty() {
        card += &format!(
            "\n{} machines were trained on; a judgement is about others.\n",
            machines.len()
        );
    }
    card
}
