//! The model card (Mitchell and others, Model Cards for Model Reporting, FAT* 2019).

use crate::{Metric, Metrics, Task, Trained, evidence::Evidence};
use std::fmt::Write as _;

/// What the lesson says of its model, then what is known of data, seed and figures.
pub(super) fn text(task: Task, seed: u64, trained: &Trained, evidence: &Evidence) -> String {
    let mut card = format!("# A model for {}\n\n{}\n", task.name(), trained.card.trim_end());
    card.push_str("\n## Data\n\n");
    if evidence.sources.is_empty() {
        card.push_str("Not recorded.\n");
    } else {
        card.push_str("| set | files | bytes | from | to | SHA-256 |\n| --- | ---: | ---: | --- | --- | --- |\n");
    }
    for source in &evidence.sources {
        let (from, to) = source.window.clone().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            card,
            "| {} | {} | {} | {} | {} | {} |",
            cell(&source.name),
            source.files,
            source.size_bytes,
            cell(&from),
            cell(&to),
            source.sha256
        );
    }
    let _ = match crate::interchange::is_foreign(&trained.parameters) {
        true => write!(card, "\nTrained elsewhere; how is not known here.\n\n## Figures\n\n"),
        false => write!(
            card,
            "\nTrained with seed {seed}; the same seed and files give the same bytes.\n\n## Figures\n\n"
        ),
    };
    if trained.metrics.is_empty() {
        card.push_str("None: no part of the training data was kept back.\n");
    } else {
        card.push_str("On the part of the training data that was kept back.\n\n| figure | value |\n| --- | ---: |\n");
        rows(&mut card, "", &trained.metrics);
    }
    card.push_str("\n## Calibration and drift\n\n");
    card.push_str(if trained.curves.contains_key("reliability") {
        "`calibration.svg` shows whether its probabilities came true on the same part.\n"
    } else {
        "It has no calibration plot.\n"
    });
    let features = evidence.reference.features.len();
    let _ = match features {
        0 => writeln!(card, "It has no drift reference."),
        _ => writeln!(
            card,
            "`drift_reference.json` has the spread of {features} features, for `isobar model drift`."
        ),
    };
    card
}

fn rows(card: &mut String, prefix: &str, metrics: &Metrics) {
    for (name, metric) in metrics {
        match metric {
            Metric::Number(value) => {
                let _ = writeln!(card, "| {prefix}{} | {value} |", cell(name));
            }
            Metric::Group(group) => rows(card, &format!("{prefix}{}.", cell(name)), group),
        }
    }
}

/// Text that cannot end its cell.
fn cell(text: &str) -> String {
    text.replace(['|', '\n', '\r'], " ")
}
