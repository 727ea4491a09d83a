//! `isobar model`: the workshop of data scientists. One file a verb.

mod add;
mod compare;
mod drift;
mod evaluate;
mod explain;
mod export;
mod figures;
mod import;
mod list;
mod place;
mod predict;
mod promote;
mod rollback;
mod survey;
mod train;

use crate::{args::Global, failure::Outcome, screen::Screen};
use clap::Subcommand;
use indicatif::ProgressBar;
use isobar_training::Progress;

/// The verbs of `model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Train a model on data sets and write it as a package
    Train(train::Train),
    /// Judge a package on the test part of a data set, beside its baselines
    Evaluate(evaluate::Evaluate),
    /// Judge two models on the same rows, with paired intervals
    Compare(compare::Compare),
    /// List the registered models, or the versions of one
    List(list::List),
    /// Make a package of an ONNX file that another tool wrote
    Import(import::Import),
    /// Register a package, or an ONNX file, as the next version of a model
    Add(add::Add),
    /// Make a version the champion
    Promote(promote::Promote),
    /// Give the champion's place back to the one before
    Rollback(rollback::Rollback),
    /// Apply a package's model to a table of features
    Predict(predict::Predict),
    /// Show what a package is: card, data, figures, what weighs how much
    Explain(explain::Explain),
    /// Compare data with those a package was trained on
    Drift(drift::Drift),
    /// Train and judge every task on the sets below a folder, and write the page of figures
    Survey(survey::Survey),
    /// Write a model for another tool
    Export(export::Export),
}

/// Runs a verb.
pub async fn run(verb: Model, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match verb {
        Model::Train(args) => train::run(&args, screen),
        Model::Evaluate(args) => evaluate::run(&args, global, screen).await,
        Model::Compare(args) => compare::run(&args, global, screen).await,
        Model::List(args) => list::run(&args, global, screen).await,
        Model::Import(args) => import::run(&args, screen),
        Model::Predict(args) => predict::run(&args, global, screen).await,
        Model::Add(args) => add::run(&args, global, screen).await,
        Model::Promote(args) => promote::run(&args, global, screen).await,
        Model::Rollback(args) => rollback::run(&args, global, screen).await,
        Model::Explain(args) => explain::run(&args, global, screen).await,
        Model::Drift(args) => drift::run(&args, global, screen).await,
        Model::Export(args) => export::run(&args, global, screen).await,
        Model::Survey(args) => survey::run(&args, global, screen),
    }
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

/// Runs hours of computing on a thread of the runtime, which has others, behind a bar.
fn computed<T>(
    screen: &Screen<'_>,
    work: impl FnOnce(&mut Bar) -> isobar_training::Result<T>,
) -> Result<T, isobar_api::ApiError> {
    let mut bar = Bar::new(screen);
    let done = tokio::task::block_in_place(|| work(&mut bar));
    bar.0.finish_and_clear();
    done.map_err(Into::into)
}
