//! `isobar model evaluate`.

use super::{
    computed,
    figures::beside_baselines,
    place::{Database, Place, Side},
};
use crate::{
    args::Global,
    failure::{DONE, Outcome, file_error},
    reach,
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::ApiError;
use isobar_controller::registry::{CHAMPION, Registry, Run, RunKind, Version};
use isobar_training::{
    Evaluation, evidence, judge,
    labelled::{self, Labelled},
    package::Package,
    report, set_beside,
};
use std::path::{Path, PathBuf};

/// Judgements of a champion that are looked through for one on the same files.
const RUNS_MAX: u32 = 100;

/// `model evaluate`
#[derive(Args, Debug)]
pub struct Evaluate {
    /// Folder of the package, or NAME@VERSION of a registered one
    package: String,
    /// Folder of the data set; with --label a CSV file of features
    #[arg(long, value_name = "DIR|FILE.csv", value_hint = ValueHint::AnyPath)]
    data: PathBuf,
    /// Column of the file that says what came, 0 or 1: judges models that answer rows, those of other tools too
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Which rows, where the package has models for several kinds
    #[arg(long, requires = "label")]
    kind: Option<String>,
    /// Which answer is judged [default: the first probability, or the last number]
    #[arg(long, value_name = "COLUMN", requires = "label")]
    answer: Option<String>,
    /// Another package or NAME@VERSION to judge on the same rows [default: the model's champion, where it is
    /// registered]
    #[arg(long, value_name = "PACKAGE")]
    against: Option<String>,
    /// One HTML page with figures, intervals and curves
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &Evaluate, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let (folder, package) = place.resolve(&args.package).await?.into_package(&args.package)?;
    if let Some(label) = &args.label {
        return on_rows(args, label, &place, &package, screen).await;
    }
    let started_unix_ms = screen.now_unix_ms;
    let mut evaluation = computed(screen, |bar| judge(&folder, &args.data, bar))?;
    if let Some(other) = &args.against {
        let judged = side(&place, other, &args.data, screen).await?;
        set_beside(&mut evaluation, other, &judged);
    } else {
        // A database that does not answer costs the comparison, not the judgement.
        let compared =
            beside_champion(&place, &package, &mut evaluation, args, (started_unix_ms, screen))
                .await;
        if let Err(error) = compared {
            screen.say(&format!("not compared with the champion: {error}"));
        }
    }
    if let Some(path) = &args.report {
        write_report(path, &package, &evaluation, &args.data, screen)?;
    }
    screen.show(&evaluation, beside_baselines)?;
    Ok(DONE)
}

/// Judges a model, and the one it is set against, on the rows of a table.
async fn on_rows(
    args: &Evaluate,
    label: &str,
    place: &Place,
    package: &Package,
    screen: &mut Screen<'_>,
) -> Outcome {
    let (kind, answer) = (args.kind.as_deref(), args.answer.as_deref());
    let mut asked = Labelled { table: &args.data, label, kind, answer };
    let mut evaluation = computed(screen, |_| labelled::judge(package, &asked))?;
    if let Some(other) = &args.against {
        let (_, package) = place.resolve(other).await?.into_package(other)?;
        // What the one model calls its kinds and answers is nothing to the other.
        (asked.kind, asked.answer) = (None, None);
        let judged = computed(screen, |_| labelled::judge(&package, &asked))?;
        set_beside(&mut evaluation, other, &judged);
    }
    if let Some(path) = &args.report {
        let page = report::html(&evaluation, None);
        std::fs::write(path, page).map_err(|e| file_error(path, &e))?;
        screen.say(&format!("wrote {}", path.display()));
    }
    screen.show(&evaluation, beside_baselines)
}

/// The other side's judgement: made now, or read from a file.
pub(super) async fn side(
    place: &Place,
    text: &str,
    data: &Path,
    screen: &Screen<'_>,
) -> Result<Evaluation, ApiError> {
    match place.resolve(text).await? {
        Side::Judged(evaluation) => Ok(*evaluation),
        Side::Package { folder, .. } => computed(screen, |bar| judge(&folder, data, bar)),
    }
}

/// Where the package is registered: sets its model's champion beside it and records the judgement.
async fn beside_champion(
    place: &Place,
    package: &Package,
    evaluation: &mut Evaluation,
    args: &Evaluate,
    (started_unix_ms, screen): (u64, &mut Screen<'_>),
) -> Result<(), ApiError> {
    let Some(registry) = place.known().await? else { return Ok(()) };
    let Some(version) = registry.versions_of(&package.hash).await?.into_iter().next() else {
        return Ok(());
    };
    let data_hash = computed(screen, |_| evidence::fingerprint(&args.data))?.sha256;
    let own = record(&registry, &version, (package, evaluation), &data_hash, started_unix_ms);
    own.await?;
    let model = registry.model(&version.name).await?;
    let Some(champion) = model.aliases.get(CHAMPION).filter(|v| **v != version.version) else {
        return Ok(());
    };
    let champion = registry.version(&version.name, &champion.to_string()).await?;
    let theirs = match judged_before(&registry, &champion, &data_hash).await? {
        Some(theirs) => theirs,
        None => {
            let package = place.package(&champion)?;
            let folder = place.folder(&champion)?;
            let theirs = computed(screen, |bar| judge(&folder, &args.data, bar))?;
            record(&registry, &champion, (&package, &theirs), &data_hash, started_unix_ms).await?;
            theirs
        }
    };
    set_beside(evaluation, CHAMPION, &theirs);
    registry.close().await;
    Ok(())
}

async fn judged_before(
    registry: &Registry,
    version: &Version,
    data_hash: &str,
) -> Result<Option<Evaluation>, ApiError> {
    let runs = registry.evaluations(&version.package_hash, RUNS_MAX).await?;
    let run = runs.into_iter().find(|run| run.data_hash == data_hash);
    // One that an older program wrote otherwise is made again.
    Ok(run.and_then(|run| serde_json::from_value(run.body).ok()))
}

async fn record(
    registry: &Registry,
    version: &Version,
    (package, evaluation): (&Package, &Evaluation),
    data_hash: &str,
    started_unix_ms: u64,
) -> Result<(), ApiError> {
    let run = Run {
        run_id: String::new(),
        experiment_id: 0,
        kind: RunKind::Evaluate,
        owner: reach::owner(),
        started_unix_ms,
        ended_unix_ms: started_unix_ms + (evaluation.seconds * 1_000.0) as u64,
        seed: package.manifest.seed,
        data_hash: data_hash.to_owned(),
        package_hash: version.package_hash.clone(),
        body: serde_json::to_value(evaluation)
            .map_err(|e| crate::failure::invalid(format!("a judgement that is no JSON: {e}")))?,
    };
    registry.record(&version.name, run).await?;
    Ok(())
}

fn write_report(
    path: &Path,
    package: &Package,
    evaluation: &Evaluation,
    data: &Path,
    screen: &mut Screen<'_>,
) -> Result<(), ApiError> {
    let drift = if package.reference.features.is_empty() {
        None
    } else {
        let lesson = package.manifest.task.lesson();
        let data = [data.to_owned()];
        let sample = computed(screen, |bar| lesson.features(&data, evidence::SAMPLE_ROWS, bar))?;
        Some(package.reference.compare(&sample))
    };
    let page = report::html(evaluation, drift.as_ref());
    std::fs::write(path, page).map_err(|e| file_error(path, &e))?;
    screen.say(&format!("wrote {}", path.display()));
    Ok(())
}
