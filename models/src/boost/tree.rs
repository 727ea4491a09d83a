//! A tree as it is kept: an array of nodes, each child behind its parent.

use super::BoostError;
use serde::{Deserialize, Serialize};

/// Most trees of a model.
pub(super) const MAX_TREES: usize = 20_000;
/// Most leaves of a tree.
pub(super) const MAX_LEAVES: usize = 4_096;

/// A split or a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Which feature is asked for; of no meaning in a leaf.
    pub feature: u32,
    /// Values up to this go left.
    pub threshold: f32,
    /// Whether missing values go left.
    pub missing_left: bool,
    /// Place of the left child; 0 in a leaf. The right one is the next.
    pub left: u32,
    /// What a leaf adds to the score. In a split: what it would add if it were a leaf.
    pub value: f64,
}

/// One tree: the root is the first node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        Self { nodes }
    }

    /// The nodes; children lie behind their parents.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn leaf(&self, row: &[f32]) -> &Node {
        let mut node = &self.nodes[0];
        while node.left != 0 {
            node = &self.nodes[node.next(row)];
        }
        node
    }

    /// Adds to each feature what its splits on the row's way changed (Saabas 2014).
    pub(super) fn contributions(&self, row: &[f32], by_feature: &mut [f64]) {
        let mut node = &self.nodes[0];
        while node.left != 0 {
            let next = &self.nodes[node.next(row)];
            by_feature[node.feature as usize] += next.value - node.value;
            node = next;
        }
    }

    /// A file may say anything: nothing that leads out of the tree, or round in it, or to no number.
    pub(super) fn check(&self, features: usize) -> Result<(), BoostError> {
        let bad = |what: &str| Err(BoostError::Model(what.into()));
        if self.nodes.is_empty() || self.nodes.len() > 2 * MAX_LEAVES - 1 {
            return bad("a tree has no nodes, or too many");
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let left = node.left as usize;
            if !node.value.is_finite() || !node.threshold.is_finite() {
                return bad("a node's number is not finite");
            }
            if left != 0 && (left <= at || left + 1 >= self.nodes.len()) {
                return bad("a child does not lie behind its parent");
            }
            if left != 0 && node.feature as usize >= features {
                return bad("a split asks for a feature that is not there");
            }
        }
        Ok(())
    }
}

impl Node {
    fn next(&self, row: &[f32]) -> usize {
        // A value that is not given is a missing one.
        let value = row.get(self.feature as usize).copied().unwrap_or(f32::NAN);
        // As in training, infinity is the largest number.
        let left =
            if value.is_nan() { self.missing_left } else { value.min(f32::MAX) <= self.threshold };
        self.left as usize + usize::from(!left)
    }
}
