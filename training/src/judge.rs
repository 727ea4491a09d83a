//! Judging a package, timed.

use crate::{Evaluation, Progress, Result, package};
use std::{fs, path::Path, time::Instant};

/// Judges a package on the test part of a data set.
pub fn judge(folder: &Path, data: &Path, progress: &mut dyn Progress) -> Result<Evaluation> {
    let package = package::read(folder)?;
    let begun = Instant::now();
    let lesson = package.manifest.task.lesson();
    let mut evaluation = lesson.evaluate(&package.parameters, data, progress)?;
    evaluation.seconds = begun.elapsed().as_secs_f64();
    evaluation.rows_per_s = evaluation.n as f64 / evaluation.seconds.max(1e-9);
    evaluation.peak_rss_mib = peak_rss_mib();
    Ok(evaluation)
}

/// 0 where the system does not say.
fn peak_rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
