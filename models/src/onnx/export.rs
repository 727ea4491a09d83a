//! Our models written as ONNX.

use super::proto::{AttributeProto, element};
use super::writer::{Writer, floats, int, ints, text, texts};
use crate::boost::{Booster, Loss, Tree};
use crate::forecast::Linear;
use crate::hazard::{HazardModel, Horizon};

/// The name of the one input of what is written here.
pub const INPUT: &str = "features";
/// Whole numbers up to this are exact in 32-bit floats.
const LEAVES_MAX: usize = 1 << 24;
/// Beyond this a number of a linear model's row is cut: as [`Linear::predict`] does it.
const CLIP: f64 = 30.0;

/// The lists of the nodes of trees.
#[derive(Default)]
struct Nodes {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    thresholds: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    modes: Vec<&'static str>,
    count: i64,
}

impl Nodes {
    /// Adds a tree and calls `leaf` with each leaf's tree, node and value.
    fn tree(&mut self, tree: &Tree, mut leaf: impl FnMut(i64, i64, f64)) {
        for (at, node) in tree.nodes().iter().enumerate() {
            let is_leaf = node.left == 0;
            self.trees.push(self.count);
            self.nodes.push(at as i64);
            self.features.push(if is_leaf { 0 } else { i64::from(node.feature) });
            // Here infinity is the largest number: what divides missing values from all others lets it pass.
            let all = node.threshold == f32::MAX;
            let threshold = if all { f32::INFINITY } else { node.threshold };
            self.thresholds.push(if is_leaf { 0.0 } else { threshold });
            let left = i64::from(node.left);
            self.yes.push(left);
            self.no.push(if is_leaf { 0 } else { left + 1 });
            self.missing.push(i64::from(!is_leaf && node.missing_left));
            self.modes.push(if is_leaf { "LEAF" } else { "BRANCH_LEQ" });
            if is_leaf {
                leaf(self.count, at as i64, node.value);
            }
        }
        self.count += 1;
    }

    /// Adds a tree of one leaf, and says which it is.
    fn constant(&mut self) -> i64 {
        let tree = self.count;
        for list in [&mut self.nodes, &mut self.features, &mut self.yes, &mut self.no] {
            list.push(0);
        }
        self.trees.push(tree);
        self.missing.push(0);
        self.thresholds.push(0.0);
        self.modes.push("LEAF");
        self.count += 1;
        tree
    }

    fn attributes(self) -> Vec<AttributeProto> {
        vec![
            ints("nodes_treeids", self.trees),
            ints("nodes_nodeids", self.nodes),
            ints("nodes_featureids", self.features),
            floats("nodes_values", self.thresholds),
            texts("nodes_modes", &self.modes),
            ints("nodes_truenodeids", self.yes),
            ints("nodes_falsenodeids", self.no),
            ints("nodes_missing_value_tracks_true", self.missing),
        ]
    }
}

/// The lists of the leaves' weights.
#[derive(Default)]
struct Leaves {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    ids: Vec<i64>,
    weights: Vec<f32>,
}

impl Leaves {
    fn push(&mut self, tree: i64, node: i64, id: i64, weight: f64) {
        self.trees.push(tree);
        self.nodes.push(node);
        self.ids.push(id);
        self.weights.push(weight as f32);
    }

    fn attributes(self, of: &str) -> Vec<AttributeProto> {
        vec![
            ints(&format!("{of}_treeids"), self.trees),
            ints(&format!("{of}_nodeids"), self.nodes),
            ints(&format!("{of}_ids"), self.ids),
            floats(&format!("{of}_weights"), self.weights),
        ]
    }
}

