//! Operators that put values elsewhere.

use super::error::{OnnxError, Result, bad};
use super::tensor::{Budget, Tensor, Values, count};

/// `Reshape`: 0 keeps a size, -1 takes what is left.
pub(super) fn reshape(input: &Tensor, shape: &Tensor, budget: &mut Budget) -> Result<Vec<Tensor>> {
    budget.make(input.weight())?;
    let wanted = shape.integers()?;
    let mut sizes = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (axis, size) in wanted.iter().enumerate() {
        match size {
            -1 if free.is_none() => {
                free = Some(axis);
                sizes.push(1);
            }
            0 => match input.shape.get(axis) {
                Some(size) => sizes.push(*size),
                None => return bad("a Reshape keeps an axis that is not there"),
            },
            size => match usize::try_from(*size) {
                Ok(size) => sizes.push(size),
                Err(_) => return bad("a Reshape to a negative size"),
            },
        }
    }
    let (all, known) = (input.values.len(), count(&sizes)?);
    if let Some(axis) = free.filter(|_| known > 0) {
        sizes[axis] = all / known;
    }
    if count(&sizes)? != all {
        return Err(OnnxError::Rows(format!("{all} values do not fit the shape {wanted:?}")));
    }
    Tensor::new(sizes, input.values.clone()).map(|tensor| vec![tensor])
}

/// `Concat` along an axis.
pub(super) fn concat(inputs: &[&Tensor], axis: i64, budget: &mut Budget) -> Result<Vec<Tensor>> {
    let Some(first) = inputs.first() else { return bad("Concat without inputs") };
    let axis = first.axis(axis)?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for input in inputs {
        let mut other = input.shape.clone();
        let Some(size) = other.get_mut(axis) else { return bad("Concat of unequal shapes") };
        shape[axis] += std::mem::take(size);
        let fits = other.iter().zip(&shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if other.len() != shape.len() || !fits {
            return bad("Concat of unequal shapes");
        }
    }
    let texts: usize = inputs.iter().map(|input| input.weight()).sum();
    budget.make(count(&shape)?.saturating_add(texts))?;
    let before = shape[..axis].iter().product::<usize>();
    let chunk = |input: &Tensor| input.shape[axis..].iter().product::<usize>();
    let mut all = inputs[0].values.pick(&[]);
    for block in 0..before {
        for input in inputs {
            let size = chunk(input);
            let places: Vec<usize> = (block * size..(block + 1) * size).collect();
            append(&mut all, input.values.pick(&places))?;
        }
    }
    Tensor::new(shape, all).map(|tensor| vec![tensor])
}

fn append(all: &mut Values, more: Values) -> Result<()> {
    match (all, more) {
        (Values::F32(all), Values::F32(more)) => all.extend(more),
        (Values::F64(all), Values::F64(more)) => all.extend(more),
        (Values::I64(all), Values::I64(more)) => all.extend(more),
        (Values::Bool(all), Values::Bool(more)) => all.extend(more),
        (Values::Text(all), Values::Text(more)) => all.extend(more),
        _ => return bad("Concat of different types"),
    }
    Ok(())
}

/// `Gather`: the slices of an axis that the indices name.
pub(super) fn gather(
    input: &Tensor,
    indices: &Tensor,
    axis: i64,
    budget: &mut Budget,
) -> Result<Vec<Tensor>> {
    let axis = input.axis(axis)?;
    let (before, size, after) = input.around(axis);
    let wanted = indices.integers()?;
    let made = before.saturating_mul(wanted.len()).saturating_mul(after);
    budget.make(made.saturating_mul(if matches!(input.values, Values::Text(_)) {
        36
    } else {
        2
    }))?;
    let mut places = Vec::with_capacity(made);
    for block in 0..before {
        for index in wanted {
            let from_front = if *index < 0 { index + size as i64 } else { *index };
            let Some(index) = usize::try_from(from_front).ok().filter(|index| *index < size) else {
                return Err(OnnxError::Rows(format!("index {index} of an axis of {size}")));
            };
            let begin = (block * size + index) * after;
            places.extend(begin..begin + after);
        }
    }
    let mut shape = input.shape[..axis].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&input.shape[axis + 1..]);
    Tensor::new(shape, input.values.pick(&places)).map(|tensor| vec![tensor])
}

/// `ArrayFeatureExtractor`: the columns that the indices name.
pub(super) fn extract(
    input: &Tensor,
    indices: &Tensor,
    budget: &mut Budget,
) -> Result<Vec<Tensor>> {
    let flat = Tensor { shape: vec![indices.values.len()], values: indices.values.clone() };
    budget.make(flat.values.len())?;
    if input.shape.len() == 1 {
        let shape = vec![1, input.shape[0]];
        let row = Tensor { shape, values: input.values.clone() };
        budget.make(row.weight())?;
        return gather(&row, &flat, -1, budget);
    }
    gather(input, &flat, -1, budget)
}
