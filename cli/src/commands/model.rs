//! `isobar model`: the workshop of data scientists.

use crate::{
    failure::{DONE, Failure, Outcome},
    screen::{Screen, table},
};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use indicatif::ProgressBar;
use isobar_training::{Evaluation, Metric, Metrics, Progress, Task, judge, package};
use serde_json::json;
use std::path::PathBuf;

/// The verbs of `model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Train a model on data sets and write it as a package
    Train(Train),
    /// Judge a package on the test part of a data set, beside its baselines
    Evaluate(Evaluate),
}

/// `model train`
#[derive(Args, Debug)]
pub struct Train {
    /// What to learn
    #[arg(value_parser = task())]
    task: Task,
    /// Folders of data sets
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    data: Vec<PathBuf>,
    /// Folder of the package; new or empty
    #[arg(long, value_name = "PACKAGE")]
    out: PathBuf,
    /// The same seed and data give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// `model evaluate`
#[derive(Args, Debug)]
pub struct Evaluate {
    /// Folder of the package
    package: PathBuf,
    /// Folder of the data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

fn task() -> impl TypedValueParser<Value = Task> {
    let known = |name: String| Task::of(&name).ok_or("no such task");
    PossibleValuesParser::new(Task::ALL.map(Task::name)).try_map(known)
}

/// Runs a verb.
pub fn run(verb: Model, screen: &mut Screen<'_>) -> Outcome {
    // Hours of computing on a thread of the runtime, which has others.
    tokio::task::block_in_place(|| match verb {
        Model::Train(args) => train(&args, screen),
        Model::Evaluate(args) => evaluate(&args, screen),
    })
}

/// A bar on stderr.
struct Bar(ProgressBar);

impl Bar {
    fn new(screen: &Screen<'_>) -> Self {
        Self(screen.progress(0, "{bar:30} {pos}/{len}  {msg}  {eta}"))
    }
}

impl Progress for Bar {
    fn step(&mut self, done: u64, total: u64, what: &str) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(what.to_owned());
    }
}

fn train(args: &Train, screen: &mut Screen<'_>) -> Outcome {
    let mut bar = Bar::new(screen);
    let trained = args.task.lesson().train(&args.data, args.seed, &mut bar);
    bar.0.finish_and_clear();
    let trained = trained.map_err(|error| Failure::Api(error.into()))?;
    let manifest = package::write(&args.out, args.task, args.seed, &trained)
        .map_err(|error| Failure::Api(error.into()))?;
    let shown = json!({
        "package": args.out, "task": args.task, "seed": args.seed, "metrics": trained.metrics, "files": manifest.files,
    });
    screen.show(&shown, |_| {
        let rows = figures(&trained.metrics).into_iter().map(|(name, value)| [name, value]);
        format!("wrote {}\n{}", args.out.display(), table(["metric", "value"], &[1], rows))
    })
}

fn evaluate(args: &Evaluate, screen: &mut Screen<'_>) -> Outcome {
    let mut bar = Bar::new(screen);
    let judged = judge(&args.package, &args.data, &mut bar);
    bar.0.finish_and_clear();
    let evaluation = judged.map_err(|error| Failure::Api(error.into()))?;
    screen.show(&evaluation, beside_baselines)?;
    Ok(DONE)
}

/// One line a figure: the model's, then each baseline's.
fn beside_baselines(evaluation: &Evaluation) -> String {
    let mut lines = Vec::new();
    let ours = figures(&evaluation.metrics).into_iter();
    lines.extend(ours.map(|(name, value)| [name, "the model".to_owned(), value]));
    for (baseline, metrics) in &evaluation.baselines {
        let theirs = figures(metrics).into_iter();
        lines.extend(theirs.map(|(name, value)| [name, baseline.clone(), value]));
    }
    lines.sort_by(|a, b| a[0].cmp(&b[0]));
    format!(
        "{} on {}: {} rows in {:.1} s\n{}",
        evaluation.task,
        evaluation.dataset,
        evaluation.n,
        evaluation.seconds,
        table(["metric", "of", "value"], &[2], lines)
    )
}

/// Names and values of all figures; those of groups with the group's name before theirs.
fn figures(metrics: &Metrics) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, metric) in metrics {
        match metric {
            Metric::Number(value) => all.push((name.clone(), format!("{value:.4}"))),
            Metric::Group(group) => {
                let inner = figures(group).into_iter();
                all.extend(inner.map(|(below, value)| (format!("{name}.{below}"), value)));
            }
        }
    }
    all
}
