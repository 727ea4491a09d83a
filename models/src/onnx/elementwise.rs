//! Operators that work element by element, with broadcasting as numpy has it.

use super::attributes::Attributes;
use super::error::{OnnxError, Result, bad, shown};
use super::proto::element;
use super::scores::logistic;
use super::tensor::{Budget, Tensor, Values, count};

/// Most axes of a tensor that is broadcast.
const AXES_MAX: usize = 8;

/// Of one tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unary {
    Abs,
    Exp,
    IsNan,
    Log,
    Neg,
    Relu,
    Sigmoid,
    Sqrt,
    Tanh,
}

impl Unary {
    pub(super) fn run(self, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
        budget.make(2 * input.values.len())?;
        let numbers = input.numbers()?;
        let done = numbers.into_iter().map(|value| match self {
            Self::Abs => value.abs(),
            Self::Exp => value.exp(),
            Self::IsNan => f64::from(u8::from(value.is_nan())),
            Self::Log => value.ln(),
            Self::Neg => -value,
            // Not `max`, for which NaN is nothing.
            Self::Relu => {
                if value < 0.0 {
                    0.0
                } else {
                    value
                }
            }
            Self::Sigmoid => logistic(value),
            Self::Sqrt => value.sqrt(),
            Self::Tanh => value.tanh(),
        });
        let values = match (&input.values, self) {
            (_, Self::IsNan) => Values::Bool(done.map(|value| value != 0.0).collect()),
            (Values::F32(_), _) => Values::F32(done.map(|value| value as f32).collect()),
            (Values::F64(_), _) => Values::F64(done.collect()),
            _ => return bad(format!("{self:?} of values that are no floats")),
        };
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}

/// Of two tensors, or of any number from the first on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Binary {
    /// Folds all inputs; only `Max`, `Min` and `Sum` are given other than two.
    pub(super) fn run(self, inputs: &[&Tensor], budget: &mut Budget) -> Result<Vec<Tensor>> {
        let Some((first, rest)) = inputs.split_first() else {
            return bad("an operator without inputs");
        };
        let mut all = (*first).clone();
        budget.make(all.weight())?;
        for other in rest {
            all = self.of(&all, other, budget)?;
        }
        Ok(vec![all])
    }

    fn of(self, a: &Tensor, b: &Tensor, budget: &mut Budget) -> Result<Tensor> {
        let shape = broadcast(&[a, b], budget)?;
        let (left, right) = (places(&a.shape, &shape)?, places(&b.shape, &shape)?);
        let pairs = left.into_iter().zip(right);
        let values = match (&a.values, &b.values) {
            (Values::F32(x), Values::F32(y)) => {
                let pairs = pairs.map(|(i, j)| (f64::from(x[i]), f64::from(y[j])));
                self.numbers(pairs, |values| {
                    // Of one operation on two 32-bit floats this is the correctly rounded result.
                    Values::F32(values.map(|value| value as f32).collect())
                })
            }
            (Values::F64(x), Values::F64(y)) => {
                let pairs = pairs.map(|(i, j)| (x[i], y[j]));
                self.numbers(pairs, |values| Values::F64(values.collect()))
            }
            (Values::I64(x), Values::I64(y)) => {
                let mut pairs = pairs.map(|(i, j)| (x[i], y[j]));
                match self.compared() {
                    Some(compare) => Values::Bool(pairs.map(|(x, y)| compare(x.cmp(&y))).collect()),
                    None => {
                        let done: Option<Vec<i64>> =
                            pairs.try_fold(Vec::new(), |mut done, (x, y)| {
                                done.push(self.integer(x, y)?);
                                Some(done)
                            });
                        let bad = || {
                            OnnxError::Rows("whole numbers divided by zero, or too large".into())
                        };
                        Values::I64(done.ok_or_else(bad)?)
                    }
                }
            }
            _ => return bad(format!("{self:?} of tensors of different types or of texts")),
        };
        Ok(Tensor { shape, values })
    }

