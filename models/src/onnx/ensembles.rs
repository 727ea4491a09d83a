//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor`.
//!
//! Sums are rounded to 32 bits after each tree where the features have 32, as other runtimes do it: a share of exactly
//! one half must fall to the same side.

use super::attributes::Attributes;
use super::error::{OnnxError, Result, bad, shown};
use super::labels::{Labels, single_columns};
use super::scores::{PostTransform, both_classes};
use super::tensor::{Budget, Tensor};
use super::trees::{CLASSES, TARGETS, Trees};

/// `TreeEnsembleClassifier`.
#[derive(Debug)]
pub(super) struct TreeClassifier {
    pub(super) trees: Trees,
    pub(super) labels: Labels,
    base: Vec<f64>,
    transform: PostTransform,
    /// Two classes, and all weights are for one of them.
    one_score: bool,
    /// No weight is negative: with `one_score` the score is a share.
    shares: bool,
}

impl TreeClassifier {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let labels = Labels::read(attributes, "classlabels_int64s", "classlabels_strings")?;
        let trees = Trees::read(attributes, &CLASSES, labels.len())?;
        let base = attributes.finite("base_values")?;
        if base.len() > labels.len() {
            return bad("more base_values than classes");
        }
        let class = trees.weights.first().map(|weight| weight.0);
        let one_score = labels.len() == 2
            && class.is_some()
            && trees.weights.iter().all(|w| Some(w.0) == class);
        let shares = trees.weights.iter().all(|weight| weight.1 >= 0.0);
        let transform = PostTransform::of(attributes.text("post_transform")?.as_deref())?;
        let alone = labels.len() == 2 && base.len() < 2 && !trees.always_speak_for(1);
        if alone && transform == PostTransform::Probit {
            return bad("PROBIT of one score for two classes, which has no second answer");
        }
        Ok(Self { trees, labels, base, transform, one_score, shares })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let classes = self.labels.len();
        let (mut chosen, mut all) = (Vec::new(), Vec::new());
        let single = input.single();
        let mut sums = vec![None; classes];
        let rows = self.trees.over_rows(input, 2 + classes, budget, |row| {
            sums.fill(None);
            for root in &self.trees.roots {
                for (class, weight) in self.trees.leaf(*root, row) {
                    let sum: &mut Option<f64> = &mut sums[*class as usize];
                    *sum = Some(rounded(sum.unwrap_or(0.0) + weight, single));
                }
            }
            let class = if classes > 2 {
                self.many(&mut sums, single, &mut all)
            } else {
                self.two(&sums, single, &mut all)
            };
            chosen.push(class);
        })?;
        let labels = self.labels.column(&chosen, budget)?;
        Ok(vec![labels, single_columns(all, rows, classes)])
    }

    /// Appends the scores and says which class is the highest; a class that no leaf spoke for is none.
    fn many(&self, sums: &mut [Option<f64>], single: bool, all: &mut Vec<f64>) -> usize {
        for (sum, base) in sums.iter_mut().zip(&self.base) {
            *sum = Some(rounded(sum.unwrap_or(0.0) + base, single));
        }
        let mut best: Option<(usize, f64)> = None;
        for (class, sum) in sums.iter().enumerate() {
            if let Some(sum) = sum
                && best.is_none_or(|(_, most)| *sum > most)
            {
                best = Some((class, *sum));
            }
        }
        let begin = all.len();
        all.extend(sums.iter().map(|sum| sum.unwrap_or(0.0)));
        self.transform.apply(&mut all[begin..]);
        best.map_or(0, |(class, _)| class)
    }

    /// The same for two classes.
    fn two(&self, sums: &[Option<f64>], single: bool, all: &mut Vec<f64>) -> usize {
        let (mut first, mut second) = (sums[0], sums[1]);
        let spoke = second.is_some();
        // A base is added to a class that a leaf spoke for and is lost on another.
        match self.base[..] {
            [_, base] if spoke => {
                let sum = rounded(base + first.unwrap_or(0.0), single);
                (first, second) = (first.map(|_| -sum), Some(sum));
            }
            [base] | [base, _] => first = first.map(|first| rounded(first + base, single)),
            _ => {}
        }
        let shares = self.one_score && self.shares;
        let positive = second.or(first).unwrap_or(0.0);
        let class = usize::from(positive > if shares { 0.5 } else { 0.0 });
        let first = first.unwrap_or(0.0);
        if spoke || self.base.len() == 2 {
            let begin = all.len();
            all.extend([first, second.unwrap_or(0.0)]);
            self.transform.apply(&mut all[begin..]);
        } else {
            all.extend(both_classes(first, shares, self.transform));
        }
        class
    }
}

