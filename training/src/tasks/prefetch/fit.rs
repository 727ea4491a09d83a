//! Fits what is global: the threshold, and what to expect of each class before anything was seen.

use super::replay::{self, Figures};
use super::workload::{Workload, traces_below};
use crate::{Error, Feature, Metrics, Progress, Result, Signature, Trained};
use isobar_models::prefetch::{Class, Request, Settings};
use std::path::PathBuf;

/// Thresholds that are tried.
const THRESHOLDS: [f64; 5] = [0.40, 0.45, 0.50, 0.55, 0.60];
/// The precision that a threshold must give over all traces, each weighing as much as it issues per request.
const WANTED_PRECISION: f64 = 0.72;
/// Cache size, as a share of the distinct keys of the first half.
const SHARE: f64 = 0.02;
/// What one trace may weigh in a class's prior, in proposals, and how much one half weighs beside all traces.
const MOST_WEIGHT: f64 = 50.0;
const SHRINK_WEIGHT: f64 = 4.0;

/// How one threshold did.
#[derive(Default)]
struct Trial {
    hits: f64,
    issued: f64,
    used: f64,
    runs: f64,
    /// Proposals and those that came true, for each class.
    classes: Vec<[f64; 2]>,
}

/// Fits the settings to the first halves of all traces; their second quarters are what is counted.
pub(super) fn fit(data: &[PathBuf], progress: &mut dyn Progress) -> Result<Trained> {
    let mut paths = Vec::new();
    for folder in data {
        paths.extend(traces_below(folder)?);
    }
    if paths.is_empty() {
        return Err(Error::Unsuitable("no trace to learn from".into()));
    }
    let mut trials: Vec<Trial> = THRESHOLDS.iter().map(|_| Trial::new()).collect();
    for (done, path) in paths.iter().enumerate() {
        progress.step(done as u64, paths.len() as u64, &path.display().to_string());
        let workload = Workload::read(path)?.first_half();
        let capacity = replay::capacity(workload.keys, SHARE);
        for requests in [workload.renumbered(), workload.requests] {
            for (trial, &threshold) in trials.iter_mut().zip(&THRESHOLDS) {
                trial.run(&requests, capacity, &settings(threshold, Vec::new()))?;
            }
        }
    }
    let chosen = choose(&trials);
    let priors = trials[chosen].priors();
    let settings = settings(THRESHOLDS[chosen], priors);
    let metrics = trials[chosen].metrics();
    Ok(Trained {
        parameters: serde_json::to_value(&settings).expect("numbers and lists of them"),
        signature: signature(),
        metrics,
        card: card(&settings, &trials, paths.len()),
        ..Trained::default()
    })
}

fn settings(threshold: f64, priors: Vec<f32>) -> Settings {
    Settings { threshold, priors, ..Settings::default() }
}

/// The most hits among the thresholds that are precise enough; the highest threshold where none is.
fn choose(trials: &[Trial]) -> usize {
    let precise = (0..trials.len()).filter(|&i| trials[i].precision() >= WANTED_PRECISION);
    let best = precise.max_by(|&a, &b| trials[a].hits.total_cmp(&trials[b].hits));
    best.unwrap_or(trials.len() - 1)
}

impl Trial {
    fn new() -> Self {
        Self { classes: vec![[0.0; 2]; Class::COUNT], ..Self::default() }
    }

    fn run(&mut self, requests: &[Request], capacity: usize, settings: &Settings) -> Result<()> {
        let replayed = replay::model(requests, capacity, settings);
        let (figures, cache) = replayed.map_err(|why| Error::Unsuitable(why.to_string()))?;
        let Figures { hit_ratio, precision, issued_per_request } = figures;
        self.hits += hit_ratio;
        self.issued += issued_per_request;
        self.used += issued_per_request * precision;
        self.runs += 1.0;
        for (class, (precision, proposals)) in self.classes.iter_mut().zip(cache.estimates()) {
            let weight = f64::from(proposals).clamp(0.0, MOST_WEIGHT);
            class[0] += weight;
            class[1] += weight * f64::from(precision);
        }
        Ok(())
    }

    fn precision(&self) -> f64 {
        if self.issued > 0.0 { self.used / self.issued } else { 1.0 }
    }

    /// Drawn towards one half where little was seen; to three digits, so that packages stay small.
    fn priors(&self) -> Vec<f32> {
        let prior = |&[proposals, came_true]: &[f64; 2]| {
            let mean = (came_true + 0.5 * SHRINK_WEIGHT) / (proposals + SHRINK_WEIGHT);
            ((mean * 1000.0).round() / 1000.0).clamp(0.0, 1.0) as f32
        };
        self.classes.iter().map(prior).collect()
    }

    fn metrics(&self) -> Metrics {
        Metrics::from([
            ("mean_hit_ratio".into(), (self.hits / self.runs).into()),
            ("precision".into(), self.precision().into()),
            ("issued_per_request".into(), (self.issued / self.runs).into()),
        ])
    }
}

fn signature() -> Signature {
    let feature = |name: &str, kind: &str, unit: &str| Feature {
        name: name.into(),
        kind: kind.into(),
        unit: unit.into(),
    };
    Signature {
        features: vec![
            feature("key", "u64", ""),
            feature("length", "u64", "keys"),
            feature("size_bytes", "u32", "B"),
        ],
    }
}

fn card(settings: &Settings, trials: &[Trial], traces: usize) -> String {
    let mut card = format!(
        "# Prefetching cache\n\n\
         **Use.** A cache at the edge that fetches keys before they are asked for. It learns online from its own \
         requests; this package holds only what is the same everywhere: the threshold {} and an expected precision for \
         each of {} classes of proposals.\n\n\
         **Fitted on** the first halves of {traces} traces, keys as they are and renumbered, cache of {} of their \
         distinct keys, counted on the second quarters. Nothing depends on the seed.\n\n\
         | threshold | mean hit ratio | precision | issued per request |\n| --- | --- | --- | --- |\n",
        settings.threshold,
        Class::COUNT,
        SHARE
    );
    for (trial, threshold) in trials.iter().zip(THRESHOLDS) {
        let (hits, issued) = (trial.hits / trial.runs, trial.issued / trial.runs);
        let precision = trial.precision();
        card += &format!("| {threshold:.2} | {hits:.4} | {precision:.4} | {issued:.4} |\n");
    }
    card += "\n**Limits.** Fetching is taken to be instant and every key to need one place. Where keys are numbered by \
             first appearance, reading ahead by number foresees the future: judge those renumbered.\n";
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_hits_among_the_precise_are_chosen() {
        let trial = |hits, precision| Trial {
            hits,
            issued: 1.0,
            used: precision,
            runs: 1.0,
            classes: vec![],
        };
        let trials = [trial(0.9, 0.5), trial(0.7, 0.73), trial(0.8, 0.75), trial(0.6, 0.9)];
        assert_eq!(choose(&trials), 2);
        assert_eq!(choose(&trials[..1]), 0);
        assert_eq!(choose(&[trial(0.9, 0.5), trial(0.7, 0.6)]), 1);
    }
}
