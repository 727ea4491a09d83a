//! Scores the forecasts on a file of request rates: one count per second and line.
//!
//! `cargo run -p isobar-models --example rates -- FILE [BIN_S]`
//!
//! Rolling origin: everything before the origin is known, nothing after it. Origins lie evenly over the last quarter.
//! MASE is the mean absolute error over all steps to the horizon, divided by the error of repeating the value of
//! one day before, over the first three quarters. Champions are chosen anew once a (trace) day.

#![allow(clippy::disallowed_methods)] // an example may read files and the clock; the library may not

use isobar_models::{
    Champion, ChampionConfig, choose,
    forecast::{FitContext, Fitted, candidates},
};
use std::{env, fs, process::ExitCode};

const DAY_S: usize = 86_400;
const ORIGINS: usize = 200;
/// Days of history that a forecast sees.
const HISTORY_DAYS: usize = 14;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let (Some(path), bin_s) = (args.next(), args.next()) else {
        eprintln!("usage: rates FILE [BIN_S]");
        return ExitCode::from(2);
    };
    let bin_s: usize = bin_s.and_then(|text| text.parse().ok()).filter(|&s| s > 0).unwrap_or(60);
    let rates = match read(&path, bin_s) {
        Ok(rates) => rates,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{path}: {} windows of {bin_s} s", rates.len());
    let names: Vec<&str> = candidates().iter().map(|model| model.name()).collect();
    println!("| horizon | {} | champion | coverage of 90 % | models used |", names.join(" | "));
    println!("| --- {}| --- | --- | --- |", "| --- ".repeat(names.len()));
    for (name, seconds) in [("5 min", 300), ("1 h", 3_600), ("1 day", DAY_S)] {
        println!("| {name} {}", evaluate(&rates, DAY_S / bin_s, seconds / bin_s));
    }
    ExitCode::SUCCESS
}

fn read(path: &str, bin_s: usize) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let text = fs::read_to_string(path)?;
    let counts: Vec<f64> =
        text.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>()?;
    Ok(counts.chunks_exact(bin_s).map(|bin| bin.iter().sum::<f64>() / bin_s as f64).collect())
}

fn evaluate(rates: &[f64], day: usize, horizon: usize) -> String {
    let split = rates.len() * 3 / 4;
    let scale = mean((day..split).map(|i| (rates[i] - rates[i - day]).abs()));
    let config =
        ChampionConfig { horizon, periods: vec![day, 7 * day], ..ChampionConfig::default() };
    let mut present: Option<Champion> = None;
    let mut chosen_at = 0;
    let mut used = std::collections::BTreeMap::<String, usize>::new();
    let models = candidates();
    let mut fitted = vec![Fitted::Naive; models.len()];
    let mut errors = vec![0.0; models.len() + 1];
    let (mut inside, mut count) = (0.0, 0.0);
    for i in 0..ORIGINS {
        let origin = split + i * (rates.len() - horizon - split) / ORIGINS;
        let history = &rates[origin.saturating_sub(HISTORY_DAYS * day)..origin];
        if present.is_none() || origin >= chosen_at + day {
            present = Some(choose(history, &config, present.as_ref().map(|c| c.model.as_str())));
            chosen_at = origin;
            let context = FitContext { horizon, period: Some(day) };
            for (fitted, model) in fitted.iter_mut().zip(&models) {
                *fitted = model.fit(history, context).unwrap_or(Fitted::Naive);
            }
        }
        let champion = present.as_ref().expect("chosen just above");
        *used.entry(champion.model.clone()).or_default() += 1;
        let actual = &rates[origin..origin + horizon];
        let error = |points: &[f64]| {
            points.iter().zip(actual).map(|(point, actual)| (actual - point).abs()).sum::<f64>()
        };
        let ahead = champion.predict(history, horizon);
        errors[0] += error(&ahead.iter().map(|interval| interval.mean).collect::<Vec<_>>());
        for (sum, fitted) in errors[1..].iter_mut().zip(&fitted) {
            *sum += error(&fitted.points(history, horizon));
        }
        for (interval, actual) in ahead.iter().zip(actual) {
            inside += f64::from(u8::from(interval.lower <= *actual && *actual <= interval.upper));
            count += 1.0;
        }
    }
    row(&errors, count, scale, inside, &used)
}

/// One line of the table: every forecaster, then the champion, its coverage and what it was.
fn row(
    errors: &[f64],
    count: f64,
    scale: f64,
    inside: f64,
    used: &std::collections::BTreeMap<String, usize>,
) -> String {
    let mases: Vec<String> = errors[1..]
        .iter()
        .chain(&errors[..1])
        .map(|sum| format!("{:.3}", sum / count / scale))
        .collect();
    let used: Vec<String> = used.iter().map(|(name, n)| format!("{name} {n}")).collect();
    format!("| {} | {:.1} % | {} |", mases.join(" | "), 100.0 * inside / count, used.join(", "))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    if n > 0.0 { sum / n } else { f64::NAN }
}
