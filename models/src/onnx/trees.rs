//! The trees of an ensemble.
//!
//! Trees are kept as one array of branches. A node may be the child of several (LightGBM's splits on categories come as
//! chains of equalities with one common child), but nothing leads round in a circle; that is looked at once, when a
//! file is read, without recursion.

use super::attributes::Attributes;
use super::error::{OnnxError, Result, bad, shown};
use super::tensor::{Budget, Tensor};

/// Most features of a row.
const FEATURES_MAX: u32 = 1 << 16;

/// How a value is compared; what is compared with NaN is false but for `Neq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    Leaf,
}

impl Mode {
    fn of(name: &[u8]) -> Result<Self> {
        Ok(match name {
            b"BRANCH_LEQ" => Self::Leq,
            b"BRANCH_LT" => Self::Lt,
            b"BRANCH_GTE" => Self::Gte,
            b"BRANCH_GT" => Self::Gt,
            b"BRANCH_EQ" => Self::Eq,
            b"BRANCH_NEQ" => Self::Neq,
            b"LEAF" => Self::Leaf,
            other => {
                return Err(OnnxError::Unsupported {
                    what: format!("tree nodes of mode {}", shown(&String::from_utf8_lossy(other))),
                    known: "BRANCH_LEQ, _LT, _GTE, _GT, _EQ, _NEQ, LEAF".into(),
                });
            }
        })
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Leq => value <= threshold,
            Self::Lt => value < threshold,
            Self::Gte => value >= threshold,
            Self::Gt => value > threshold,
            Self::Eq => value == threshold,
            Self::Neq => value != threshold,
            Self::Leaf => false,
        }
    }
}

/// A branch, or a leaf whose weights lie from `yes` to `no`.
#[derive(Clone, Copy, Debug)]
struct Node {
    threshold: f64,
    feature: u32,
    yes: u32,
    no: u32,
    mode: Mode,
    /// Whether a missing value goes the `yes` way.
    missing_yes: bool,
}

/// The trees of one operator.
#[derive(Debug)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    pub(super) roots: Vec<u32>,
    /// Target and weight.
    pub(super) weights: Vec<(u32, f64)>,
    /// Features a row must have.
    width: usize,
    /// Comparisons for one row at most.
    steps: u64,
}

/// Where the lists of one operator have which names.
pub(super) struct Names {
    ids: &'static str,
    nodes: &'static str,
    trees: &'static str,
    weights: &'static str,
}

pub(super) const CLASSES: Names = Names {
    ids: "class_ids",
    nodes: "class_nodeids",
    trees: "class_treeids",
    weights: "class_weights",
};
pub(super) const TARGETS: Names = Names {
    ids: "target_ids",
    nodes: "target_nodeids",
    trees: "target_treeids",
    weights: "target_weights",
};

impl Trees {
    pub(super) fn read(attributes: Attributes, names: &Names, targets: usize) -> Result<Self> {
        let [tree_ids, node_ids, features, yes, no] = [
            "nodes_treeids",
            "nodes_nodeids",
            "nodes_featureids",
            "nodes_truenodeids",
            "nodes_falsenodeids",
        ]
        .map(|name| attributes.ints(name));
        let modes = attributes.bytes("nodes_modes");
        let thresholds = attributes.numbers("nodes_values")?;
        let missing = attributes.ints("nodes_missing_value_tracks_true");
        let count = tree_ids.len();
        let lengths = [node_ids.len(), features.len(), yes.len(), no.len(), modes.len()];
        let missing_fits = missing.is_empty() || missing.len() == count;
        if count == 0 || lengths.iter().any(|l| *l != count) || !missing_fits {
            return bad("the lists of the trees' nodes are empty or of different lengths");
        }
        if thresholds.len() != count {
            return bad("there are not as many nodes_values as nodes");
        }
        let index = Index::of(tree_ids, node_ids)?;
        let mut trees = Self {
            nodes: Vec::with_capacity(count),
            roots: index.roots.clone(),
            weights: Vec::new(),
            width: 0,
            steps: 0,
        };
        for at in 0..count {
            let mode = Mode::of(&modes[at])?;
            let mut node = Node {
                threshold: thresholds[at],
                feature: 0,
                yes: 0,
                no: 0,
                mode,
                missing_yes: missing.get(at).is_some_and(|track| *track == 1),
            };
            if mode != Mode::Leaf {
                let feature = u32::try_from(features[at]).ok().filter(|f| *f < FEATURES_MAX);
                let Some(feature) = feature else {
                    return bad(format!("a tree asks for feature {}", features[at]));
                };
                node.feature = feature;
                trees.width = trees.width.max(node.feature as usize + 1);
                node.yes = index.find(tree_ids[at], yes[at])?;
                node.no = index.find(tree_ids[at], no[at])?;
            }
            trees.nodes.push(node);
        }
        trees.read_weights(attributes, names, &index, targets)?;
        trees.steps = trees.depths()?;
        Ok(trees)
    }

