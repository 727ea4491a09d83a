//! `LinearClassifier`, `LinearRegressor`, `Scaler`, `Imputer`, `Normalizer`, `Binarizer`.

use super::attributes::Attributes;
use super::error::{OnnxError, Result, bad, shown};
use super::labels::{Labels, single_columns};
use super::scores::PostTransform;
use super::tensor::{Budget, Tensor, Values};

/// Coefficients by target, one row of features each, with intercepts.
#[derive(Debug)]
struct Linear {
    coefficients: Vec<f64>,
    intercepts: Vec<f64>,
    targets: usize,
}

impl Linear {
    /// The sums of all rows, by row. Rounded to 32 bits at the end only, where other runtimes round on the way.
    fn sums(&self, input: &Tensor, budget: &mut Budget) -> Result<(usize, Vec<f64>)> {
        let (rows, width) = input.rows()?;
        if width.checked_mul(self.targets) != Some(self.coefficients.len()) {
            let what = format!(
                "{width} features where a linear model has {} coefficients for {} targets",
                self.coefficients.len(),
                self.targets
            );
            return Err(OnnxError::Rows(what));
        }
        budget.make(rows.saturating_mul(2 * self.targets + width))?;
        budget.work((rows as u64).saturating_mul(self.coefficients.len() as u64))?;
        let numbers = input.numbers()?;
        let mut sums = Vec::with_capacity(rows * self.targets);
        for row in 0..rows {
            let row = &numbers[row * width..][..width];
            for target in 0..self.targets {
                let weights = &self.coefficients[target * width..][..width];
                let dot: f64 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
                // Without features the zip is empty and the intercept is all there is.
                sums.push(dot + self.intercepts.get(target).copied().unwrap_or(0.0));
            }
        }
        Ok((rows, sums))
    }
}

/// `LinearClassifier`.
#[derive(Debug)]
pub(super) struct LinearClassifier {
    linear: Linear,
    pub(super) labels: Labels,
    transform: PostTransform,
}

impl LinearClassifier {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let labels = Labels::read(attributes, "classlabels_ints", "classlabels_strings")?;
        let intercepts = attributes.finite("intercepts")?;
        let coefficients = attributes.finite("coefficients")?;
        let targets = intercepts.len();
        let two_by_one = targets == 1 && labels.len() == 2;
        if !two_by_one && targets != labels.len() || coefficients.is_empty() {
            return bad(format!("{targets} intercepts for {} classes", labels.len()));
        }
        let transform = PostTransform::of(attributes.text("post_transform")?.as_deref())?;
        if two_by_one && transform == PostTransform::Probit {
            return bad("PROBIT of a classifier with one score, which runtimes do not agree on");
        }
        Ok(Self { linear: Linear { coefficients, intercepts, targets }, labels, transform })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let (rows, sums) = self.linear.sums(input, budget)?;
        let classes = self.labels.len();
        let (mut all, mut chosen) = (Vec::with_capacity(rows * classes), Vec::with_capacity(rows));
        for scores in sums.chunks_exact(self.linear.targets) {
            // As 32 bits, so that classes that are equal there stay equal.
            let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score as f32)).collect();
            if let [score] = scores[..] {
                chosen.push(usize::from(score > 0.0));
                all.extend(one_score(score, self.transform));
            } else {
                let best = |best: usize, class: usize| {
                    if scores[class] > scores[best] { class } else { best }
                };
                chosen.push((1..classes).fold(0, best));
                let begin = all.len();
                all.extend(scores);
                self.transform.apply(&mut all[begin..]);
            }
        }
        let labels = self.labels.column(&chosen, budget)?;
        Ok(vec![labels, single_columns(all, rows, classes)])
    }
}

/// The scores of both classes where the model has one.
fn one_score(score: f64, transform: PostTransform) -> [f64; 2] {
    let mut scores = [score];
    if transform == PostTransform::Logistic {
        transform.apply(&mut scores);
    }
    [1.0 - scores[0], scores[0]]
}

/// `LinearRegressor`.
#[derive(Debug)]
pub(super) struct LinearRegressor {
    linear: Linear,
    transform: PostTransform,
}

impl LinearRegressor {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let coefficients = attributes.finite("coefficients")?;
        let targets = usize::try_from(attributes.int("targets").unwrap_or(1)).unwrap_or(0);
        if targets == 0 || coefficients.is_empty() || coefficients.len() % targets != 0 {
            return bad(format!("{} coefficients for {targets} targets", coefficients.len()));
        }
        let mut intercepts = attributes.finite("intercepts")?;
        if intercepts.len() != targets {
            intercepts.clear();
        }
        let transform = PostTransform::of(attributes.text("post_transform")?.as_deref())?;
        Ok(Self { linear: Linear { coefficients, intercepts, targets }, transform })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let (rows, mut sums) = self.linear.sums(input, budget)?;
        let targets = self.linear.targets;
        // One target is shown as it is: runtimes know only PROBIT there.
        if targets > 1 || self.transform == PostTransform::Probit {
            sums.chunks_exact_mut(targets).for_each(|scores| self.transform.apply(scores));
        }
        Ok(vec![single_columns(sums, rows, targets)])
    }
}

