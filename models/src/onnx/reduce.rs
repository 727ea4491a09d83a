//! Operators that sum up: along an axis, or of matrices.

use super::attributes::Attributes;
use super::error::{OnnxError, Result, bad};
use super::scores::PostTransform;
use super::tensor::{Budget, Tensor, Values};

/// What becomes of the values along the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Sum,
    Mean,
    Max,
    Min,
}

/// `ReduceSum` and its kin. The axes are an attribute or the second input.
#[derive(Clone, Debug)]
pub(super) struct Reduce {
    fold: Fold,
    axes: Vec<i64>,
    keep: bool,
    nothing_without_axes: bool,
}

impl Reduce {
    pub(super) fn read(fold: Fold, attributes: Attributes) -> Self {
        Self {
            fold,
            axes: attributes.ints("axes").to_vec(),
            keep: attributes.int("keepdims").unwrap_or(1) != 0,
            nothing_without_axes: attributes.int("noop_with_empty_axes").unwrap_or(0) != 0,
        }
    }

    pub(super) fn run(
        &self,
        input: &Tensor,
        axes: Option<&Tensor>,
        budget: &mut Budget,
    ) -> Result<Vec<Tensor>> {
        let axes = match axes {
            Some(axes) => axes.integers()?,
            None => &self.axes,
        };
        let mut places: Vec<usize> =
            axes.iter().map(|axis| input.axis(*axis)).collect::<Result<_>>()?;
        if places.is_empty() && !self.nothing_without_axes {
            places = (0..input.shape.len()).collect();
        }
        places.sort_unstable();
        places.dedup();
        let mut reduced = input.clone();
        budget.make(input.values.len())?;
        for axis in &places {
            reduced = self.along(&reduced, *axis, budget)?;
        }
        if !self.keep {
            let kept = reduced.shape.iter().enumerate().filter(|(at, _)| !places.contains(at));
            reduced.shape = kept.map(|(_, size)| *size).collect();
        }
        Ok(vec![reduced])
    }

    fn along(&self, input: &Tensor, axis: usize, budget: &mut Budget) -> Result<Tensor> {
        let (before, size, after) = input.around(axis);
        if size == 0 {
            return Err(OnnxError::Rows("nothing to reduce".into()));
        }
        budget.make(2 * input.values.len())?;
        let numbers = input.numbers()?;
        let mut done = Vec::with_capacity(before * after);
        for block in 0..before {
            for at in 0..after {
                let values = (0..size).map(|i| numbers[(block * size + i) * after + at]);
                done.push(match self.fold {
                    Fold::Sum => values.sum(),
                    Fold::Mean => values.sum::<f64>() / size as f64,
                    Fold::Max => values.fold(f64::NEG_INFINITY, f64::max),
                    Fold::Min => values.fold(f64::INFINITY, f64::min),
                });
            }
        }
        let mut shape = input.shape.clone();
        shape[axis] = 1;
        Ok(Tensor { shape, values: floats_like(input, done)? })
    }
}

fn floats_like(input: &Tensor, values: Vec<f64>) -> Result<Values> {
    match &input.values {
        Values::F32(_) => Ok(Values::F32(values.into_iter().map(|value| value as f32).collect())),
        Values::F64(_) => Ok(Values::F64(values)),
        _ => bad("a sum or product of values that are no floats"),
    }
}

/// `ArgMax` and `ArgMin`: the first of equal ones unless it says the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arg {
    largest: bool,
    axis: i64,
    keep: bool,
    last: bool,
}

impl Arg {
    pub(super) fn read(largest: bool, attributes: Attributes) -> Self {
        Self {
            largest,
            axis: attributes.int("axis").unwrap_or(0),
            keep: attributes.int("keepdims").unwrap_or(1) != 0,
            last: attributes.int("select_last_index").unwrap_or(0) != 0,
        }
    }

    pub(super) fn run(self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let axis = input.axis(self.axis)?;
        let (before, size, after) = input.around(axis);
        if size == 0 {
            return Err(OnnxError::Rows("nothing to choose from".into()));
        }
        budget.make(2 * input.values.len())?;
        let numbers = input.numbers()?;
        let sign = if self.largest { 1.0 } else { -1.0 };
        let mut found = Vec::with_capacity(before * after);
        for block in 0..before {
            for at in 0..after {
                let value = |i: usize| sign * numbers[(block * size + i) * after + at];
                let better = |best: usize, i: usize| {
                    let wins = value(i) > value(best) || self.last && value(i) == value(best);
                    if wins { i } else { best }
                };
                found.push((1..size).fold(0, better) as i64);
            }
        }
        let mut shape = input.shape.clone();
        if self.keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        Ok(vec![Tensor { shape, values: Values::I64(found) }])
    }
}

