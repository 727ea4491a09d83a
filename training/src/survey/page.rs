//! The page of figures, in Markdown.

use super::{Bound, Exercise, Finished, GOALS, Goal};
use crate::{Task, flat, lower_is_better};
use std::{collections::BTreeMap, fmt::Write as _};

/// What was found out where, on which machine.
#[derive(Clone, Debug)]
pub struct Made<'a> {
    /// The day, such as `2026-11-27`.
    pub day: &'a str,
    /// Processor and cores.
    pub machine: &'a str,
    /// The seed of every training.
    pub seed: u64,
}

/// Everything that was finished, as one page; an exercise that was not is named.
pub fn page(finished: &[(Exercise, Option<Finished>)], made: &Made<'_>) -> String {
    let mut text = String::from(
        "# Figures of the models\n\n\
         Made by `make models`: do not edit. Every model is trained on the training part of one public set and judged on \
         its test part, beside its baselines on the same rows. *Others* is what a well-known method or a Python reference \
         reached on the same rows; a goal is what this project set out to reach. What was tried, and the limits, are on the \
         page of each model.\n\n",
    );
    let _ = write!(text, "{}, {}, seed {}, profile `dev`.\n\n", made.day, made.machine, made.seed);
    text.push_str(&summary(finished));
    let mut task = None;
    for (exercise, done) in finished {
        if task != Some(exercise.task) {
            let _ = write!(text, "\n## {}\n", title(exercise.task));
            task = Some(exercise.task);
        }
        match done {
            Some(done) => section(&mut text, *exercise, done, made.seed),
            None => {
                let _ = write!(text, "\n### {}\n\nNot measured.\n", exercise.set);
            }
        }
    }
    text
}

fn title(task: Task) -> &'static str {
    match task {
        Task::Anomaly => "Unusual values of one signal",
        Task::AnomalyMulti => "Unusual states of machines",
        Task::Hazard => "Failures of disks and machines",
        Task::Forecast => "Arrivals in the next minutes to days",
        Task::Prefetch => "What is read next",
        Task::Characterize => "The kind of workload",
    }
}

fn goals(exercise: Exercise) -> impl Iterator<Item = &'static Goal> {
    GOALS.iter().filter(move |goal| goal.task == exercise.task && goal.set == exercise.set)
}

/// A figure in as many digits as tell something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        a if a >= 1_000.0 => 0,
        a if a >= 10.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn summary(finished: &[(Exercise, Option<Finished>)]) -> String {
    let (mut reached, mut missed) = (0, Vec::new());
    for (exercise, done) in finished {
        let Some(done) = done else { continue };
        let figures = flat(&done.evaluation.metrics);
        for goal in goals(*exercise) {
            match figures.get(goal.metric) {
                Some(value) if goal.bound.holds(*value) => reached += 1,
                value => missed.push(format!(
                    "| {} | {} | {} | {} | {} |\n",
                    exercise.task.name(),
                    exercise.set,
                    goal.metric,
                    goal.bound,
                    value.map_or("no figure".into(), |v| number(*v)),
                )),
            }
        }
    }
    let mut text = format!("**{reached} of {} goals are reached.**\n", reached + missed.len());
    if !missed.is_empty() {
        text.push_str("\nNot reached:\n\n| task | set | figure | goal | the model |\n| --- | --- | --- | --- | ---: |\n");
        text.extend(missed);
    }
    text
}

fn section(text: &mut String, exercise: Exercise, done: &Finished, seed: u64) {
    let judged = &done.evaluation;
    let _ = write!(text, "\n### {}\n\n```sh\n", exercise.set);
    for command in exercise.commands(seed) {
        let _ = writeln!(text, "{command}");
    }
    let _ = write!(
        text,
        "```\n\nTrained in {:.0} s; {} rows judged in {:.0} s with the baselines; {:.0} MiB at most.\n\n",
        done.train_s, judged.n, judged.seconds, judged.peak_rss_mib
    );
    let ours = flat(&judged.metrics);
    let theirs: BTreeMap<&String, BTreeMap<String, f64>> =
        judged.baselines.iter().map(|(name, metrics)| (name, flat(metrics))).collect();
    text.push_str("| figure | the model | goal |");
    let mut rule = String::from("| --- | ---: | --- |");
    for name in theirs.keys() {
        let _ = write!(text, " {name} |");
        rule.push_str(" ---: |");
    }
    let _ = write!(text, " others |\n{rule} --- |\n");
    for metric in shown(exercise, &ours) {
        let goal = goals(exercise).find(|goal| goal.metric == metric);
        let value = ours.get(metric).map_or("–".to_owned(), |v| number(*v));
        let aim = goal.map_or(String::new(), |goal| {
            let met = ours.get(metric).is_some_and(|v| goal.bound.holds(*v));
            format!("{} {}", goal.bound, if met { "✓" } else { "✗" })
        });
        let _ = write!(text, "| {metric} | **{value}** | {aim} |");
        for figures in theirs.values() {
            let value = figures.get(metric).map_or("–".to_owned(), |v| number(*v));
            let _ = write!(text, " {value} |");
        }
        let _ = writeln!(text, " {} |", goal.map_or("", |goal| goal.others));
    }
    intervals(text, exercise, done);
}

