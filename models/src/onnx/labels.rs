//! Classes and the tensors that tell of them.

use super::attributes::Attributes;
use super::error::{Result, bad};
use super::tensor::{Budget, Tensor, Values};

/// Labels of classes, which are all whole numbers or all texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// From the attributes `{name}` of the two kinds.
    pub(super) fn read(attributes: Attributes, ints: &str, texts: &str) -> Result<Self> {
        let texts = attributes.texts(texts)?;
        let ints = attributes.ints(ints);
        let labels = if texts.is_empty() { Self::Ints(ints.to_vec()) } else { Self::Texts(texts) };
        if labels.len() < 2 {
            return bad("a classifier names fewer than two classes");
        }
        Ok(labels)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Ints(labels) => labels.iter().map(i64::to_string).collect(),
            Self::Texts(labels) => labels.clone(),
        }
    }

    /// One label for each row. Texts are charged by their length.
    pub(super) fn column(&self, classes: &[usize], budget: &mut Budget) -> Result<Tensor> {
        let shape = vec![classes.len()];
        let values = match self {
            Self::Ints(labels) => Values::I64(classes.iter().map(|c| labels[*c]).collect()),
            Self::Texts(labels) => {
                budget.make(classes.iter().map(|c| 3 + labels[*c].len() / 8).sum())?;
                Values::Text(classes.iter().map(|c| labels[*c].clone()).collect())
            }
        };
        Ok(Tensor { shape, values })
    }
}

/// Scores of the classes as a tensor of 32-bit numbers.
pub(super) fn single_columns(scores: Vec<f64>, rows: usize, columns: usize) -> Tensor {
    let values = Values::F32(scores.into_iter().map(|score| score as f32).collect());
    Tensor { shape: vec![rows, columns], values }
}
