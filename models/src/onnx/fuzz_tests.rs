//! Files that are damaged, hostile or nothing at all: an answer or an error, in little memory.

use super::fixture_tests::cases;
use super::proto::{
    AttributeProto, DimProto, GraphProto, ModelProto, NodeProto, ShapeProto, TensorProto,
    TensorTypeProto, TypeProto, ValueProto, element,
};
use super::writer::{floats, int, ints, text};
use super::{OnnxModel, operator::KNOWN};
use isobar_fuzz::{config, damage, read_within};
use proptest::{collection::vec, prelude::*, sample::Index};
use prost::Message;
use std::sync::LazyLock;

/// Features of the rows that damaged models are given, where they do not say how many.
const WIDTH: usize = 3;

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let all = ["learned.json", "by_hand.json", "exported.json"].into_iter().flat_map(cases);
    all.map(|case| case.bytes()).collect()
});

/// Reads, and asks what can be read about three rows.
fn read_and_ask(bytes: &[u8]) {
    read_within(bytes.len(), || {
        let Ok(model) = OnnxModel::read(bytes) else { return };
        let width = model.features().unwrap_or(WIDTH);
        // Wide rows are the asker's own memory.
        if width > 16 {
            return;
        }
        for value in [0.0, f64::NAN, 1e300] {
            let _ = model.predict(&vec![value; width], width);
        }
        let _ = model.asked(width);
    });
}

