//! `isobar model survey`.

use crate::{
    args::Global,
    failure::{DONE, Failure, Outcome, file_error, invalid},
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::{ApiError, ErrorCode};
use isobar_datasets::day_of;
use isobar_training::{
    Evaluation,
    survey::{EXERCISES, Exercise, Finished, Made, page},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// `model survey`
#[derive(Args, Debug)]
pub struct Survey {
    /// Folder that holds the sets' folders; what is not there is left out, and said so
    #[arg(long, default_value = "../shared/datasets", value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_root: PathBuf,
    /// Folder of packages, judgements and reports
    #[arg(long, default_value = "target/models", value_name = "DIR", value_hint = ValueHint::DirPath)]
    work: PathBuf,
    /// The page of figures to write
    #[arg(long, default_value = "docs/src/models.md", value_name = "FILE.md", value_hint = ValueHint::FilePath)]
    page: PathBuf,
    /// Only exercises whose name (such as hazard-lanl_failures) contains this; the page has the others as they were
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Keep what was finished in the folder before
    #[arg(long)]
    resume: bool,
    /// Seed of every training
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Survey {
    fn kept(&self, exercise: Exercise) -> PathBuf {
        self.work.join(format!("{}.json", exercise.name()))
    }

    /// What was found out before, if anything.
    fn read(&self, exercise: Exercise) -> Result<Option<Finished>, ApiError> {
        let path = self.kept(exercise);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|why| {
                invalid(format!("{}: {why}; remove it, it is made anew", path.display()))
            }),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(file_error(&path, &why)),
        }
    }

    /// As a user would: a process trains, another judges, so that time and memory are theirs alone.
    fn exercise(&self, exercise: Exercise) -> Result<Finished, Failure> {
        let data = self.data_root.join(exercise.set);
        let package = self.work.join(exercise.name());
        if package.exists() {
            fs::remove_dir_all(&package).map_err(|why| file_error(&package, &why))?;
        }
        let begun = Instant::now();
        let seed = self.seed.to_string();
        let train = ["train", exercise.task.name(), "--seed", &seed];
        isobar(
            Command::new(program()?)
                .arg("model")
                .args(train)
                .arg("--data")
                .arg(&data)
                .arg("--out")
                .arg(&package),
        )?;
        let train_s = begun.elapsed().as_secs_f64();
        let report = self.work.join(format!("{}.html", exercise.name()));
        let judged = isobar(
            Command::new(program()?)
                .args(["model", "evaluate"])
                .arg(&package)
                .arg("--data")
                .arg(&data)
                .arg("--report")
                .arg(&report),
        )?;
        let evaluation: Evaluation = serde_json::from_slice(&judged).map_err(|why| {
            invalid(format!("{}: the judgement is no document: {why}", exercise.name()))
        })?;
        let finished = Finished { train_s, evaluation };
        let text = serde_json::to_vec_pretty(&finished)
            .map_err(|why| ApiError::new(ErrorCode::Internal, format!("making JSON: {why}")))?;
        let path = self.kept(exercise);
        fs::write(&path, text).map_err(|why| file_error(&path, &why))?;
        Ok(finished)
    }

    fn write_page(
        &self,
        found: &[(Exercise, Option<Finished>)],
        now_unix_ms: u64,
    ) -> Result<(), ApiError> {
        let (day, machine) = (day_of(now_unix_ms / 1_000), machine());
        let made = Made { day: &day, machine: &machine, seed: self.seed };
        fs::write(&self.page, page(found, &made)).map_err(|why| file_error(&self.page, &why))
    }
}

fn program() -> Result<PathBuf, ApiError> {
    std::env::current_exe().map_err(|why| {
        ApiError::new(ErrorCode::File, format!("where this program lies is unknown: {why}"))
    })
}

/// What the process wrote. Its bars and errors are seen as they come; Ctrl-C reaches it too.
fn isobar(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let line = format!("{command:?}");
    let done = command.args(["-o", "json"]).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let done = done.map_err(|why| invalid(format!("{line}: {why}")))?;
    match done.status.success() {
        true => Ok(done.stdout),
        false => Err(invalid(format!("{line}: {}", done.status)).into()),
    }
}

pub(super) fn run(args: &Survey, _global: &Global, screen: &mut Screen<'_>) -> Outcome {
    fs::create_dir_all(&args.work).map_err(|why| file_error(&args.work, &why))?;
    let wanted =
        |exercise: Exercise| args.only.as_ref().is_none_or(|text| exercise.name().contains(text));
    if !EXERCISES.into_iter().any(wanted) {
        let names: Vec<String> = EXERCISES.iter().map(|exercise| exercise.name()).collect();
        return Err(invalid(format!("--only fits none of {}", names.join(", "))).into());
    }
    let mut found: Vec<(Exercise, Option<Finished>)> = Vec::new();
    for exercise in EXERCISES {
        let keep = args.resume || !wanted(exercise);
        found.push((exercise, if keep { args.read(exercise)? } else { None }));
    }
    let mut failed = Vec::new();
    for at in 0..found.len() {
        let (exercise, before) = (found[at].0, found[at].1.is_some());
        if before || !wanted(exercise) {
            continue;
        }
        if !args.data_root.join(exercise.set).is_dir() {
            screen.say(&format!(
                "{}: no {} in {}",
                exercise.name(),
                exercise.set,
                args.data_root.display()
            ));
            continue;
        }
        screen.say(&exercise.name());
        // One that fails does not cost the others.
        match tokio::task::block_in_place(|| args.exercise(exercise)) {
            Ok(finished) => found[at].1 = Some(finished),
            Err(Failure::Api(why)) => {
                screen.fail(&why);
                failed.push(exercise.name());
            }
            Err(other) => return Err(other),
        }
        args.write_page(&found, screen.now_unix_ms)?;
    }
    args.write_page(&found, screen.now_unix_ms)?;
    let measured = found.iter().filter(|(_, done)| done.is_some()).count();
    let shown = serde_json::json!({ "page": args.page, "measured": measured, "of": found.len(), "failed": failed });
    screen.show(&shown, |_| {
        format!("wrote {}: {measured} of {} measured", args.page.display(), found.len())
    })?;
    Ok(if failed.is_empty() { DONE } else { crate::failure::Exit(1) })
}

/// The processor, as the system names it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{}, {cores} cores", name.map_or("unknown processor", |(_, name)| name))
}