/// Boosted trees. With [`Loss::Logistic`] a classifier: `label` is 0 or 1 and `probabilities` has both classes. Else
/// `value`, on the scale of the targets. Sums have 32 bits there: equal to [`Booster::predict_row`] to about 1e-6 of
/// the largest leaf for each tree. Infinite features are as in training, missing ones are NaN.
pub fn booster(model: &Booster, metadata: &[(String, String)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.input(INPUT, element::FLOAT, model.features());
    let (mut nodes, mut leaves) = (Nodes::default(), Leaves::default());
    if model.loss() == Loss::Logistic {
        // Half of the log odds for one class and half against the other: the softmax of both is the logistic function
        // of the whole. One score with LOGISTIC would be taken for a probability where no leaf is negative.
        let mut both = |tree, node, value: f64| {
            leaves.push(tree, node, 0, -value / 2.0);
            leaves.push(tree, node, 1, value / 2.0);
        };
        model.trees().iter().for_each(|tree| nodes.tree(tree, &mut both));
        both(nodes.constant(), 0, model.base_score());
        let mut attributes = nodes.attributes();
        attributes.extend(leaves.attributes("class"));
        attributes.push(ints("classlabels_int64s", vec![0, 1]));
        attributes.push(text("post_transform", "SOFTMAX"));
        let outputs = ["label", "probabilities"];
        writer.learned("TreeEnsembleClassifier", &[INPUT], &outputs, attributes);
        writer.output("label", element::INT64, None);
        writer.output("probabilities", element::FLOAT, Some(2));
    } else {
        let mut one = |tree, node, value| leaves.push(tree, node, 0, value);
        model.trees().iter().for_each(|tree| nodes.tree(tree, &mut one));
        one(nodes.constant(), 0, model.base_score());
        let mut attributes = nodes.attributes();
        attributes.extend(leaves.attributes("target"));
        attributes.push(int("n_targets", 1));
        writer.learned("TreeEnsembleRegressor", &[INPUT], &["value"], attributes);
        writer.output("value", element::FLOAT, Some(1));
    }
    writer.bytes("boosted_trees", metadata)
}

/// A linear function of rows of 64-bit numbers: `value`. NaN counts as nothing, and numbers beyond 30 are cut, as
/// [`Linear::predict`] does it.
pub fn linear(model: &Linear, metadata: &[(String, String)]) -> Vec<u8> {
    let mut writer = Writer::default();
    let width = model.weights.len();
    writer.input(INPUT, element::DOUBLE, width);
    writer.doubles("zero", &[], vec![0.0]);
    writer.doubles("least", &[], vec![-CLIP]);
    writer.doubles("most", &[], vec![CLIP]);
    writer.doubles("weights", &[width, 1], model.weights.clone());
    writer.doubles("intercept", &[1], vec![model.intercept]);
    writer.core("IsNaN", &[INPUT], "missing", vec![]);
    writer.core("Where", &["missing", "zero", INPUT], "known", vec![]);
    writer.core("Clip", &["known", "least", "most"], "tame", vec![]);
    writer.core("MatMul", &["tame", "weights"], "sum", vec![]);
    writer.core("Add", &["sum", "intercept"], "value", vec![]);
    writer.output("value", element::DOUBLE, Some(1));
    writer.bytes("linear", metadata)
}

/// Probabilities of failure: `score_{h}h` (log odds before calibration) and `probability_{h}h` for each horizon, as
/// [`HazardModel::scores`] and [`HazardModel::probabilities`] say them, in 64 bits.
///
/// The calibration may be steep, so sums in 32 bits would show. Therefore the trees only say which leaf a row falls
/// into, one target a tree, and the leaves' values are looked up and added in 64 bits. `None` for more leaves than
/// 32-bit floats can count.
pub fn hazard(model: &HazardModel, metadata: &[(String, String)]) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    writer.input(INPUT, element::FLOAT, model.features());
    let (mut nodes, mut leaves, mut values) = (Nodes::default(), Leaves::default(), Vec::new());
    // The first target of each horizon.
    let mut begins = Vec::new();
    for horizon in model.horizons() {
        begins.push(nodes.count as usize);
        for tree in horizon.members.iter().flat_map(Booster::trees) {
            nodes.tree(tree, |tree, node, value| {
                leaves.push(tree, node, tree, values.len() as f64);
                values.push(value);
            });
        }
        // What the members begin with, so that none is without a tree.
        let tree = nodes.constant();
        leaves.push(tree, 0, tree, values.len() as f64);
        values.push(horizon.members.iter().map(Booster::base_score).sum());
    }
    let targets = nodes.count as usize;
    begins.push(targets);
    if values.len() > LEAVES_MAX {
        return None;
    }
    let mut attributes = nodes.attributes();
    attributes.extend(leaves.attributes("target"));
    attributes.push(int("n_targets", targets as i64));
    writer.learned("TreeEnsembleRegressor", &[INPUT], &["leaf_float"], attributes);
    writer.core("Cast", &["leaf_float"], "leaf", vec![int("to", i64::from(element::INT64))]);
    writer.doubles("leaf_values", &[values.len()], values);
    writer.core("Gather", &["leaf_values", "leaf"], "values", vec![]);
    let mut before = None;
    for (at, horizon) in model.horizons().iter().enumerate() {
        let hours = horizon.hours;
        let share = 1.0 / horizon.members.len() as f64;
        let own = begins[at]..begins[at + 1];
        let shares = (0..targets).map(|t| if own.contains(&t) { share } else { 0.0 });
        writer.doubles(&format!("share_{hours}h"), &[targets, 1], shares.collect());
        let score = format!("score_{hours}h");
        writer.core("MatMul", &["values", &format!("share_{hours}h")], &score, vec![]);
        let probability = calibrated(&mut writer, horizon, &score, before);
        writer.output(&score, element::DOUBLE, Some(1));
        writer.output(&probability, element::DOUBLE, Some(1));
        before = Some(probability);
    }
    Some(writer.bytes("hazard", metadata))
}

