//! The survey: every model on every public set that is there, beside its goal, its baselines and what others reached.
//!
//! [`EXERCISES`] says what is trained and judged on which set, [`goals`] what it is measured by, [`page`] writes
//! what came out. Who runs an exercise decides how: see `isobar model survey`.

mod goals;
mod page;

pub use goals::{Bound, GOALS, Goal};
pub use page::{Made, page};

use crate::{Evaluation, Task};
use serde::{Deserialize, Serialize};

/// A model trained on one set and judged on its test part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exercise {
    /// What is learnt.
    pub task: Task,
    /// The set's folder.
    pub set: &'static str,
}

impl Exercise {
    /// Its name, also of its files.
    pub fn name(self) -> String {
        format!("{}-{}", self.task.name(), self.set)
    }

    /// The commands that a user would type, below the root of the sets.
    pub fn commands(self, seed: u64) -> [String; 2] {
        let (task, set, name) = (self.task.name(), self.set, self.name());
        [
            format!("isobar model train {task} --data $ROOT/{set} --seed {seed} --out {name}"),
            format!("isobar model evaluate {name} --data $ROOT/{set} -o json"),
        ]
    }
}

const fn exercise(task: Task, set: &'static str) -> Exercise {
    Exercise { task, set }
}

/// All exercises, in the order of the page.
pub const EXERCISES: [Exercise; 17] = [
    exercise(Task::Anomaly, "nab"),
    exercise(Task::Anomaly, "donut_kpi"),
    exercise(Task::AnomalyMulti, "smd"),
    exercise(Task::AnomalyMulti, "asd"),
    exercise(Task::Hazard, "azure_pdm_events"),
    exercise(Task::Hazard, "backblaze_2013"),
    exercise(Task::Hazard, "backblaze_hds"),
    exercise(Task::Hazard, "grid5000_availability"),
    exercise(Task::Hazard, "lanl_failures"),
    exercise(Task::Hazard, "titan_gpu_failures"),
    exercise(Task::Forecast, "m4_hourly"),
    exercise(Task::Forecast, "http_request_rates"),
    exercise(Task::Forecast, "azure_vm_cpu"),
    exercise(Task::Forecast, "azure_llm_arrivals"),
    exercise(Task::Prefetch, "cache_traces"),
    exercise(Task::Characterize, "ycsb"),
    exercise(Task::Characterize, "http_request_rates"),
];

/// What came of an exercise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Time of the training with reading and packing, s.
    pub train_s: f64,
    /// The judgement, with its own time and memory.
    pub evaluation: Evaluation,
}
