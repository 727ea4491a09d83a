//! `isobar model train`.

use super::{computed, figures::figures};
use crate::{
    failure::Outcome,
    screen::{Screen, table},
};
use clap::{
    Args, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use isobar_training::{Task, evidence, package};
use serde_json::json;
use std::path::PathBuf;

/// `model train`
#[derive(Args, Debug)]
pub struct Train {
    /// What to learn
    #[arg(value_parser = task())]
    task: Task,
    /// Folders of data sets
    #[arg(long, required = true, num_args = 1.., value_name = "DIR", value_hint = ValueHint::DirPath)]
    data: Vec<PathBuf>,
    /// Folder of the package; new or empty
    #[arg(long, value_name = "PACKAGE", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    /// The same seed and data give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn task() -> impl TypedValueParser<Value = Task> {
    let known = |name: String| Task::of(&name).ok_or("no such task");
    PossibleValuesParser::new(Task::ALL.map(Task::name)).try_map(known)
}

pub(super) fn run(args: &Train, screen: &mut Screen<'_>) -> Outcome {
    let lesson = args.task.lesson();
    let (trained, manifest) = computed(screen, |bar| {
        // Hours of work must not end at a folder that is taken.
        package::check_free(&args.out)?;
        let trained = lesson.train(&args.data, args.seed, bar)?;
        let evidence = evidence::gather(lesson, &args.data, bar)?;
        let manifest = package::write_with(&args.out, args.task, args.seed, &trained, &evidence)?;
        Ok((trained, manifest))
    })?;
    let shown = json!({
        "package": args.out, "task": args.task, "seed": args.seed, "data_hash": manifest.data_hash,
        "metrics": trained.metrics, "files": manifest.files,
    });
    screen.show(&shown, |_| {
        let rows = figures(&trained.metrics).into_iter().map(|(name, value)| [name, value]);
        format!("wrote {}\n{}", args.out.display(), table(["metric", "value"], &[1], rows))
    })
}