/// How the trees of a regressor are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// `TreeEnsembleRegressor`.
#[derive(Debug)]
pub(super) struct TreeRegressor {
    pub(super) trees: Trees,
    targets: usize,
    base: Vec<f64>,
    aggregate: Aggregate,
    transform: PostTransform,
}

impl TreeRegressor {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let targets = usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0);
        // More would be targets that no leaf speaks for.
        if targets == 0 || targets > attributes.ints("target_ids").len().max(1) {
            return bad(format!("{targets} targets of a regressor"));
        }
        let aggregate = match attributes.text("aggregate_function")?.as_deref() {
            None | Some("SUM") => Aggregate::Sum,
            Some("AVERAGE") => Aggregate::Average,
            Some("MIN") => Aggregate::Min,
            Some("MAX") => Aggregate::Max,
            Some(other) => {
                return Err(OnnxError::Unsupported {
                    what: format!("aggregate_function {}", shown(other)),
                    known: "SUM, AVERAGE, MIN, MAX".into(),
                });
            }
        };
        let base = attributes.finite("base_values")?;
        if !base.is_empty() && base.len() != targets {
            return bad(format!("{} base_values for {targets} targets", base.len()));
        }
        Ok(Self {
            trees: Trees::read(attributes, &TARGETS, targets)?,
            targets,
            base,
            aggregate,
            transform: PostTransform::of(attributes.text("post_transform")?.as_deref())?,
        })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let single = input.single();
        let mut all = Vec::new();
        let mut sums: Vec<Option<f64>> = vec![None; self.targets];
        let rows = self.trees.over_rows(input, self.targets, budget, |row| {
            sums.fill(None);
            for root in &self.trees.roots {
                for (target, weight) in self.trees.leaf(*root, row) {
                    let sum = &mut sums[*target as usize];
                    *sum = Some(match (self.aggregate, *sum) {
                        (_, None) => *weight,
                        (Aggregate::Min, Some(least)) => least.min(*weight),
                        (Aggregate::Max, Some(most)) => most.max(*weight),
                        (_, Some(sum)) => rounded(sum + weight, single),
                    });
                }
            }
            let begin = all.len();
            let finished = |(at, sum): (usize, &Option<f64>)| match sum {
                // Of several targets, one that no leaf spoke for has not even its base.
                None if self.targets > 1 => 0.0,
                sum => self.finished(at, sum.unwrap_or(0.0), single),
            };
            all.extend(sums.iter().enumerate().map(finished));
            // One target is shown as it is: runtimes know only PROBIT there.
            if self.targets > 1 || self.transform == PostTransform::Probit {
                self.transform.apply(&mut all[begin..]);
            }
        })?;
        Ok(vec![single_columns(all, rows, self.targets)])
    }

    fn finished(&self, target: usize, mut sum: f64, single: bool) -> f64 {
        if self.aggregate == Aggregate::Average {
            sum = rounded(sum / self.trees.roots.len() as f64, single);
        }
        rounded(sum + self.base.get(target).copied().unwrap_or(0.0), single)
    }
}

fn rounded(value: f64, single: bool) -> f64 {
    if single { f64::from(value as f32) } else { value }
}