/// `Scaler`: minus `offset`, times `scale`, one for all columns or one for each.
#[derive(Debug)]
pub(super) struct Scaler {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let (offset, scale) = (attributes.finite("offset")?, attributes.finite("scale")?);
        if offset.is_empty() || offset.len() != scale.len() {
            return bad("a Scaler's offset and scale are empty or of different lengths");
        }
        Ok(Self { offset, scale })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let (rows, width) = input.rows()?;
        let one = self.offset.len() == 1;
        if !one && self.offset.len() != width {
            let what = format!("{width} features where a Scaler has {}", self.offset.len());
            return Err(OnnxError::Rows(what));
        }
        budget.make(2 * rows * width)?;
        let (single, mut numbers) = (input.single(), input.numbers()?);
        for (at, value) in numbers.iter_mut().enumerate() {
            let column = if one { 0 } else { at % width };
            let moved = *value - self.offset[column];
            let moved = if single { f64::from(moved as f32) } else { moved };
            *value = moved * self.scale[column];
        }
        let values = Values::F32(numbers.into_iter().map(|value| value as f32).collect());
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}

/// `Imputer`: puts a value in place of another, which may be NaN.
#[derive(Debug)]
pub(super) struct Imputer {
    floats: Vec<f64>,
    replaced_float: f64,
    ints: Vec<i64>,
    replaced_int: i64,
}

impl Imputer {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        let floats = attributes.finite("imputed_value_floats")?;
        let ints = attributes.ints("imputed_value_int64s").to_vec();
        if floats.is_empty() == ints.is_empty() {
            return bad("an Imputer needs either imputed_value_floats or imputed_value_int64s");
        }
        let replaced_float = f64::from(attributes.float("replaced_value_float").unwrap_or(0.0));
        let replaced_int = attributes.int("replaced_value_int64").unwrap_or(0);
        Ok(Self { floats, replaced_float, ints, replaced_int })
    }

    pub(super) fn run(&self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        fn put<T: Copy>(
            values: &[T],
            by: &[T],
            width: usize,
            is_missing: impl Fn(T) -> bool,
        ) -> Result<Vec<T>> {
            if by.len() != width && by.len() != 1 {
                let what = format!("{width} features where an Imputer has {}", by.len());
                return Err(OnnxError::Rows(what));
            }
            let put = |(at, value): (usize, &T)| {
                let column = if by.len() == 1 { 0 } else { at % width };
                if is_missing(*value) { by[column] } else { *value }
            };
            Ok(values.iter().enumerate().map(put).collect())
        }
        let (_, width) = input.rows()?;
        budget.make(input.values.len())?;
        let replaced = self.replaced_float;
        let missing = |value: f64| value == replaced || value.is_nan() && replaced.is_nan();
        let values = match &input.values {
            Values::F32(values) if !self.floats.is_empty() => {
                let by: Vec<f32> = self.floats.iter().map(|value| *value as f32).collect();
                Values::F32(put(values, &by, width, |value| missing(f64::from(value)))?)
            }
            Values::F64(values) if !self.floats.is_empty() => {
                Values::F64(put(values, &self.floats, width, missing)?)
            }
            Values::I64(values) if !self.ints.is_empty() => {
                Values::I64(put(values, &self.ints, width, |value| value == self.replaced_int)?)
            }
            _ => return bad("an Imputer is given values of another type than its own"),
        };
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}

/// `Normalizer`: divides each row by its largest value, its sum or its length.
#[derive(Clone, Copy, Debug)]
pub(super) enum Normalizer {
    Max,
    L1,
    L2,
}

impl Normalizer {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        match attributes.text("norm")?.as_deref() {
            None | Some("MAX") => Ok(Self::Max),
            Some("L1") => Ok(Self::L1),
            Some("L2") => Ok(Self::L2),
            Some(other) => Err(OnnxError::Unsupported {
                what: format!("norm {}", shown(other)),
                known: "MAX, L1, L2".into(),
            }),
        }
    }

    pub(super) fn run(self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let (_, width) = input.rows()?;
        budget.make(2 * input.values.len())?;
        let mut numbers = input.numbers()?;
        for row in numbers.chunks_exact_mut(width.max(1)) {
            let size = match self {
                Self::Max => row.iter().copied().fold(f64::from(f32::MIN), f64::max),
                Self::L1 => row.iter().map(|value| value.abs()).sum(),
                Self::L2 => row.iter().map(|value| value * value).sum::<f64>().sqrt(),
            };
            // A row of nothing stays one.
            if size != 0.0 {
                row.iter_mut().for_each(|value| *value /= size);
            }
        }
        let values = Values::F32(numbers.into_iter().map(|value| value as f32).collect());
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}

/// `Binarizer`: 1 above the threshold, else 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binarizer(f64);

impl Binarizer {
    pub(super) fn read(attributes: Attributes) -> Result<Self> {
        Ok(Self(f64::from(attributes.float("threshold").unwrap_or(0.0))))
    }

    pub(super) fn run(self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        budget.make(2 * input.values.len())?;
        let above = input.numbers()?.into_iter().map(|value| value > self.0);
        let values = match &input.values {
            Values::F32(_) => Values::F32(above.map(|yes| f32::from(u8::from(yes))).collect()),
            Values::F64(_) => Values::F64(above.map(|yes| f64::from(u8::from(yes))).collect()),
            _ => Values::I64(above.map(i64::from).collect()),
        };
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}
