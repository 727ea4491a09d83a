//! The attributes of a node by name.

use super::error::{Result, bad, shown};
use super::proto::{AttributeProto, NodeProto};
use super::tensor::{Tensor, text};

/// What a node says of itself.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Self { node }
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.find(name).map(|attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.find(name).map(|attribute| attribute.f)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.find(name).map(|attribute| text(&attribute.s)).transpose()
    }

    pub(super) fn ints(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let texts = self.find(name).map_or(&[][..], |attribute| &attribute.strings);
        texts.iter().map(|bytes| text(bytes)).collect()
    }

    /// The byte strings as they are: one for each node of a tree.
    pub(super) fn bytes(&self, name: &str) -> &'a [Vec<u8>] {
        self.find(name).map_or(&[], |attribute| &attribute.strings)
    }

    /// A constant.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let tensor = self.find(name).and_then(|attribute| attribute.tensor.as_deref());
        tensor.map(Tensor::of_proto).transpose()
    }

    /// Numbers, in 32 bits or, by the same name with `_as_tensor`, in 64.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        if let Some(tensor) = self.tensor(&format!("{name}_as_tensor"))? {
            return tensor.numbers();
        }
        let floats = self.find(name).map_or(&[][..], |attribute| &attribute.floats);
        Ok(floats.iter().map(|value| f64::from(*value)).collect())
    }

    /// The same, all finite: a weight that is no number would make every answer none, without a word.
    pub(super) fn finite(&self, name: &str) -> Result<Vec<f64>> {
        let numbers = self.numbers(name)?;
        if numbers.iter().all(|value| value.is_finite()) {
            return Ok(numbers);
        }
        bad(format!("`{name}` of {} has a number that is not finite", shown(&self.node.operator)))
    }
}