/// `Softmax` over the last axis, or, before operator set 13, over all from an axis on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    axis: i64,
    flattens: bool,
}

impl Softmax {
    pub(super) fn read(attributes: Attributes, operator_set: i64) -> Self {
        let flattens = operator_set < 13;
        let axis = attributes.int("axis").unwrap_or(if flattens { 1 } else { -1 });
        Self { axis, flattens }
    }

    pub(super) fn run(self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        let axis = input.axis(self.axis)?;
        let (_, size, after) = input.around(axis);
        if after != 1 && !self.flattens {
            return bad("Softmax over another axis than the last");
        }
        budget.make(2 * input.values.len())?;
        let mut numbers = input.numbers()?;
        let together = (size * after).max(1);
        numbers.chunks_exact_mut(together).for_each(|row| PostTransform::Softmax.apply(row));
        Ok(vec![Tensor { shape: input.shape.clone(), values: floats_like(input, numbers)? }])
    }
}

/// `MatMul` and `Gemm` of matrices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    alpha: f64,
    beta: f64,
    flipped: [bool; 2],
}

impl Product {
    pub(super) const PLAIN: Self = Self { alpha: 1.0, beta: 1.0, flipped: [false; 2] };

    pub(super) fn read(attributes: Attributes) -> Self {
        let number = |name| f64::from(attributes.float(name).unwrap_or(1.0));
        let flipped = ["transA", "transB"].map(|name| attributes.int(name).unwrap_or(0) != 0);
        Self { alpha: number("alpha"), beta: number("beta"), flipped }
    }

    pub(super) fn run(
        self,
        a: &Tensor,
        b: &Tensor,
        c: Option<&Tensor>,
        budget: &mut Budget,
    ) -> Result<Vec<Tensor>> {
        let ([ar, ac], [br, bc]) = (&a.shape[..], &b.shape[..]) else {
            return bad("a product of other than two matrices");
        };
        let (rows, inner) = if self.flipped[0] { (*ac, *ar) } else { (*ar, *ac) };
        let (inner_b, columns) = if self.flipped[1] { (*bc, *br) } else { (*br, *bc) };
        if inner != inner_b {
            let what = format!("{inner} columns times {inner_b} rows");
            return Err(OnnxError::Rows(what));
        }
        let made = rows.saturating_mul(columns);
        budget.make(made.saturating_mul(2).saturating_add(a.values.len() + b.values.len()))?;
        budget.work((made as u64).saturating_mul(inner as u64))?;
        let (x, y) = (a.numbers()?, b.numbers()?);
        let added = c.map(|c| Added::of(c, rows, columns)).transpose()?;
        let mut done = Vec::with_capacity(made);
        for row in 0..rows {
            for column in 0..columns {
                let left = |i: usize| x[if self.flipped[0] { i * ac + row } else { row * ac + i }];
                let right =
                    |i: usize| y[if self.flipped[1] { column * bc + i } else { i * bc + column }];
                let dot: f64 = (0..inner).map(|i| left(i) * right(i)).sum();
                let added = added.as_ref().map_or(0.0, |added| added.at(row, column));
                done.push(self.alpha * dot + self.beta * added);
            }
        }
        Ok(vec![Tensor { shape: vec![rows, columns], values: floats_like(a, done)? }])
    }
}

/// What `Gemm` adds: one number, a row, a column or a matrix.
struct Added {
    numbers: Vec<f64>,
    steps: [usize; 2],
}

impl Added {
    fn of(tensor: &Tensor, rows: usize, columns: usize) -> Result<Self> {
        let (height, width) = match tensor.shape[..] {
            [] => (1, 1),
            [width] => (1, width),
            [height, width] => (height, width),
            _ => return bad("Gemm adds a tensor of more than two axes"),
        };
        if ![1, rows].contains(&height) || ![1, columns].contains(&width) {
            return bad("what Gemm adds does not fit");
        }
        let step = |size: usize, step: usize| if size == 1 { 0 } else { step };
        Ok(Self { numbers: tensor.numbers()?, steps: [step(height, width), step(width, 1)] })
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.numbers[row * self.steps[0] + column * self.steps[1]]
    }
}
