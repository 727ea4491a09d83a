//! Forecasts as the report draws them.

use crate::{Curve, Shape, forecast_metrics::Said};

/// What came before and after a moment, and what was said of it with its bounds. Steps count from the moment.
pub(super) fn forecast(history: &[f64], said: &[Said], came: &[f64], step: &str) -> Curve {
    let shown = &history[history.len().saturating_sub(3 * said.len().max(16))..];
    let before = shown.iter().enumerate().map(|(at, v)| [at as f64 - shown.len() as f64, *v]);
    let after = came.iter().enumerate().map(|(at, v)| [at as f64, *v]);
    let points = said.iter().enumerate().map(|(at, said)| [at as f64, said.point]);
    let bounds = said.iter().enumerate().filter_map(|(at, said)| {
        let (low, high) = said.bounds?;
        Some([at as f64, low, high])
    });
    Curve::new(Shape::Lines, &format!("steps of {step} from the forecast"), "value")
        .with("the model", points)
        .with("what came", before.chain(after))
        .with_band("90 % interval", bounds)
}

/// Errors by something that grows, the model's first.
pub(super) fn errors<'a>(
    x: &str,
    sides: impl IntoIterator<Item = (&'a str, Vec<[f64; 2]>)>,
) -> Curve {
    let empty = Curve::new(Shape::Lines, x, "mean absolute scaled error");
    sides.into_iter().fold(empty, |curve, (name, points)| curve.with(name, points))
}