/// A rising line through knots as a sum over its pieces, each of them a part of the way from knot to knot; not below
/// the probability of the horizon before.
fn calibrated(
    writer: &mut Writer,
    horizon: &Horizon,
    score: &str,
    before: Option<String>,
) -> String {
    let knots: Vec<[f64; 2]> = horizon.calibration.clone().into();
    let hours = horizon.hours;
    let name = |what: &str| format!("{what}_{hours}h");
    let probability = name("probability");
    let unbound = if before.is_some() { name("line") } else { probability.clone() };
    let pieces = || knots.windows(2).map(|pair| (pair[0], pair[1]));
    // A line of one knot has one piece of no height.
    let mut starts: Vec<f64> = pieces().map(|(low, _)| low[0]).collect();
    let mut widths: Vec<f64> = pieces().map(|(low, high)| high[0] - low[0]).collect();
    let mut slopes: Vec<f64> =
        pieces().map(|(low, high)| (high[1] - low[1]) / (high[0] - low[0])).collect();
    if starts.is_empty() {
        (starts, widths, slopes) = (vec![knots[0][0]], vec![0.0], vec![0.0]);
    }
    let count = starts.len();
    writer.doubles(&name("starts"), &[1, count], starts);
    writer.doubles(&name("widths"), &[1, count], widths);
    writer.doubles(&name("slopes"), &[count, 1], slopes);
    writer.doubles(&name("first"), &[1], vec![knots[0][1]]);
    writer.doubles(&name("zero"), &[1], vec![0.0]);
    writer.core("Sub", &[score, &name("starts")], &name("past"), vec![]);
    writer.core("Max", &[&name("past"), &name("zero")], &name("way"), vec![]);
    writer.core("Min", &[&name("way"), &name("widths")], &name("parts"), vec![]);
    writer.core("MatMul", &[&name("parts"), &name("slopes")], &name("rise"), vec![]);
    writer.core("Add", &[&name("rise"), &name("first")], &unbound, vec![]);
    if let Some(before) = before {
        writer.core("Max", &[&unbound, &before], &probability, vec![]);
    }
    probability
}
