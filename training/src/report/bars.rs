//! Figures of single units beside the baselines'.

use super::{
    page::{COLOURS, escape, number},
    scale::{Scale, label},
};
use crate::{Evaluation, Metric, Units};
use std::{collections::BTreeSet, fmt::Write as _};

/// Units of one drawing: those where the sides differ most.
const UNITS_MAX: usize = 40;
/// Figures of one page.
const METRICS_MAX: usize = 6;
/// Baselines of one drawing.
const SIDES_MAX: usize = 5;
/// Characters of a unit's name.
const UNIT_CHARS: usize = 31;
const LEFT: f64 = 230.0;
const WIDTH: f64 = 700.0;
const BAR: f64 = 8.0;

/// One drawing a figure; empty where there are no units.
pub(super) fn of(evaluation: &Evaluation) -> String {
    let units = evaluation.units();
    let others = evaluation.baseline_units();
    let names: BTreeSet<&String> = units.values().flat_map(|metrics| metrics.keys()).collect();
    let mut sides: Vec<(&str, &Units)> = vec![("the model", &units)];
    sides.extend(others.iter().take(SIDES_MAX).map(|(name, units)| (name.as_str(), units)));
    let mut text = String::new();
    for name in names.iter().take(METRICS_MAX) {
        text.push_str(&drawing(name, &sides));
    }
    if names.len() > METRICS_MAX {
        let _ = write!(text, "<p>{METRICS_MAX} of {} figures are shown.</p>\n", names.len());
    }
    text
}

/// A unit's figure.
fn value(units: &Units, unit: &str, name: &str) -> Option<f64> {
    let value = match units.get(unit)?.get(name)? {
        Metric::Number(value) => *value,
        Metric::Group(group) => match (group.get("sum")?, group.get("of")?) {
            (Metric::Number(sum), Metric::Number(of)) => sum / of,
            _ => return None,
        },
    };
    value.is_finite().then_some(value)
}

/// The end of a name, where paths differ.
fn ending(unit: &str) -> String {
    let over = unit.chars().count().saturating_sub(UNIT_CHARS);
    let mark = if over > 0 { "…" } else { "" };
    format!("{mark}{}", unit.chars().skip(over).collect::<String>())
}

fn drawing(name: &str, sides: &[(&str, &Units)]) -> String {
    let row = |unit: &String| -> (String, Vec<Option<f64>>) {
        (unit.clone(), sides.iter().map(|(_, units)| value(units, unit, name)).collect())
    };
    let mut rows: Vec<_> = sides[0].1.keys().map(row).filter(|(_, v)| v[0].is_some()).collect();
    let all = rows.len();
    if all == 0 {
        return String::new();
    }
    if all > UNITS_MAX {
        let gap = |values: &[Option<f64>]| match values {
            [Some(ours), Some(theirs), ..] => (ours - theirs).abs(),
            _ => 0.0,
        };
        rows.sort_by(|a, b| gap(&b.1).total_cmp(&gap(&a.1)).then(a.0.cmp(&b.0)));
        rows.truncate(UNITS_MAX);
        rows.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let mut caption = escape(name);
    if all > rows.len() {
        let _ = write!(caption, ": the {} of {all} units that differ most", rows.len());
    }
    format!("<figure><figcaption>{caption}</figcaption>{}</figure>\n", svg(name, sides, &rows))
}

fn svg(name: &str, sides: &[(&str, &Units)], rows: &[(String, Vec<Option<f64>>)]) -> String {
    let values = rows.iter().flat_map(|(_, values)| values.iter().flatten().copied());
    let scale = Scale::of(values.chain([0.0]), false, LEFT, WIDTH - 60.0).nice();
    let group = BAR * sides.len() as f64 + 8.0;
    let top = 28.0;
    let bottom = top + group * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{} by unit\" viewBox=\"0 0 {WIDTH} {:.0}\" \
         width=\"{WIDTH}\">",
        escape(name),
        bottom + 24.0
    );
    let mut x = LEFT;
    for (index, (side, _)) in sides.iter().enumerate() {
        let _ = write!(
            svg,
            "<rect class=\"f{}\" x=\"{x:.0}\" y=\"5\" width=\"10\" height=\"10\" rx=\"2\"/>\
             <text class=\"name\" x=\"{:.0}\" y=\"14\">{}</text>",
            index % COLOURS,
            x + 15.0,
            escape(side)
        );
        x += 32.0 + 7.0 * side.chars().count().min(60) as f64;
    }
    for mark in scale.marks() {
        let x = scale.at(mark);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            label(mark)
        );
    }
    let zero = scale.at(0.0);
    for (position, (unit, values)) in rows.iter().enumerate() {
        let y = top + group * position as f64 + 4.0;
        let middle = y + (group - 8.0) / 2.0 + 4.0;
        let short = ending(unit);
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escape(&short)
        );
        for (index, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (end, y) = (scale.at(*value), y + BAR * index as f64);
            let (left, width) = (zero.min(end), (end - zero).abs().max(1.0));
            let _ = write!(
                svg,
                "<rect class=\"f{}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\"><title>{}</title></rect>",
                index % COLOURS,
                BAR - 1.0,
                number(*value)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}
