//! Stands where no lesson is made yet.

use super::{Lesson, Trained};
use crate::{Error, Evaluation, Progress, Result};
use std::path::{Path, PathBuf};

pub(super) struct Unmade;

impl Lesson for Unmade {
    fn train(&self, _: &[PathBuf], _: u64, _: &mut dyn Progress) -> Result<Trained> {
        Err(Error::Unsuitable("this task cannot be trained yet".into()))
    }

    fn evaluate(
        &self,
        _: &serde_json::Value,
        _: &Path,
        _: &mut dyn Progress,
    ) -> Result<Evaluation> {
        Err(Error::Unsuitable("this task cannot be judged yet".into()))
    }
}