    fn read_weights(
        &mut self,
        attributes: Attributes,
        names: &Names,
        index: &Index,
        targets: usize,
    ) -> Result<()> {
        let ids = attributes.ints(names.ids);
        let (trees, nodes) = (attributes.ints(names.trees), attributes.ints(names.nodes));
        let weights = attributes.finite(names.weights)?;
        if [trees.len(), nodes.len(), weights.len()] != [ids.len(); 3] {
            return bad("the lists of the leaves' weights are of different lengths");
        }
        let mut by_leaf = Vec::with_capacity(ids.len());
        for at in 0..ids.len() {
            let target = usize::try_from(ids[at]).ok().filter(|target| *target < targets);
            let Some(target) = target else {
                return bad(format!("a leaf speaks for class or target {} of {targets}", ids[at]));
            };
            by_leaf.push((index.find(trees[at], nodes[at])?, target as u32, weights[at]));
        }
        // Stable: the weights of one leaf are added in the order of the file.
        by_leaf.sort_by_key(|(leaf, ..)| *leaf);
        let mut end = 0;
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let begin = end;
            while by_leaf.get(end).is_some_and(|(leaf, ..)| *leaf as usize == at) {
                end += 1;
            }
            if node.mode == Mode::Leaf {
                (node.yes, node.no) = (begin as u32, end as u32);
            }
        }
        self.weights = by_leaf.into_iter().map(|(_, target, weight)| (target, weight)).collect();
        Ok(())
    }

    /// The comparisons of the longest way through each tree, added up. Refuses a circle.
    fn depths(&self) -> Result<u64> {
        const NEW: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut depths = vec![NEW; self.nodes.len()];
        let (mut open, mut sum) = (Vec::new(), 0);
        for root in &self.roots {
            open.push(*root);
            while let Some(at) = open.last().copied() {
                let node = self.nodes[at as usize];
                let children = [node.yes, node.no];
                let children = if node.mode == Mode::Leaf { &[][..] } else { &children };
                if depths[at as usize] == NEW {
                    depths[at as usize] = OPEN;
                    for child in children {
                        match depths[*child as usize] {
                            OPEN => return bad("a tree leads round in a circle"),
                            NEW => open.push(*child),
                            _ => {}
                        }
                    }
                    continue;
                }
                open.pop();
                if depths[at as usize] == OPEN {
                    let below = children.iter().map(|child| depths[*child as usize]);
                    let below: Vec<u32> = below.collect();
                    if below.contains(&OPEN) {
                        return bad("a tree leads round in a circle");
                    }
                    depths[at as usize] = below.into_iter().max().map_or(1, |deepest| deepest + 1);
                }
            }
            sum += u64::from(depths[*root as usize]);
        }
        Ok(sum)
    }

    /// By feature: in how many branches it is asked for.
    pub(super) fn asked(&self) -> Vec<f64> {
        let mut asked = vec![0.0; self.width];
        let branches = self.nodes.iter().filter(|node| node.mode != Mode::Leaf);
        branches.for_each(|node| asked[node.feature as usize] += 1.0);
        asked
    }

    /// Whether every leaf has a weight for a target.
    pub(super) fn always_speak_for(&self, target: u32) -> bool {
        let mut leaves = self.nodes.iter().filter(|node| node.mode == Mode::Leaf);
        leaves.all(|leaf| {
            let weights = &self.weights[leaf.yes as usize..leaf.no as usize];
            weights.iter().any(|weight| weight.0 == target)
        })
    }

    /// The weights of the leaf that a row falls into.
    pub(super) fn leaf(&self, root: u32, row: &[f64]) -> &[(u32, f64)] {
        let mut node = &self.nodes[root as usize];
        while node.mode != Mode::Leaf {
            let value = row[node.feature as usize];
            let yes =
                node.mode.holds(value, node.threshold) || (node.missing_yes && value.is_nan());
            node = &self.nodes[if yes { node.yes } else { node.no } as usize];
        }
        &self.weights[node.yes as usize..node.no as usize]
    }

    /// Calls `each` with the numbers of every row, after the budget was asked.
    pub(super) fn over_rows(
        &self,
        input: &Tensor,
        made_per_row: usize,
        budget: &mut Budget,
        mut each: impl FnMut(&[f64]),
    ) -> Result<usize> {
        let (rows, width) = input.rows()?;
        if width < self.width {
            let what = format!("{width} features where the trees ask for {}", self.width);
            return Err(OnnxError::Rows(what));
        }
        budget.make(rows.saturating_mul(made_per_row).saturating_add(rows * width))?;
        budget.work(self.steps.saturating_mul(rows as u64))?;
        let numbers = input.numbers()?;
        (0..rows).for_each(|row| each(&numbers[row * width..][..width]));
        Ok(rows)
    }
}

/// Places of nodes by tree and number.
struct Index {
    sorted: Vec<(i64, i64, u32)>,
    /// The first node of each tree.
    roots: Vec<u32>,
}

impl Index {
    fn of(tree_ids: &[i64], node_ids: &[i64]) -> Result<Self> {
        let keys = tree_ids.iter().zip(node_ids);
        let mut sorted: Vec<(i64, i64, u32)> =
            keys.zip(0..).map(|((tree, node), at)| (*tree, *node, at)).collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            return bad("two nodes of a tree have one number");
        }
        let first = |at: &usize| *at == 0 || tree_ids[at - 1] != tree_ids[*at];
        let roots: Vec<u32> = (0..tree_ids.len()).filter(first).map(|place| place as u32).collect();
        let trees = sorted.chunk_by(|a, b| a.0 == b.0).count();
        if roots.len() != trees {
            return bad("the nodes of a tree do not lie together");
        }
        Ok(Self { sorted, roots })
    }

    fn find(&self, tree: i64, node: i64) -> Result<u32> {
        match self.sorted.binary_search_by(|(t, n, _)| (*t, *n).cmp(&(tree, node))) {
            Ok(at) => Ok(self.sorted[at].2),
            Err(_) => bad(format!("tree {tree} has no node {node}")),
        }
    }
}
