//! Pages hold what a judgement has, and nothing that a data set wrote can become markup.

use super::*;
use crate::{Metrics, Shape, drift::Reference, ratio, set_beside};

/// A judgement with everything in it.
fn evaluation(name: &str) -> Evaluation {
    let unit = |hits: f64| {
        Metrics::from([
            ("recall".into(), ratio(hits, 10.0)),
            ("mase".into(), (1.0 / (1.0 + hits)).into()),
        ])
    };
    let units = |less: f64| {
        (0..50).map(|i| (format!("{name}{i}"), unit(f64::from(i % 9) + less))).collect()
    };
    let rising = |n: u32| (0..n).map(|i| [f64::from(i), f64::from(i * i)]);
    let mut evaluation = Evaluation {
        task: "hazard".into(),
        dataset: name.into(),
        metrics: [("recall".into(), 0.5.into())].into(),
        n: 50,
        units: units(1.0),
        ..Evaluation::default()
    };
    let curves = [
        ("precision_recall", Curve::new(Shape::Steps, "recall", "precision").with(name, rising(5))),
        (
            "reliability",
            Curve::new(Shape::Reliability, "p", "share").with(name, [[0.1, 0.2], [0.9, 0.8]]),
        ),
        (
            "lead_h",
            Curve::new(Shape::Bars, "lead, h", "events")
                .with(name, rising(6))
                .with("rule", rising(6)),
        ),
        (
            "hit_ratio",
            Curve {
                log_x: true,
                ..Curve::new(Shape::Lines, "keys", "hit ratio").with(name, rising(5))
            },
        ),
        (
            "forecast.h1",
            Curve::new(Shape::Lines, "h", "1/s")
                .with_band("90 %", [[0.0, 1.0, 2.0], [1.0, 1.0, 3.0]]),
        ),
        ("other", Curve::new(Shape::Lines, name, name)),
    ];
    evaluation.curves = curves.into_iter().map(|(name, curve)| (name.to_owned(), curve)).collect();
    set_beside(&mut evaluation, "rule", &Evaluation { units: units(0.0), ..Evaluation::default() });
    evaluation
}

#[test]
fn a_page_has_every_part_and_loads_nothing() {
    let reference = Reference::of(&[("load".into(), vec![1.0; 50])].into());
    let drift = reference.compare(&[("load".into(), vec![2.0; 50])].into());
    let page = html(&evaluation("set"), Some(&drift));
    for heading in [
        "Figures",
        "Differences",
        "By unit",
        "Precision and recall",
        "Reliability",
        "Lead time",
        "Drift",
    ] {
        assert!(page.contains(&format!("<h2>{heading}")), "{heading}");
    }
    assert!(page.contains("better") && page.contains("drifted"));
    for outside in ["http://", "https://", "src=", "<script", "url("] {
        let without_names = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!without_names.contains(outside), "{outside}");
    }
    let order: Vec<usize> = ["Precision", "Reliability", "Lead", "Hit ratio", "Forecasts"]
        .map(|h| page.find(&format!("<h2>{h}")).expect(h))
        .into();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(html(&evaluation("set"), Some(&drift)), page, "the same figures, the same bytes");
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let page = html(&evaluation("set"), None);
    for tag in ["html", "main", "figure", "svg", "table", "tr", "td", "th", "text", "style", "h2"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn names_from_data_are_text() {
    let page = html(&evaluation("<script>alert(\"x\")</script>&'"), None);
    assert!(!page.contains("<script"), "markup from a name");
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn no_curve_breaks_a_drawing() {
    let values =
        [0.0, -0.0, 1e308, -1e308, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, -1.0, 1e-320];
    for shape in [Shape::Lines, Shape::Steps, Shape::Bars, Shape::Reliability] {
        for log_x in [false, true] {
            for x in values {
                for y in values {
                    let curve =
                        Curve { log_x, ..Curve::new(shape, "x", "y").with("a", [[x, y], [y, x]]) };
                    let drawn = plot::draw(&curve.finite());
                    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{x} {y}: {drawn}");
                }
            }
            assert!(
                plot::draw(&Curve { log_x, ..Curve::new(shape, "x", "y") }).ends_with("</svg>")
            );
        }
    }
    let many = (0..200_000).map(|i| [f64::from(i), f64::from(i)]);
    assert!(plot::draw(&Curve::new(Shape::Lines, "x", "y").with("a", many)).len() < 100_000);
}

#[test]
fn places_follow_values() {
    let scale = scale::Scale::of([0.0, 10.0].into_iter(), false, 100.0, 200.0);
    assert_eq!((scale.at(0.0), scale.at(5.0), scale.at(10.0)), (100.0, 150.0, 200.0));
    assert_eq!(scale.marks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    let log = scale::Scale::of([1.0, 1_000.0].into_iter(), true, 0.0, 3.0);
    assert!((log.at(10.0) - 1.0).abs() < 1e-9 && (log.at(100.0) - 2.0).abs() < 1e-9);
    let labels = [0.0, 0.25, 1_500.0, 20_000.0, 3e6, 1e-6].map(scale::label);
    assert_eq!(labels, ["0", "0.25", "1500", "20k", "3M", "1e-6"]);
}
