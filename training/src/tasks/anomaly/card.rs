//! What the model is for, in words.

use super::{Parameters, TRAINED_PART};
use crate::{Metric, Metrics};
use isobar_datasets::{LabelledSeries, Marks};
use sha2::{Digest, Sha256};
use std::fmt::Write;

pub(super) fn card(
    series: &[LabelledSeries],
    parameters: &Parameters,
    metrics: &Metrics,
) -> String {
    let points: usize = series.iter().map(|series| series.values.len()).sum();
    let windows: usize = series.iter().map(windows).sum();
    let (first_s, last_s) = series
        .iter()
        .flat_map(|series| &series.time_s)
        .fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(*at), last.max(*at)));
    let mut card = format!(
        "# Unusual values of one signal\n\n\
         Intended use: alerts on one metric of a node, shard or region, point by point, without labels and without settings \
         of its own for a series. It adapts: what lasts becomes usual.\n\n\
         - Data: {} series, {points} points, {windows} marked windows, from {first_s} to {last_s} (seconds since 1970), \
         SHA-256 of names, times, values and windows {}\n\
         - Chosen on them: the threshold, {}; nothing else is fitted, no seed is used\n\
         - Split: of series with marked points the first {} % without their labels; series with windows are judged as a \
         stream, the first 15 % (at most 750 points) not at all\n\
         - Limits: seasons are hours of the day, UTC; a weekend that differs from the week is learnt only as spread. The \
         first {} points of a series never alert. No second alert within {} points.\n",
        series.len(),
        fingerprint(series),
        parameters.settings.threshold,
        TRAINED_PART * 100.0,
        parameters.settings.warm_up_points,
        parameters.settings.grouping_points,
    );
    for (part, figures) in metrics {
        let Metric::Group(figures) = figures else { continue };
        for (name, figure) in figures {
            if let Metric::Number(figure) = figure {
                writeln!(card, "- {part} {name}: {figure:.2}").expect("a text takes all");
            }
        }
    }
    card
}

fn windows(series: &LabelledSeries) -> usize {
    match &series.marks {
        Marks::Windows(windows) => windows.len(),
        Marks::Points(_) => 0,
    }
}

fn fingerprint(series: &[LabelledSeries]) -> String {
    let mut hash = Sha256::new();
    for series in series {
        hash.update((series.name.len() as u64).to_le_bytes());
        hash.update(&series.name);
        hash.update((series.values.len() as u64).to_le_bytes());
        series.time_s.iter().for_each(|time_s| hash.update(time_s.to_le_bytes()));
        series.values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        if let Marks::Windows(windows) = &series.marks {
            for (first, last) in windows {
                hash.update((*first as u64).to_le_bytes());
                hash.update((*last as u64).to_le_bytes());
            }
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
