//! Growing one tree, the most useful leaf first.

use super::bins::{Binned, MISSING};
use super::config::BoostConfig;
use super::histogram::{Grad, Histogram, Layout, Sum};
use super::split::{Bounds, Search, Side, Split, step};
use super::tree::{Node, Tree};

/// A tree with what it was grown from.
pub(super) struct Grown {
    nodes: Vec<Node>,
    /// By node: the bin of its threshold.
    bins: Vec<u8>,
    /// The rows, those of a leaf together.
    rows: Vec<u32>,
    leaves: Vec<Leaf>,
    /// Feature and gain of each split.
    pub(super) gains: Vec<(usize, f64)>,
}

struct Leaf {
    node: usize,
    begin: usize,
    end: usize,
    sum: Sum,
    bounds: Bounds,
    depth: usize,
    /// Where it may be split.
    plan: Option<(Split, Histogram)>,
}

struct Grower<'a> {
    search: Search<'a>,
    grads: &'a [Grad],
    /// Histograms no longer needed.
    spare: Vec<Histogram>,
    scratch: Vec<u32>,
}

/// Grows a tree on some rows with some features.
pub(super) fn grow(
    config: &BoostConfig,
    binned: &Binned,
    chosen: &[usize],
    rows: Vec<u32>,
    grads: &[Grad],
) -> Grown {
    let search = Search { config, binned, layout: Layout::new(binned, chosen) };
    let mut grower = Grower { search, grads, spare: Vec::new(), scratch: Vec::new() };
    let sum = rows.iter().fold([0.0; 2], |[g, h], &row| {
        let grad = grads[row as usize].map(f64::from);
        [g + grad[0], h + grad[1]]
    });
    let root = Side { sum, step: step(config, sum, Bounds::FREE) };
    let mut root_leaf = Leaf::new(0, 0, rows.len(), root, Bounds::FREE, 0);
    let mut grown = Grown {
        nodes: vec![leaf_node(root.step)],
        bins: vec![0],
        rows,
        leaves: Vec::new(),
        gains: Vec::new(),
    };
    if grower.may_split(&root_leaf) {
        let mut histogram = grower.histogram();
        histogram.build(binned, &grower.search.layout, &grown.rows, grads);
        grower.plan(&mut root_leaf, histogram);
    }
    grown.leaves.push(root_leaf);
    while grown.leaves.len() < config.max_leaves {
        let Some(at) = most_useful(&grown.leaves) else { break };
        grower.split(&mut grown, at);
    }
    grown
}

fn most_useful(leaves: &[Leaf]) -> Option<usize> {
    let planned = leaves.iter().enumerate().filter_map(|(at, leaf)| {
        let (split, _) = leaf.plan.as_ref()?;
        Some((split.gain, at))
    });
    planned.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, at)| at)
}

fn leaf_node(step: f64) -> Node {
    Node { feature: 0, threshold: 0.0, missing_left: false, left: 0, value: step }
}

impl Leaf {
    fn new(
        node: usize,
        begin: usize,
        end: usize,
        side: Side,
        bounds: Bounds,
        depth: usize,
    ) -> Self {
        Self { node, begin, end, sum: side.sum, bounds, depth, plan: None }
    }
}

