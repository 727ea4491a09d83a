//! The lesson `characterize`: class of workload, seasons, co-access communities, changes.
//!
//! No public set says which class, season or community is the true one, so the truth is planted: shards that follow the
//! workload definitions of the folder (YCSB property files; the six core ones where it has none), and series and graphs made
//! from a seed. Where the folder holds request rates, it is also said in how many of them a day was found.

mod planted;
mod shards;

use super::{Lesson, Trained};
use crate::{Error, Evaluation, Feature, Metric, Metrics, Progress, Result, Signature};
use isobar_models::characterize::{
    Classes, SeasonConfig, WorkloadFeatures, adjusted_rand_index, autocorrelation_period,
    change_points, communities, components, k_means_classes, normalized_mutual_information,
    seasons, sliding_changes, sparsified,
};
use planted::{Rng, changing_series, graph, noise_series, seasonal_series};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SERIES: u64 = 200;
const GRAPHS: u64 = 10;
const GRAPH_NODES: usize = 600;
const CHANGING: u64 = 100;
/// A change found within so many steps of a planted one is that one.
const TOLERANCE_STEPS: usize = 5;
const CLASSES_MAX: usize = 16;

pub(super) struct Characterize;

/// What a package holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Classes of the folders trained on.
    classes: Classes,
    /// See [`SeasonConfig`].
    alpha: f64,
    /// Edges kept of each node of the co-access graph.
    edges_kept: usize,
    /// See [`change_points`].
    penalty: f64,
    /// Everything planted is drawn from it.
    seed: u64,
}

impl Lesson for Characterize {
    fn train(&self, data: &[PathBuf], seed: u64, progress: &mut dyn Progress) -> Result<Trained> {
        progress.step(0, 1, "classes");
        let mut workloads = Vec::new();
        for folder in data {
            workloads.extend(shards::definitions(folder)?);
        }
        let (rows, truth) = shards::draw(&shards::or_core(workloads), seed);
        let classes = Classes::fit(&rows, CLASSES_MAX, seed)
            .ok_or_else(|| Error::Unsuitable("too few shards to find classes in".into()))?;
        let found: Vec<usize> = rows.iter().map(|row| classes.class(row)).collect();
        let mut metrics = Metrics::new();
        metrics.insert("ari".into(), adjusted_rand_index(&found, &truth).into());
        metrics.insert("classes".into(), (classes.count() as f64).into());
        let feature =
            |name: &&str| Feature { name: (*name).into(), kind: "f64".into(), unit: String::new() };
        let features = WorkloadFeatures::NAMES.iter().map(feature).collect();
        let count = classes.count();
        let alpha = SeasonConfig::default().alpha;
        let parameters = Parameters { classes, alpha, edges_kept: 12, penalty: 4.0, seed };
        progress.step(1, 1, "");
        Ok(Trained {
            parameters: serde_json::to_value(&parameters)
                .map_err(|e| Error::Unsuitable(format!("parameters cannot be written: {e}")))?,
            signature: Signature { features },
            card: card(count, seed),
            metrics,
            ..Trained::default()
        })
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let p: Parameters = serde_json::from_value(parameters.clone())
            .map_err(|e| Error::Unsuitable(format!("these are no parameters: {e}")))?;
        let sound = p.classes.is_sound() && p.alpha > 0.0 && p.alpha < 1.0 && p.penalty > 0.0;
        if !sound || p.penalty.is_nan() || !(1..=10_000).contains(&p.edges_kept) {
            return Err(Error::Unsuitable("the parameters are out of bounds".into()));
        }
        let (mut ours, mut simple) = (Metrics::new(), Metrics::new());
        let mut n = 0;
        for (done, part) in [classes, season, graphs, changes].into_iter().enumerate() {
            progress.step(done as u64, 4, "planted truth");
            n += part(&p, data, &mut ours, &mut simple)?;
        }
        progress.step(4, 4, "");
        Ok(Evaluation {
            task: super::Task::Characterize.name().into(),
            dataset: data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            metrics: ours,
            baselines: BTreeMap::from([("simple_rules".to_owned(), simple)]),
            n,
            ..Evaluation::default()
        })
    }
}

