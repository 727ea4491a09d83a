//! One diagram as SVG.

use super::{
    page::{COLOURS, escape},
    scale::{Scale, label},
};
use crate::{Curve, Series, Shape};
use std::fmt::Write as _;

const WIDTH: f64 = 700.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const BELOW: f64 = 42.0;
const LEGEND_LINE: f64 = 18.0;
/// Points of one series; more are thinned out.
const POINTS_MAX: usize = 2_000;
/// Series of one diagram.
const SERIES_MAX: usize = 12;

/// The paper, and where the axes are.
struct Frame {
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

/// Draws a curve.
pub(super) fn draw(curve: &Curve) -> String {
    let shown = curve.series.iter().take(SERIES_MAX);
    let series: Vec<Series> = shown.map(thinned).filter(|s| !s.points.is_empty()).collect();
    let square = curve.shape == Shape::Reliability;
    let legend = legend(&series);
    let top = 10.0 + legend.1;
    let bottom = top + if square { 420.0 } else { 260.0 };
    let frame = frame(curve, &series, top, bottom);
    let width = if square { LEFT + 420.0 + RIGHT } else { WIDTH };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width} {}\" width=\"{width}\">",
        escape(&format!("{} over {}", curve.y, curve.x)),
        bottom + BELOW
    );
    svg.push_str(&legend.0);
    axes(&mut svg, curve, &frame, width);
    for (index, series) in series.iter().enumerate() {
        one(&mut svg, curve, series, (index, &frame), bars_of(curve, index));
    }
    svg.push_str("</svg>");
    svg
}

/// How many rows of bars there are, and which one this is.
fn bars_of(curve: &Curve, index: usize) -> (usize, usize) {
    (index, curve.series.len().clamp(1, SERIES_MAX))
}

fn thinned(series: &Series) -> Series {
    let is_band = !series.upper.is_empty();
    let most = if is_band { series.upper.len() } else { usize::MAX };
    let step = series.points.len().min(most).div_ceil(POINTS_MAX).max(1);
    Series {
        name: series.name.clone(),
        points: series.points.iter().take(most).step_by(step).copied().collect(),
        upper: series.upper.iter().take(series.points.len()).step_by(step).copied().collect(),
    }
}

fn frame(curve: &Curve, series: &[Series], top: f64, bottom: f64) -> Frame {
    let xs = series.iter().flat_map(|s| s.points.iter().map(|p| p[0]));
    let ys =
        series.iter().flat_map(|s| s.points.iter().map(|p| p[1]).chain(s.upper.iter().copied()));
    if curve.shape == Shape::Reliability {
        let unit = |from, to| Scale::of([0.0, 1.0].into_iter(), false, from, to);
        return Frame { top, bottom, x: unit(LEFT, LEFT + 420.0), y: unit(bottom, top) };
    }
    let zero = (curve.shape != Shape::Lines).then_some(0.0);
    // Bars stand in the middle of their value: half a step at both ends.
    let margin = if curve.shape == Shape::Bars { 24.0 } else { 0.0 };
    Frame {
        top,
        bottom,
        x: Scale::of(xs, curve.log_x, LEFT + margin, WIDTH - RIGHT - margin),
        y: Scale::of(ys.chain(zero), false, bottom, top).nice(),
    }
}

/// Names of the series, in as many lines as they need, and their height.
fn legend(series: &[Series]) -> (String, f64) {
    if series.len() < 2 {
        return (String::new(), 0.0);
    }
    let (mut text, mut x, mut y) = (String::new(), LEFT, 16.0);
    for (index, series) in series.iter().enumerate() {
        let name = escape(&series.name);
        let width = 26.0 + 7.0 * series.name.chars().count().min(60) as f64;
        if x + width > WIDTH - RIGHT && x > LEFT {
            (x, y) = (LEFT, y + LEGEND_LINE);
        }
        let _ = write!(
            text,
            "<rect class=\"f{}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" rx=\"2\"/>\
             <text class=\"name\" x=\"{:.0}\" y=\"{y:.0}\">{name}</text>",
            index % COLOURS,
            y - 9.0,
            x + 15.0
        );
        x += width;
    }
    (text, y + 4.0)
}

fn axes(svg: &mut String, curve: &Curve, frame: &Frame, width: f64) {
    let (right, bottom) = (width - RIGHT, frame.bottom);
    for mark in frame.y.marks() {
        let y = frame.y.at(mark);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            label(mark)
        );
    }
    for mark in frame.x.marks() {
        let x = frame.x.at(mark);
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 4.0,
            bottom + 17.0,
            label(mark)
        );
    }
    let middle = (frame.top + bottom) / 2.0;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(13 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + right) / 2.0,
        bottom + 35.0,
        escape(&curve.x),
        escape(&curve.y)
    );
    if curve.shape == Shape::Reliability {
        let (x0, y0, x1, y1) = (frame.x.at(0.0), frame.y.at(0.0), frame.x.at(1.0), frame.y.at(1.0));
        let _ = write!(
            svg,
            "<line class=\"diagonal\" x1=\"{x0}\" y1=\"{y0}\" x2=\"{x1}\" y2=\"{y1}\"/>"
        );
    }
}

fn one(
    svg: &mut String,
    curve: &Curve,
    series: &Series,
    at: (usize, &Frame),
    bars: (usize, usize),
) {
    let (index, frame) = at;
    let colour = index % COLOURS;
    let place = |p: &[f64; 2]| (frame.x.at(p[0]), frame.y.at(p[1]));
    if !series.upper.is_empty() {
        let lower = series.points.iter().map(place);
        let upper =
            series.points.iter().zip(&series.upper).rev().map(|(p, high)| place(&[p[0], *high]));
        let ring: Vec<String> = lower.chain(upper).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(svg, "<polygon class=\"band f{colour}\" points=\"{}\"/>", ring.join(" "));
        return;
    }
    if curve.shape == Shape::Bars {
        let step = step_of(&series.points, frame).min(48.0);
        let width = (step * 0.86 / bars.1 as f64).max(1.0);
        for point in &series.points {
            let (x, y) = place(point);
            let left = x - step * 0.43 + width * bars.0 as f64;
            let height = (frame.y.at(0.0) - y).max(0.0);
            let _ = write!(
                svg,
                "<rect class=\"f{colour}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        }
        return;
    }
    let mut path = String::new();
    let mut last = None;
    for (x, y) in series.points.iter().map(place) {
        match (last, curve.shape) {
            (None, _) => drop(write!(path, "M{x:.1} {y:.1}")),
            (Some(_), Shape::Steps) => drop(write!(path, "H{x:.1}V{y:.1}")),
            (Some(_), _) => drop(write!(path, "L{x:.1} {y:.1}")),
        }
        last = Some((x, y));
    }
    let _ = write!(svg, "<path class=\"line s{colour}\" d=\"{path}\"/>");
    if curve.shape == Shape::Reliability || series.points.len() <= 30 {
        for (x, y) in series.points.iter().map(place) {
            let _ =
                write!(svg, "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }
}

/// The least distance of two neighbours on the paper.
fn step_of(points: &[[f64; 2]], frame: &Frame) -> f64 {
    let mut places: Vec<f64> = points.iter().map(|p| frame.x.at(p[0])).collect();
    places.sort_by(f64::total_cmp);
    let steps = places.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0);
    steps.fold(f64::INFINITY, f64::min).clamp(1.0, 48.0)
}