impl Grower<'_> {
    fn histogram(&mut self) -> Histogram {
        self.spare.pop().unwrap_or_else(|| Histogram::new(&self.search.layout))
    }

    fn may_split(&self, leaf: &Leaf) -> bool {
        let config = self.search.config;
        leaf.depth < config.max_depth
            && leaf.end - leaf.begin >= 2
            && leaf.sum[1] >= 2.0 * config.min_child_hessian
    }

    fn plan(&mut self, leaf: &mut Leaf, histogram: Histogram) {
        match self.search.best(&histogram, leaf.sum, leaf.bounds) {
            Some(split) => leaf.plan = Some((split, histogram)),
            None => self.spare.push(histogram),
        }
    }

    fn split(&mut self, grown: &mut Grown, at: usize) {
        let leaf = &mut grown.leaves[at];
        let (split, mut large) = leaf.plan.take().expect("only a planned leaf is chosen");
        let (begin, end, depth, node) = (leaf.begin, leaf.end, leaf.depth + 1, leaf.node);
        let bounds = leaf.bounds;
        let middle = begin + self.partition(&split, &mut grown.rows[begin..end]);
        if middle == begin || middle == end {
            // The gain was rounding: there is nothing on one side.
            self.spare.push(large);
            return;
        }
        let child = grown.nodes.len();
        grown.nodes[node] = Node {
            feature: split.feature as u32,
            threshold: self.search.binned.threshold(split.feature, split.bin),
            missing_left: split.missing_left,
            left: child as u32,
            value: grown.nodes[node].value,
        };
        grown.bins[node] = split.bin;
        grown.nodes.extend([leaf_node(split.left.step), leaf_node(split.right.step)]);
        grown.bins.extend([0, 0]);
        grown.gains.push((split.feature, split.gain));
        let (left_bounds, right_bounds) = self.child_bounds(&split, bounds);
        let mut left = Leaf::new(child, begin, middle, split.left, left_bounds, depth);
        let mut right = Leaf::new(child + 1, middle, end, split.right, right_bounds, depth);
        let left_is_small = middle - begin <= end - middle;
        let (less, more) =
            if left_is_small { (&mut left, &mut right) } else { (&mut right, &mut left) };
        if self.may_split(less) || self.may_split(more) {
            let mut small = self.histogram();
            let rows = &grown.rows[less.begin..less.end];
            small.build(self.search.binned, &self.search.layout, rows, self.grads);
            large.subtract(&small);
            for (leaf, histogram) in [(less, small), (more, large)] {
                if self.may_split(leaf) {
                    self.plan(leaf, histogram);
                } else {
                    self.spare.push(histogram);
                }
            }
        } else {
            self.spare.push(large);
        }
        grown.leaves[at] = left;
        grown.leaves.push(right);
    }

    /// Brings the rows of the left side to the front, in order; tells how many.
    fn partition(&mut self, split: &Split, rows: &mut [u32]) -> usize {
        self.scratch.clear();
        let mut count = 0;
        for at in 0..rows.len() {
            let row = rows[at];
            if goes_left(self.search.binned.bin(row, split.feature), split.bin, split.missing_left)
            {
                rows[count] = row;
                count += 1;
            } else {
                self.scratch.push(row);
            }
        }
        rows[count..].copy_from_slice(&self.scratch);
        count
    }

    /// Below a monotone split neither side may cross the middle of the two steps.
    fn child_bounds(&self, split: &Split, bounds: Bounds) -> (Bounds, Bounds) {
        let middle = (split.left.step + split.right.step) / 2.0;
        let below = Bounds { high: middle, ..bounds };
        let above = Bounds { low: middle, ..bounds };
        match self.search.config.monotone.get(split.feature) {
            Some(1) => (below, above),
            Some(-1) => (above, below),
            _ => (bounds, bounds),
        }
    }
}

fn goes_left(bin: u8, last_left: u8, missing_left: bool) -> bool {
    if bin == MISSING { missing_left } else { bin <= last_left }
}

impl Grown {
    /// Each leaf's rows with its step, which may be changed.
    pub(super) fn for_each_leaf(&mut self, mut change: impl FnMut(&[u32], &mut f64)) {
        for leaf in &self.leaves {
            change(&self.rows[leaf.begin..leaf.end], &mut self.nodes[leaf.node].value);
        }
    }

    /// The step for any row of the training table.
    pub(super) fn step_of(&self, binned: &Binned, row: u32) -> f64 {
        let mut at = 0;
        while self.nodes[at].left != 0 {
            let node = &self.nodes[at];
            let bin = binned.bin(row, node.feature as usize);
            let left = goes_left(bin, self.bins[at], node.missing_left);
            at = node.left as usize + usize::from(!left);
        }
        self.nodes[at].value
    }

    pub(super) fn into_tree(mut self, learning_rate: f64) -> Tree {
        for node in &mut self.nodes {
            node.value *= learning_rate;
        }
        Tree::new(self.nodes)
    }
}