/// Fresh shards of the folder's workloads: found again without labels, and by the packaged classes.
fn classes(p: &Parameters, data: &Path, ours: &mut Metrics, simple: &mut Metrics) -> Result<u64> {
    let (rows, truth) = shards::draw(&shards::or_core(shards::definitions(data)?), p.seed ^ 0x5eed);
    let found = Classes::fit(&rows, CLASSES_MAX, p.seed);
    let of =
        |classes: &Classes| -> Vec<usize> { rows.iter().map(|row| classes.class(row)).collect() };
    let ari = found.as_ref().map_or(0.0, |classes| adjusted_rand_index(&of(classes), &truth));
    ours.insert("ari".into(), ari.into());
    let packaged = adjusted_rand_index(&of(&p.classes), &truth);
    ours.insert("ari_packaged_classes".into(), packaged.into());
    ours.insert("classes_found".into(), (found.map_or(0, |c| c.count()) as f64).into());
    let kinds = truth.iter().max().map_or(0, |last| last + 1);
    ours.insert("classes_planted".into(), (kinds as f64).into());
    let by_k_means = k_means_classes(&rows, kinds, p.seed).unwrap_or_default();
    simple.insert("ari".into(), adjusted_rand_index(&by_k_means, &truth).into());
    Ok(rows.len() as u64)
}

fn season(p: &Parameters, data: &Path, ours: &mut Metrics, simple: &mut Metrics) -> Result<u64> {
    let config = SeasonConfig { alpha: p.alpha, ..SeasonConfig::default() };
    let mut rng = Rng::new(p.seed ^ 0x5ea5);
    let (mut right, mut right_simple) = (0.0, 0.0);
    for _ in 0..SERIES {
        let (series, period) = seasonal_series(&mut rng);
        let near = |found: usize| found.abs_diff(period) <= 1 + period / 50;
        right += f64::from(u8::from(seasons(&series, config).first().is_some_and(|&f| near(f))));
        right_simple += f64::from(u8::from(autocorrelation_period(&series).is_some_and(near)));
    }
    ours.insert("period_recall".into(), (right / SERIES as f64).into());
    simple.insert("period_recall".into(), (right_simple / SERIES as f64).into());
    let (mut wrong, mut wrong_simple) = ([0.0; 2], [0.0; 2]);
    for at in 0..2 * SERIES as usize {
        let series = noise_series(&mut rng, at % 2 == 1);
        wrong[at % 2] += f64::from(u8::from(!seasons(&series, config).is_empty()));
        wrong_simple[at % 2] += f64::from(u8::from(autocorrelation_period(&series).is_some()));
    }
    for (metrics, wrong) in [(&mut *ours, wrong), (&mut *simple, wrong_simple)] {
        let [white, walk] = wrong.map(|count| count / SERIES as f64);
        metrics.insert("false_period_rate".into(), ((white + walk) / 2.0).into());
        metrics.insert("false_period_rate_white_noise".into(), white.into());
        metrics.insert("false_period_rate_random_walk".into(), walk.into());
    }
    let real = shards::days(data)?;
    if !real.is_empty() {
        let share = |found: &dyn Fn(&[f64]) -> bool| {
            real.iter().filter(|series| found(series)).count() as f64 / real.len() as f64
        };
        let near = |period: usize| period.abs_diff(shards::STEPS_A_DAY) <= 2;
        let day = share(&|s| seasons(s, config).into_iter().any(near));
        ours.insert("real_day_found".into(), day.into());
        let day = share(&|s| autocorrelation_period(s).is_some_and(near));
        simple.insert("real_day_found".into(), day.into());
    }
    Ok(3 * SERIES)
}

fn graphs(p: &Parameters, _: &Path, ours: &mut Metrics, simple: &mut Metrics) -> Result<u64> {
    let mut rng = Rng::new(p.seed ^ 0x96af);
    let (mut nmi, mut nmi_simple) = (0.0, 0.0);
    for run in 0..GRAPHS {
        let (edges, truth) = graph(&mut rng, GRAPH_NODES, 0.3);
        let thin = sparsified(GRAPH_NODES, &edges, p.edges_kept);
        let found = communities(GRAPH_NODES, &thin, p.seed.wrapping_add(run));
        nmi += normalized_mutual_information(&found, &truth);
        nmi_simple += normalized_mutual_information(&components(GRAPH_NODES, &thin), &truth);
    }
    ours.insert("nmi".into(), (nmi / GRAPHS as f64).into());
    simple.insert("nmi".into(), (nmi_simple / GRAPHS as f64).into());
    Ok(GRAPHS * GRAPH_NODES as u64)
}

