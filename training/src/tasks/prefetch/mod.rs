//! The lesson of the prefetching cache: what is global in it is fitted on the first halves of traces, and it is judged
//! on the second halves.

mod fit;
mod replay;
mod workload;

use super::{Lesson, Trained};
use crate::{Error, Evaluation, Metric, Metrics, Progress, Result};
use isobar_models::prefetch::{Request, Settings};
use replay::Figures;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use workload::{Workload, traces_below};

/// Cache sizes judged, as shares of the distinct keys, and what is added to the names of their figures.
const SIZES: [(f64, &str); 2] = [(0.02, ""), (0.10, "_10")];
/// Keys that the read-ahead baseline takes.
const READ_AHEAD: u64 = 4;

/// See the module.
pub(super) struct Prefetch;

impl Lesson for Prefetch {
    fn train(&self, data: &[PathBuf], _: u64, progress: &mut dyn Progress) -> Result<Trained> {
        fit::fit(data, progress)
    }

    fn evaluate(
        &self,
        parameters: &serde_json::Value,
        data: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Evaluation> {
        let settings = settings_of(parameters)?;
        let paths = traces_below(data)?;
        let mut judged = Judged::default();
        for (done, path) in paths.iter().enumerate() {
            progress.step(done as u64, paths.len() as u64, &path.display().to_string());
            let workload = Workload::read(path)?;
            judged.judge(name_of(&workload, path, &paths), &workload, &settings)?;
        }
        let dataset = data.file_name().unwrap_or(data.as_os_str());
        Ok(judged.evaluation(dataset.to_string_lossy().into_owned()))
    }
}

fn settings_of(parameters: &serde_json::Value) -> Result<Settings> {
    let settings: Settings = serde_json::from_value(parameters.clone())
        .map_err(|why| Error::Unsuitable(format!("the model's settings: {why}")))?;
    settings.check().map_err(|why| Error::Unsuitable(format!("the model's settings: {why}")))?;
    Ok(settings)
}

/// The file's name; with its folder before it where two files have the same.
fn name_of(workload: &Workload, path: &Path, all: &[PathBuf]) -> String {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let alike = all.iter().filter(|other| stem(other) == workload.name).count();
    match path.parent().and_then(Path::file_name) {
        Some(folder) if alike > 1 => format!("{}/{}", folder.to_string_lossy(), workload.name),
        _ => workload.name.clone(),
    }
}

/// Figures of all traces so far, by who made them.
#[derive(Default)]
struct Judged {
    model: Metrics,
    lru: Metrics,
    read_ahead: Metrics,
    requests: u64,
    /// Of all traces, renumbered or not: the least that the model's hit ratio lies above LRU's.
    least_above_lru: Option<f64>,
}

impl Judged {
    fn judge(&mut self, name: String, workload: &Workload, settings: &Settings) -> Result<()> {
        let renumbered = workload.renumbered();
        let first_keys = workload.without_lengths();
        let [mut model, mut lru, mut ahead] = [(); 3].map(|()| Metrics::new());
        for (share, suffix) in SIZES {
            let capacity = replay::capacity(workload.keys, share);
            let run = |requests: &[Request]| {
                let replayed = replay::model(requests, capacity, settings);
                let replayed = replayed.map_err(|why| Error::Unsuitable(why.to_string()))?;
                Ok::<Figures, Error>(replayed.0)
            };
            let baseline = replay::lru(&workload.requests, capacity);
            let read = |requests: &[Request]| replay::read_ahead(requests, capacity, READ_AHEAD);
            for (prefix, requests) in [("", &workload.requests), ("shuffled_", &renumbered)] {
                let figures = run(requests)?;
                let above = figures.hit_ratio - baseline.hit_ratio;
                self.least_above_lru = Some(self.least_above_lru.map_or(above, |l| l.min(above)));
                record(&mut model, prefix, suffix, figures);
            }
            record(&mut model, "first_key_", suffix, run(&first_keys)?);
            record(&mut ahead, "", suffix, read(&workload.requests));
            record(&mut ahead, "shuffled_", suffix, read(&renumbered));
            record(&mut lru, "", suffix, baseline);
            record(&mut lru, "shuffled_", suffix, baseline);
            for metrics in [&mut model, &mut ahead, &mut lru] {
                metrics.insert(format!("lru_hit_ratio{suffix}"), baseline.hit_ratio.into());
            }
        }
        self.model.insert(name.clone(), Metric::Group(model));
        self.lru.insert(name.clone(), Metric::Group(lru));
        self.read_ahead.insert(name, Metric::Group(ahead));
        self.requests += (workload.requests.len() - workload.requests.len() / 2) as u64;
        Ok(())
    }

    fn evaluation(self, dataset: String) -> Evaluation {
        let group = |metrics| Metrics::from([("traces".to_owned(), Metric::Group(metrics))]);
        let mut metrics = group(self.model);
        metrics.extend(self.least_above_lru.map(|l| ("least_above_lru".to_owned(), l.into())));
        Evaluation {
            task: super::Task::Prefetch.name().into(),
            dataset,
            metrics,
            baselines: BTreeMap::from([
                ("lru".into(), group(self.lru)),
                ("read_ahead_4".into(), group(self.read_ahead)),
            ]),
            n: self.requests,
            ..Evaluation::default()
        }
    }
}

fn record(metrics: &mut Metrics, prefix: &str, suffix: &str, figures: Figures) {
    let Figures { hit_ratio, precision, issued_per_request } = figures;
    let named = [
        ("hit_ratio", hit_ratio),
        ("precision", precision),
        ("issued_per_request", issued_per_request),
    ];
    for (name, figure) in named {
        metrics.insert(format!("{prefix}{name}{suffix}"), figure.into());
    }
}

#[cfg(test)]
mod tests;
