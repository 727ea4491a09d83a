//! Pages for people: one HTML file a judgement, with everything in it, and plots as SVG.
//!
//! Nothing is loaded from elsewhere and nothing runs: tables, and drawings made here. Names from data sets are escaped.

mod bars;
mod page;
mod plot;
mod scale;
mod tables;
#[cfg(test)]
mod tests;

use crate::{Curve, Evaluation, drift::Drift};
use page::{STYLE, escape};
use std::fmt::Write as _;

/// Diagrams of one page.
const CURVES_MAX: usize = 60;
/// The order of the curves that the page knows, with what it says of them.
const KNOWN: [(&str, &str, &str); 6] = [
    ("precision_recall", "Precision and recall", "Each point is one threshold."),
    (
        "reliability",
        "Reliability",
        "Predicted probability, and the share that came true; on the diagonal both agree.",
    ),
    ("lead", "Lead time", "How long before the event the first alert came."),
    ("hit_ratio", "Hit ratio by size of the cache", ""),
    ("forecast", "Forecasts", "What came, what was forecast, and the interval."),
    ("error_over_time", "Error over time", ""),
];

/// The page of a judgement, with the drift of its data from those the model was trained on where that is known.
pub fn html(evaluation: &Evaluation, drift: Option<&Drift>) -> String {
    let title = format!("{} on {}", evaluation.task, evaluation.dataset);
    let mut body = format!(
        "<h1>{}</h1>\n<p>{} rows judged in {:.1} s.</p>\n<h2>Figures</h2>\n{}",
        escape(&title),
        evaluation.n,
        evaluation.seconds,
        tables::figures(evaluation)
    );
    let _ = write!(body, "<h2>Differences</h2>\n{}", tables::intervals(evaluation));
    let bars = bars::of(evaluation);
    if !bars.is_empty() {
        let _ = write!(body, "<h2>By unit</h2>\n{bars}");
    }
    body.push_str(&curves(evaluation));
    if let Some(drift) = drift {
        let _ = write!(body, "<h2>Drift</h2>\n{}", tables::drift(drift));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&title)
    )
}

/// A diagram as a file of its own.
pub fn standalone(curve: &Curve) -> String {
    let drawn = plot::draw(curve);
    let style =
        format!("<style>{STYLE}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>");
    match drawn.split_once('>') {
        Some((opening, rest)) => format!("{opening}>{style}{rest}\n"),
        None => drawn,
    }
}

fn curves(evaluation: &Evaluation) -> String {
    let place = |name: &str| KNOWN.iter().position(|known| name.starts_with(known.0));
    let mut names: Vec<&String> = evaluation.curves.keys().collect();
    names.sort_by_key(|name| (place(name).unwrap_or(KNOWN.len()), name.to_owned()));
    let (mut text, mut heading) = (String::new(), None);
    for name in names.iter().take(CURVES_MAX) {
        let (title, note) =
            place(name).map_or((name.as_str(), ""), |at| (KNOWN[at].1, KNOWN[at].2));
        if heading != Some(title) {
            let _ = write!(text, "<h2>{}</h2>\n", escape(title));
            if !note.is_empty() {
                let _ = write!(text, "<p>{note}</p>\n");
            }
            heading = Some(title);
        }
        let caption = name.split_once('.').map_or("", |(_, rest)| rest);
        let drawn = plot::draw(&evaluation.curves[*name]);
        let _ =
            write!(text, "<figure>{drawn}<figcaption>{}</figcaption></figure>\n", escape(caption));
    }
    if names.len() > CURVES_MAX {
        let _ = write!(text, "<p>{CURVES_MAX} of {} diagrams are shown.</p>\n", names.len());
    }
    text
}