fn changes(p: &Parameters, _: &Path, ours: &mut Metrics, simple: &mut Metrics) -> Result<u64> {
    let mut rng = Rng::new(p.seed ^ 0xc4a6);
    let (mut counts, mut counts_simple) = ([0.0; 3], [0.0; 3]);
    for _ in 0..CHANGING {
        let (series, truth) = changing_series(&mut rng);
        add(&mut counts, &change_points(&series, p.penalty), &truth);
        add(&mut counts_simple, &sliding_changes(&series, 20, 4.0), &truth);
    }
    for (metrics, [hits, found, planted]) in [(&mut *ours, counts), (&mut *simple, counts_simple)] {
        let f1: f64 = 2.0 * hits / f64::max(found + planted, 1.0);
        metrics.insert("change_f1".into(), Metric::Number(f1));
    }
    Ok(CHANGING)
}

/// Hits, found and planted; each planted change is hit once at most.
fn add(counts: &mut [f64; 3], found: &[usize], truth: &[usize]) {
    let mut free = found.to_vec();
    for &place in truth {
        let near = (0..free.len()).min_by_key(|&at| free[at].abs_diff(place));
        if let Some(at) = near.filter(|&at| free[at].abs_diff(place) <= TOLERANCE_STEPS) {
            free.swap_remove(at);
            counts[0] += 1.0;
        }
    }
    counts[1] += found.len() as f64;
    counts[2] += truth.len() as f64;
}

fn card(classes: usize, seed: u64) -> String {
    format!(
        "# The kind of workload\n\n\
         Class of a shard's traffic, its seasons, who is accessed together, and when its level changed.\n\n\
         - Classes: a Gaussian mixture of {classes} parts over eight features, their number by BIC, fitted to shards that \
         follow the workload definitions in the folders given (seed {seed}).\n\
         - Seasons: lines of the whitened periodogram, confirmed by how much the seasons resemble each other.\n\
         - Communities: the co-access graph thinned to the strongest edges, then Louvain's method with connected communities.\n\
         - Changes: PELT on the mean, dearer where values hang together.\n\
         - Judged on planted truth only: the figures say that what is there is found and what is not there is not, and \
         nothing of how real shards divide.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn planted_truth_is_found_and_the_floor_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let lesson = Characterize;
        let train =
            || lesson.train(&[folder.path().to_path_buf()], 3, &mut Silent).expect("trained");
        let trained = train();
        assert_eq!(trained, train());
        let judged =
            lesson.evaluate(&trained.parameters, folder.path(), &mut Silent).expect("judged");
        let (ours, simple) = (&judged.metrics, &judged.baselines["simple_rules"]);
        let number = |metrics: &Metrics, name: &str| match metrics.get(name) {
            Some(Metric::Number(number)) => *number,
            _ => panic!("no number {name}"),
        };
        for (name, floor) in
            [("ari", 0.95), ("nmi", 0.9), ("period_recall", 0.95), ("change_f1", 0.85)]
        {
            assert!(number(ours, name) >= floor, "{name}: {ours:?}");
            assert!(number(ours, name) >= number(simple, name), "{name}: {simple:?}");
        }
        assert!(number(ours, "false_period_rate") <= 0.01, "{ours:?}");
    }

    #[test]
    fn hostile_parameters_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let judge =
            |json: serde_json::Value| Characterize.evaluate(&json, folder.path(), &mut Silent);
        assert!(judge(serde_json::json!({})).is_err());
        let trained = Characterize.train(&[folder.path().to_path_buf()], 3, &mut Silent);
        let whole = trained.expect("trained").parameters;
        for (name, value) in [
            ("edges_kept", serde_json::json!(1_u64 << 60)),
            ("alpha", serde_json::json!(-1.0)),
            ("classes", serde_json::json!({ "weights": [1.0], "means": [[]], "roots": [[]] })),
        ] {
            let mut broken = whole.clone();
            broken[name] = value;
            assert!(judge(broken).is_err(), "{name}");
        }
    }

    #[test]
    fn a_change_counts_once() {
        let mut counts = [0.0; 3];
        add(&mut counts, &[98, 101, 300], &[100, 200]);
        assert_eq!(counts, [1.0, 3.0, 2.0]);
    }
}