    fn numbers(
        self,
        pairs: impl Iterator<Item = (f64, f64)>,
        collect: impl Fn(&mut dyn Iterator<Item = f64>) -> Values,
    ) -> Values {
        if let Some(compare) = self.compared() {
            let holds = |(x, y): (f64, f64)| x.partial_cmp(&y).is_some_and(compare);
            return Values::Bool(pairs.map(holds).collect());
        }
        collect(&mut pairs.map(|(x, y)| match self {
            Self::Add => x + y,
            Self::Sub => x - y,
            Self::Mul => x * y,
            Self::Div => x / y,
            Self::Pow => x.powf(y),
            _ if x.is_nan() || y.is_nan() => f64::NAN,
            Self::Max => x.max(y),
            _ => x.min(y),
        }))
    }

    fn integer(self, x: i64, y: i64) -> Option<i64> {
        match self {
            Self::Add => x.checked_add(y),
            Self::Sub => x.checked_sub(y),
            Self::Mul => x.checked_mul(y),
            Self::Div => x.checked_div(y),
            Self::Max => Some(x.max(y)),
            Self::Min => Some(x.min(y)),
            _ => x.checked_pow(u32::try_from(y).ok()?),
        }
    }

    /// Which orders make a comparison true.
    fn compared(self) -> Option<fn(std::cmp::Ordering) -> bool> {
        Some(match self {
            Self::Equal => |order| order.is_eq(),
            Self::Greater => |order| order.is_gt(),
            Self::GreaterOrEqual => |order| order.is_ge(),
            Self::Less => |order| order.is_lt(),
            Self::LessOrEqual => |order| order.is_le(),
            _ => return None,
        })
    }
}

/// The shape that all are repeated to; its elements, and their places, are charged for each.
fn broadcast(tensors: &[&Tensor], budget: &mut Budget) -> Result<Vec<usize>> {
    let axes = tensors.iter().map(|t| t.shape.len()).max().unwrap_or(0);
    if axes > AXES_MAX {
        return bad(format!("a tensor of {axes} axes"));
    }
    let mut shape = vec![1; axes];
    for tensor in tensors {
        let skipped = axes - tensor.shape.len();
        for (all, dim) in shape[skipped..].iter_mut().zip(&tensor.shape) {
            if *all == 1 {
                *all = *dim;
            } else if *dim != 1 && dim != all {
                let shapes: Vec<_> = tensors.iter().map(|t| &t.shape).collect();
                return Err(OnnxError::Rows(format!("shapes {shapes:?} do not fit together")));
            }
        }
    }
    budget.make(count(&shape)?.saturating_mul(1 + tensors.len()))?;
    Ok(shape)
}