fn matrix(name: &str) -> ValueProto {
    let dims = vec![DimProto::default(), DimProto { value: Some(WIDTH as i64), name: None }];
    let tensor = TensorTypeProto { element: element::FLOAT, shape: Some(ShapeProto { dims }) };
    ValueProto { name: name.into(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}

fn file(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>, output: &str) -> Vec<u8> {
    let inputs = vec![matrix("v0")];
    let outputs = vec![ValueProto { name: output.into(), kind: None }];
    let graph = GraphProto { nodes, name: "f".into(), initializers, inputs, outputs };
    ModelProto { ir_version: 8, graph: Some(graph), ..Default::default() }.encode_to_vec()
}

/// Trees whose lists mostly have one length and mostly lead somewhere.
fn trees() -> impl Strategy<Value = Vec<AttributeProto>> {
    let modes = prop::sample::select(vec!["BRANCH_LEQ", "BRANCH_GTE", "BRANCH_NEQ", "LEAF", "?"]);
    let node = (0..2_i64, -1..8_i64, -1..4_i64, any::<f32>(), modes, -1..8_i64, -1..8_i64);
    let leaf = (0..2_i64, 0..8_i64, -1..3_i64, any::<f32>());
    let transform = prop::sample::select(vec!["NONE", "SOFTMAX_ZERO", "PROBIT", "LOGISTIC"]);
    (vec(node, 0..9), vec(leaf, 0..9), transform, any::<i64>()).prop_map(
        |(nodes, leaves, transform, targets)| {
            let column = |of: fn(&(i64, i64, i64, f32, &str, i64, i64)) -> i64| {
                nodes.iter().map(of).collect::<Vec<i64>>()
            };
            let modes: Vec<&str> = nodes.iter().map(|node| node.4).collect();
            let weight = |of: fn(&(i64, i64, i64, f32)) -> i64| leaves.iter().map(of).collect();
            let weights: Vec<f32> = leaves.iter().map(|leaf| leaf.3).collect();
            let mut all = vec![
                ints("nodes_treeids", column(|node| node.0)),
                // In their order, so that most trees hold together.
                ints("nodes_nodeids", (0..nodes.len() as i64).collect()),
                ints("nodes_featureids", column(|node| node.2)),
                floats("nodes_values", nodes.iter().map(|node| node.3).collect()),
                super::writer::texts("nodes_modes", &modes),
                ints("nodes_truenodeids", column(|node| node.5)),
                ints("nodes_falsenodeids", column(|node| node.6)),
                ints("classlabels_int64s", vec![0, 1, 2]),
                int("n_targets", targets),
                text("post_transform", transform),
            ];
            for of in ["class", "target"] {
                all.push(ints(&format!("{of}_treeids"), weight(|leaf| leaf.0)));
                all.push(ints(&format!("{of}_nodeids"), weight(|leaf| leaf.1)));
                all.push(ints(&format!("{of}_ids"), weight(|leaf| leaf.2)));
                all.push(floats(&format!("{of}_weights"), weights.clone()));
            }
            all
        },
    )
}

/// Names of all operators, with those of the two domains.
fn operators() -> Vec<(&'static str, &'static str)> {
    let of = |list: &'static str, domain| {
        list.split(',').map(move |name| (name.trim().trim_end_matches(';'), domain))
    };
    let (learned, core) = KNOWN.split_once("; ai.onnx: ").expect("two lists");
    let learned = learned.strip_prefix("ai.onnx.ml: ").expect("its name first");
    of(learned, "ai.onnx.ml").chain(of(core, "")).collect()
}

/// An operator on values made before, with numbers wherever one of them may want some.
fn node() -> impl Strategy<Value = (usize, Vec<Index>, i64, Vec<f32>, Vec<i64>)> {
    let number = prop_oneof![-3..6_i64, any::<i64>()];
    let floats = vec(any::<f32>(), 0..5);
    (0..operators().len(), vec(any::<Index>(), 0..4), number.clone(), floats, vec(number, 0..5))
}

fn graph(nodes: Vec<(usize, Vec<Index>, i64, Vec<f32>, Vec<i64>)>) -> Vec<NodeProto> {
    let known = operators();
    let mut made = 1;
    nodes
        .into_iter()
        .map(|(operator, inputs, number, numbers, whole)| {
            let (operator, domain) = known[operator];
            let names = ["c0", "c1", "c2", "c3"].map(str::to_owned).into_iter();
            let names: Vec<String> = names.chain((0..made).map(|at| format!("v{at}"))).collect();
            let inputs = inputs.iter().map(|at| names[at.index(names.len())].clone()).collect();
            made += 1;
            let mut attributes: Vec<AttributeProto> =
                ["axis", "to", "keepdims", "targets", "transA", "noop_with_empty_axes"]
                    .map(|name| int(name, number))
                    .into();
            for name in ["coefficients", "intercepts", "offset", "scale", "imputed_value_floats"] {
                attributes.push(floats(name, numbers.clone()));
            }
            for name in ["classlabels_ints", "classlabels_int64s", "axes"] {
                attributes.push(ints(name, whole.clone()));
            }
            let name = String::new();
            let outputs = vec![format!("v{}", made - 1)];
            NodeProto {
                inputs,
                outputs,
                name,
                operator: operator.into(),
                attributes,
                domain: domain.into(),
            }
        })
        .collect()
}

fn constants(dims: [Vec<i64>; 2], numbers: Vec<f32>, whole: Vec<i64>) -> Vec<TensorProto> {
    let [third, fourth] = dims;
    let count = whole.len() as i64;
    let tensor = |name: &str, dims: Vec<i64>, element: i32| TensorProto {
        name: name.into(),
        dims,
        element,
        ..Default::default()
    };
    vec![
        TensorProto { floats: numbers.clone(), ..tensor("c0", vec![numbers.len() as i64], 1) },
        TensorProto { int64s: whole, ..tensor("c1", vec![count], element::INT64) },
        TensorProto { floats: numbers, ..tensor("c2", third, element::FLOAT) },
        TensorProto { raw: vec![0; 8], ..tensor("c3", fourth, element::DOUBLE) },
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_damaged_files(which: Index, first in damage(), second in damage()) {
        let whole = &FILES[which.index(FILES.len())];
        read_and_ask(&second.of(&first.of(whole)));
    }

    #[test]
    fn fuzz_any_bytes_are_a_model_or_an_error(bytes: Vec<u8>) {
        read_and_ask(&bytes);
        // Inside a graph, where most of them mean something.
        let mut inside = vec![0x3a, bytes.len().min(127) as u8];
        inside.extend(&bytes[..bytes.len().min(127)]);
        read_and_ask(&inside);
    }

    #[test]
    fn fuzz_trees(attributes in trees(), classifier: bool) {
        let operator = if classifier { "TreeEnsembleClassifier" } else { "TreeEnsembleRegressor" };
        let node = NodeProto {
            inputs: vec!["v0".into()],
            outputs: vec!["v1".into()],
            operator: operator.into(),
            domain: "ai.onnx.ml".into(),
            attributes,
            ..Default::default()
        };
        read_and_ask(&file(vec![node], vec![], "v1"));
    }

    #[test]
    fn fuzz_graphs(
        nodes in vec(node(), 1..8),
        dims in vec(prop_oneof![0..4_i64, any::<i64>()], 0..4),
        numbers in vec(any::<f32>(), 0..6),
        whole in vec(prop_oneof![-2..5_i64, any::<i64>()], 0..4),
    ) {
        let output = format!("v{}", nodes.len());
        let nodes = graph(nodes);
        let sound = [vec![1, numbers.len() as i64], vec![1]];
        let sound = constants(sound, numbers.clone(), whole.clone());
        read_and_ask(&file(nodes.clone(), sound, &output));
        // Often a contradiction, and sometimes sizes without values.
        read_and_ask(&file(nodes, constants([dims.clone(), dims], numbers, whole), &output));
    }
}
