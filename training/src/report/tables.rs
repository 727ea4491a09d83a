//! The tables of a page.

use super::page::{escape, number};
use crate::{
    Evaluation,
    bootstrap::UNITS_FEW,
    drift::{DRIFTED_ABOVE, Drift, STEADY_BELOW},
    flat, lower_is_better,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Rows of one table.
const ROWS_MAX: usize = 400;

/// All figures, one column a side.
pub(super) fn figures(evaluation: &Evaluation) -> String {
    let mut sides: Vec<(&str, BTreeMap<String, f64>)> = Vec::new();
    let baselines = evaluation.baselines.iter().map(|(name, metrics)| (name.as_str(), metrics));
    for (name, metrics) in [("the model", &evaluation.metrics)].into_iter().chain(baselines) {
        sides.push((name, flat(metrics)));
    }
    let names: BTreeSet<&String> = sides.iter().flat_map(|(_, all)| all.keys()).collect();
    let mut text = String::from("<div class=\"wide\"><table><tr><th>figure</th>");
    for (side, _) in &sides {
        let _ = write!(text, "<th class=\"n\">{}</th>", escape(side));
    }
    text.push_str("</tr>\n");
    for name in names.iter().take(ROWS_MAX) {
        let _ = write!(text, "<tr><td>{}</td>", escape(name));
        for (_, all) in &sides {
            let value = all.get(*name).map_or_else(String::new, |value| number(*value));
            let _ = write!(text, "<td class=\"n\">{value}</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    if names.len() > ROWS_MAX {
        let _ = write!(text, "<p>{ROWS_MAX} of {} figures are shown.</p>\n", names.len());
    }
    text
}

/// How far the model lies above each other side.
pub(super) fn intervals(evaluation: &Evaluation) -> String {
    if evaluation.intervals.is_empty() {
        return "<p>No intervals: there are no figures of at least two units on both sides.</p>\n"
            .into();
    }
    let mut text = String::from(
        "<p>The model's figure minus the other's, with 95 % intervals of the paired bootstrap over units.</p>\n\
         <div class=\"wide\"><table><tr><th>figure</th><th>against</th><th class=\"n\">difference</th>\
         <th class=\"n\">from</th><th class=\"n\">to</th><th class=\"n\">units</th><th>so the model is</th></tr>\n",
    );
    let mut few = false;
    for (side, intervals) in &evaluation.intervals {
        for (name, interval) in intervals {
            let better = match (interval.sign(), lower_is_better(name)) {
                (0, _) => "not told apart",
                (1, false) | (-1, true) => "better",
                _ => "worse",
            };
            few |= interval.units < UNITS_FEW as u64;
            let _ = write!(
                text,
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td>{better}</td></tr>\n",
                escape(name),
                escape(side),
                number(interval.difference),
                number(interval.low),
                number(interval.high),
                interval.units
            );
        }
    }
    text.push_str("</table></div>\n");
    if few {
        let _ = write!(
            text,
            "<p>With fewer than {UNITS_FEW} units the intervals are too narrow.</p>\n"
        );
    }
    text
}

/// Features, the most moved first.
pub(super) fn drift(drift: &Drift) -> String {
    let mut text = format!(
        "<p>Against the values the model was trained on. The index is below {STEADY_BELOW} where a feature is steady and \
         above {DRIFTED_ABOVE} where it drifted.</p>\n<div class=\"wide\"><table><tr><th>feature</th>\
         <th class=\"n\">index (PSI)</th><th class=\"n\">KS</th><th class=\"n\">p</th>\
         <th class=\"n\">missing before</th><th class=\"n\">now</th><th>verdict</th></tr>\n"
    );
    for feature in drift.features.iter().take(ROWS_MAX) {
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:.1} %</td><td class=\"n\">{:.1} %</td><td>{}</td></tr>\n",
            escape(&feature.feature),
            number(feature.psi),
            number(feature.ks),
            number(feature.ks_p),
            100.0 * feature.missing_before,
            100.0 * feature.missing_now,
            feature.verdict.name()
        );
    }
    text.push_str("</table></div>\n");
    for (what, names) in [("Gone", &drift.absent), ("Not known to the model", &drift.unknown)] {
        if !names.is_empty() {
            let shown: Vec<String> = names.iter().take(20).map(|name| escape(name)).collect();
            let _ = write!(text, "<p>{what}: {} ({} in all).</p>\n", shown.join(", "), names.len());
        }
    }
    text
}
