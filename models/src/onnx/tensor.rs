//! Values between operators, and how much of them a run may make.

use super::error::{OnnxError, Result, bad, shown, too_large};
use super::proto::{TensorProto, element};

/// The values of a tensor. `INT32` is kept as `I64`: nothing that is read depends on its overflow.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// Values with a shape, the last axis next to each other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

/// What one run may still make and do; a file can ask for any amount of both.
#[derive(Debug)]
pub(super) struct Budget {
    elements: usize,
    steps: u64,
}

impl Budget {
    /// Values made for each row by all operators together.
    const ROW_ELEMENTS: usize = 1 << 18;
    /// Comparisons and multiplications for each row.
    const ROW_STEPS: u64 = 1 << 26;

    /// For so many rows and constants in the file.
    pub(super) fn new(rows: usize, constants: usize) -> Self {
        let elements = rows.saturating_mul(Self::ROW_ELEMENTS).saturating_add(4 * constants);
        Self { elements, steps: (rows as u64).saturating_mul(Self::ROW_STEPS) }
    }

    /// To be asked before the values are made.
    pub(super) fn make(&mut self, elements: usize) -> Result<()> {
        match self.elements.checked_sub(elements) {
            Some(left) => self.elements = left,
            None => return too_large("its operators make too many values for each row"),
        }
        Ok(())
    }

    /// To be asked before the work is done.
    pub(super) fn work(&mut self, steps: u64) -> Result<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => return too_large("its operators take too many steps for each row"),
        }
        Ok(())
    }
}

/// Other sizes of a tensor that has no elements, multiplied.
const HOLLOW_MAX: usize = 1 << 16;

/// Elements of a shape, where they can be counted. A tensor without elements must not claim sizes to go through either.
pub(super) fn count(shape: &[usize]) -> Result<usize> {
    let sizes = || shape.iter().filter(|size| **size > 0);
    let product = sizes().try_fold(1_usize, |all, size| all.checked_mul(*size));
    let hollow = sizes().count() < shape.len();
    match product {
        Some(all) if !hollow => Ok(all),
        Some(others) if others <= HOLLOW_MAX => Ok(0),
        _ => too_large(format!("a tensor of shape {shape:?}")),
    }
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// The elements at these places, all of which are there.
    pub(super) fn pick(&self, places: &[usize]) -> Self {
        fn of<T: Clone>(values: &[T], places: &[usize]) -> Vec<T> {
            places.iter().map(|place| values[*place].clone()).collect()
        }
        match self {
            Self::F32(values) => Self::F32(of(values, places)),
            Self::F64(values) => Self::F64(of(values, places)),
            Self::I64(values) => Self::I64(of(values, places)),
            Self::Bool(values) => Self::Bool(of(values, places)),
            Self::Text(values) => Self::Text(of(values, places)),
        }
    }
}

impl Tensor {
    pub(super) fn new(shape: Vec<usize>, values: Values) -> Result<Self> {
        if count(&shape)? != values.len() {
            return bad(format!("{} values in a tensor of shape {shape:?}", values.len()));
        }
        Ok(Self { shape, values })
    }

    /// What it costs to make it once more: texts take more than numbers.
    pub(super) fn weight(&self) -> usize {
        match &self.values {
            Values::Text(texts) => texts.iter().map(|text| 4 + text.len() / 8).sum(),
            other => other.len(),
        }
    }

    /// Rows and columns as the operators of `ai.onnx.ml` take them: one axis is one row.
    pub(super) fn rows(&self) -> Result<(usize, usize)> {
        match self.shape[..] {
            [width] => Ok((1, width)),
            [rows, width] => Ok((rows, width)),
            _ => bad(format!("an operator on rows is given a tensor of {} axes", self.shape.len())),
        }
    }

    /// Whether results are rounded to 32 bits, as those of `FLOAT` and of whole numbers are.
    pub(super) fn single(&self) -> bool {
        !matches!(self.values, Values::F64(_))
    }