/// What has a goal, and what is no part of a group; all others are in the JSON document.
fn shown<'a>(exercise: Exercise, ours: &'a BTreeMap<String, f64>) -> Vec<&'a str> {
    let aimed = goals(exercise).map(|goal| goal.metric);
    let mut all: Vec<&str> = aimed.collect();
    let plain =
        ours.keys().map(String::as_str).filter(|name| !name.contains('.') || name.contains("_0."));
    for name in plain {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Only those that tell two sides apart, or that a goal speaks of.
fn intervals(text: &mut String, exercise: Exercise, done: &Finished) {
    let mut lines = String::new();
    for (side, all) in &done.evaluation.intervals {
        for (name, interval) in
            all.iter().filter(|(name, _)| goals(exercise).any(|g| g.metric == *name))
        {
            let verdict = match (interval.sign(), lower_is_better(name)) {
                (0, _) => "not told apart",
                (1, false) | (-1, true) => "better",
                _ => "worse",
            };
            let _ = writeln!(
                lines,
                "| {name} | {side} | {:+.3} | {:+.3} to {:+.3} | {} | {verdict} |",
                interval.difference, interval.low, interval.high, interval.units
            );
        }
    }
    if !lines.is_empty() {
        text.push_str("\nPaired bootstrap over units, the model minus the other:\n\n");
        text.push_str("| figure | against | difference | 95 % interval | units | the model is |\n");
        text.push_str("| --- | --- | ---: | --- | ---: | --- |\n");
        text.push_str(&lines);
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::Within(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Evaluation, Metric, Metrics, survey::EXERCISES};

    fn finished(pairs: &[(&str, f64)]) -> Finished {
        let metrics: Metrics = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).into())).collect();
        let group = Metric::Group(Metrics::from([("x".into(), 7.0.into())]));
        let baselines =
            [("rule".to_owned(), Metrics::from([("nab_standard".into(), 40.25.into())]))];
        let evaluation = Evaluation {
            metrics: metrics.into_iter().chain([("each".to_owned(), group)]).collect(),
            baselines: baselines.into(),
            n: 12,
            ..Evaluation::default()
        };
        Finished { train_s: 2.0, evaluation }
    }

    #[test]
    fn goals_are_told_reached_missed_or_without_a_figure() {
        let made = Made { day: "2026-11-27", machine: "none", seed: 1 };
        let text = page(&[(EXERCISES[0], Some(finished(&[("nab_standard", 66.04)])))], &made);
        assert!(text.contains("**1 of 2 goals are reached.**"), "{text}");
        assert!(text.contains("| nab_standard | **66.0** | ≥ 65 ✓ | 40.2 | ARTime"), "{text}");
        assert!(text.contains("| anomaly | nab | nab_low_fp | ≥ 52 | no figure |"), "{text}");
        assert!(text.contains("| nab_low_fp | **–** | ≥ 52 ✗ | – |"), "{text}");
        assert!(!text.contains("each.x"), "parts of groups are in the document only");
        let missed = page(&[(EXERCISES[0], Some(finished(&[("nab_standard", 64.99)])))], &made);
        assert!(missed.contains("**0 of 2 goals are reached.**"), "{missed}");
    }

    #[test]
    fn what_was_not_measured_is_named_and_every_goal_has_its_exercise() {
        let made = Made { day: "2026-11-27", machine: "none", seed: 1 };
        let text = page(&EXERCISES.map(|exercise| (exercise, None)), &made);
        assert_eq!(text.matches("Not measured").count(), EXERCISES.len());
        assert!(text.contains("**0 of 0 goals"));
        for goal in GOALS {
            let exercises = EXERCISES.iter().filter(|e| (e.task, e.set) == (goal.task, goal.set));
            assert_eq!(exercises.count(), 1, "{goal:?}");
        }
    }
}