/// For each element of `to`, where it comes from in a tensor of shape `from`.
fn places(from: &[usize], to: &[usize]) -> Result<Vec<usize>> {
    let all = count(to)?;
    if from == to {
        return Ok((0..all).collect());
    }
    let skipped = to.len() - from.len();
    let mut steps = vec![0; to.len()];
    let mut step = 1;
    for axis in (0..from.len()).rev() {
        if from[axis] != 1 {
            steps[skipped + axis] = step;
        }
        step *= from[axis];
    }
    let mut found = Vec::with_capacity(all);
    let mut at = vec![0; to.len()];
    for _ in 0..all {
        found.push(at.iter().zip(&steps).map(|(at, step)| at * step).sum());
        for axis in (0..to.len()).rev() {
            at[axis] += 1;
            if at[axis] < to[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    Ok(found)
}

/// `Where`: the second input where the first is true, else the third.
pub(super) fn choose(inputs: &[&Tensor], budget: &mut Budget) -> Result<Vec<Tensor>> {
    let [condition, yes, no] = inputs else {
        return bad("Where needs three inputs");
    };
    let Values::Bool(truths) = &condition.values else {
        return bad("the first input of Where is not BOOL");
    };
    if std::mem::discriminant(&yes.values) != std::mem::discriminant(&no.values) {
        return bad("Where chooses between tensors of different types");
    }
    let shape = broadcast(inputs, budget)?;
    let [asked, from_yes, from_no] = [
        places(&condition.shape, &shape)?,
        places(&yes.shape, &shape)?,
        places(&no.shape, &shape)?,
    ];
    fn of<T: Clone>(
        truth: impl Iterator<Item = bool>,
        (yes, from_yes): (&[T], &[usize]),
        (no, from_no): (&[T], &[usize]),
    ) -> Vec<T> {
        let pick = |(at, truth): (usize, bool)| {
            if truth { yes[from_yes[at]].clone() } else { no[from_no[at]].clone() }
        };
        truth.enumerate().map(pick).collect()
    }
    let truth = asked.iter().map(|place| truths[*place]);
    let values = match (&yes.values, &no.values) {
        (Values::F32(x), Values::F32(y)) => Values::F32(of(truth, (x, &from_yes), (y, &from_no))),
        (Values::F64(x), Values::F64(y)) => Values::F64(of(truth, (x, &from_yes), (y, &from_no))),
        (Values::I64(x), Values::I64(y)) => Values::I64(of(truth, (x, &from_yes), (y, &from_no))),
        _ => return bad("Where of texts or truths"),
    };
    Ok(vec![Tensor { shape, values }])
}

/// `Clip`, with bounds as attributes (before operator set 11) or inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clip {
    least: Option<f64>,
    most: Option<f64>,
}

impl Clip {
    pub(super) fn read(attributes: Attributes) -> Self {
        Self {
            least: attributes.float("min").map(f64::from),
            most: attributes.float("max").map(f64::from),
        }
    }

    pub(super) fn run(
        self,
        inputs: &[Option<&Tensor>],
        budget: &mut Budget,
    ) -> Result<Vec<Tensor>> {
        let Some(Some(input)) = inputs.first() else { return bad("Clip without an input") };
        let bound = |at: usize, otherwise: Option<f64>| match inputs.get(at) {
            Some(Some(bound)) => match bound.numbers()?[..] {
                [one] => Ok(Some(one)),
                _ => bad("a bound of Clip is not one number"),
            },
            _ => Ok(otherwise),
        };
        let least = bound(1, self.least)?.unwrap_or(f64::NEG_INFINITY);
        let most = bound(2, self.most)?.unwrap_or(f64::INFINITY);
        budget.make(2 * input.values.len())?;
        // Not `clamp`, which does not bear bounds that are no numbers or the wrong way round.
        let clip = |value: f64| {
            let value = if value < least { least } else { value };
            if value > most { most } else { value }
        };
        let done = input.numbers()?.into_iter().map(clip);
        let values = match &input.values {
            Values::F32(_) => Values::F32(done.map(|value| value as f32).collect()),
            Values::F64(_) => Values::F64(done.collect()),
            _ => return bad("Clip of values that are no floats"),
        };
        Ok(vec![Tensor { shape: input.shape.clone(), values }])
    }
}

/// `Cast` to an element type.
pub(super) fn cast(to: i32, input: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
    budget.make(2 * input.values.len())?;
    let values = match (&input.values, to) {
        (Values::Text(values), element::STRING) => {
            budget.make(input.weight())?;
            Values::Text(values.clone())
        }
        (Values::I64(values), element::STRING) => {
            budget.make(8 * values.len())?;
            Values::Text(values.iter().map(i64::to_string).collect())
        }
        (Values::I64(values), element::INT64) => Values::I64(values.clone()),
        (Values::I64(values), element::INT32) => {
            Values::I64(values.iter().map(|value| i64::from(*value as i32)).collect())
        }
        (Values::I64(values), element::DOUBLE) => {
            Values::F64(values.iter().map(|value| *value as f64).collect())
        }
        (Values::Text(_), _) | (_, element::STRING) => {
            return bad("a Cast between text and numbers");
        }
        (_, element::FLOAT) => {
            Values::F32(input.numbers()?.into_iter().map(|value| value as f32).collect())
        }
        (_, element::DOUBLE) => Values::F64(input.numbers()?),
        (_, element::INT64) => {
            Values::I64(input.numbers()?.into_iter().map(|value| value as i64).collect())
        }
        (_, element::INT32) => {
            let cast = |value: f64| i64::from(value as i32);
            Values::I64(input.numbers()?.into_iter().map(cast).collect())
        }
        (_, element::BOOL) => {
            Values::Bool(input.numbers()?.into_iter().map(|value| value != 0.0).collect())
        }
        (_, other) => {
            return Err(OnnxError::Unsupported {
                what: format!("a Cast to element type {}", shown(&other.to_string())),
                known: "FLOAT, DOUBLE, INT32, INT64, BOOL, STRING".into(),
            });
        }
    };
    Ok(vec![Tensor { shape: input.shape.clone(), values }])
}