    /// All elements as `f64`, which holds all of them but large whole numbers exactly.
    pub(super) fn numbers(&self) -> Result<Vec<f64>> {
        match &self.values {
            Values::F32(values) => Ok(values.iter().map(|v| f64::from(*v)).collect()),
            Values::F64(values) => Ok(values.clone()),
            // They are compared and multiplied as 32-bit floats.
            Values::I64(values) => Ok(values.iter().map(|v| f64::from(*v as f32)).collect()),
            Values::Bool(values) => Ok(values.iter().map(|v| f64::from(u8::from(*v))).collect()),
            Values::Text(_) => bad("an operator on numbers is given text"),
        }
    }

    pub(super) fn integers(&self) -> Result<&[i64]> {
        match &self.values {
            Values::I64(values) => Ok(values),
            _ => bad("an operator wants whole numbers and is given others"),
        }
    }

    /// An axis counted from the front; negative ones from the back.
    pub(super) fn axis(&self, axis: i64) -> Result<usize> {
        let axes = self.shape.len() as i64;
        let from_front = if axis < 0 { axis + axes } else { axis };
        if (0..axes).contains(&from_front) {
            return Ok(from_front as usize);
        }
        bad(format!("axis {axis} of a tensor of {axes} axes"))
    }

    /// Elements before, on and after an axis.
    pub(super) fn around(&self, axis: usize) -> (usize, usize, usize) {
        let product = |shape: &[usize]| shape.iter().product::<usize>();
        (product(&self.shape[..axis]), self.shape[axis], product(&self.shape[axis + 1..]))
    }

    /// Reads a constant of the file.
    pub(super) fn of_proto(proto: &TensorProto) -> Result<Self> {
        let name = shown(&proto.name);
        if proto.location != 0 {
            return bad(format!("the values of `{name}` lie in another file"));
        }
        let dim = |dim: &i64| usize::try_from(*dim).ok();
        let Some(shape) = proto.dims.iter().map(dim).collect::<Option<Vec<usize>>>() else {
            return bad(format!("`{name}` has a negative size"));
        };
        let raw = &proto.raw;
        let values = match proto.element {
            element::FLOAT if raw.is_empty() => Values::F32(proto.floats.clone()),
            element::FLOAT => Values::F32(fixed(raw, f32::from_le_bytes)?),
            element::DOUBLE if raw.is_empty() => Values::F64(proto.doubles.clone()),
            element::DOUBLE => Values::F64(fixed(raw, f64::from_le_bytes)?),
            element::INT64 if raw.is_empty() => Values::I64(proto.int64s.clone()),
            element::INT64 => Values::I64(fixed(raw, i64::from_le_bytes)?),
            element::INT32 if raw.is_empty() => {
                Values::I64(proto.int32s.iter().map(|v| i64::from(*v)).collect())
            }
            element::INT32 => Values::I64(fixed(raw, |b| i64::from(i32::from_le_bytes(b)))?),
            element::BOOL if raw.is_empty() => {
                Values::Bool(proto.int32s.iter().map(|v| *v != 0).collect())
            }
            element::BOOL => Values::Bool(raw.iter().map(|v| *v != 0).collect()),
            element::STRING => {
                Values::Text(proto.strings.iter().map(|s| text(s)).collect::<Result<Vec<_>>>()?)
            }
            other => return bad(format!("`{name}` has elements of type {other}")),
        };
        Self::new(shape, values).map_err(|error| OnnxError::Malformed(format!("`{name}`: {error}")))
    }
}

/// Longest class label or other text, bytes: each row may get one.
const TEXT_BYTES_MAX: usize = 256;

pub(super) fn text(bytes: &[u8]) -> Result<String> {
    if bytes.len() > TEXT_BYTES_MAX {
        return too_large(format!("a text of {} bytes, at most {TEXT_BYTES_MAX}", bytes.len()));
    }
    String::from_utf8(bytes.to_vec())
        .map_err(|_| OnnxError::Malformed("a text is not UTF-8".into()))
}

fn fixed<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    let (chunks, rest) = raw.as_chunks::<N>();
    if !rest.is_empty() {
        return bad("a tensor ends in the middle of a number");
    }
    Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
}
