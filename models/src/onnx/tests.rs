//! What is refused, and how.

use super::proto::{AttributeProto, ModelProto, element};
use super::writer::{Writer, floats, int, ints, text, texts};
use super::{ColumnValues, OnnxError, OnnxModel};
use prost::Message;

/// A regressor of one tree with three nodes, changed before it is written.
fn tree(change: impl FnOnce(&mut Vec<AttributeProto>)) -> Vec<u8> {
    let mut attributes = vec![
        ints("nodes_treeids", vec![0; 3]),
        ints("nodes_nodeids", vec![0, 1, 2]),
        ints("nodes_featureids", vec![1, 0, 0]),
        floats("nodes_values", vec![0.5, 0.0, 0.0]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        ints("nodes_truenodeids", vec![1, 0, 0]),
        ints("nodes_falsenodeids", vec![2, 0, 0]),
        ints("target_treeids", vec![0, 0]),
        ints("target_nodeids", vec![1, 2]),
        ints("target_ids", vec![0, 0]),
        floats("target_weights", vec![10.0, 20.0]),
        int("n_targets", 1),
    ];
    change(&mut attributes);
    let mut writer = Writer::default();
    writer.input("x", element::FLOAT, 2);
    writer.learned("TreeEnsembleRegressor", &["x"], &["y"], attributes);
    writer.output("y", element::FLOAT, Some(1));
    writer.bytes("test", &[])
}

fn set(name: &'static str, by: AttributeProto) -> impl FnOnce(&mut Vec<AttributeProto>) {
    move |attributes| {
        attributes.retain(|attribute| attribute.name != name);
        attributes.push(by);
    }
}

fn refused(bytes: &[u8]) -> OnnxError {
    let read = OnnxModel::read(bytes);
    read.and_then(|model| model.predict(&[0.0, 1.0], 2)).expect_err("refused")
}

fn malformed(bytes: &[u8], wanted: &str) {
    let error = refused(bytes);
    let text = error.to_string();
    assert!(matches!(error, OnnxError::Malformed(_)) && text.contains(wanted), "{wanted}: {text}");
}

#[test]
fn a_tree_is_read_and_missing_values_go_the_way_that_it_says() {
    let said = |bytes: &[u8], value: f64| {
        let model = OnnxModel::read(bytes).expect("sound");
        model.predict(&[9.0, value], 2).expect("a row")[0].values.clone()
    };
    let plain = tree(|_| {});
    assert_eq!(said(&plain, 0.5), ColumnValues::F32(vec![10.0]));
    assert_eq!(said(&plain, f64::NAN), ColumnValues::F32(vec![20.0]));
    let name = "nodes_missing_value_tracks_true";
    let tracked = tree(set(name, ints(name, vec![1, 0, 0])));
    assert_eq!(said(&tracked, f64::NAN), ColumnValues::F32(vec![10.0]));
    let names = OnnxModel::read(&plain).expect("sound").feature_names();
    assert_eq!(names, Some(vec!["x_0".to_owned(), "x_1".to_owned()]));
}

#[test]
fn trees_that_lead_nowhere_or_in_a_circle_are_refused() {
    let yes = |to: i64| set("nodes_truenodeids", ints("nodes_truenodeids", vec![to, 0, 0]));
    malformed(&tree(yes(0)), "in a circle");
    malformed(&tree(yes(7)), "has no node 7");
    malformed(&tree(yes(-1)), "has no node -1");
    let long_circle = tree(|attributes| {
        set("nodes_modes", texts("nodes_modes", &["BRANCH_LEQ", "BRANCH_GT", "LEAF"]))(attributes);
        set("nodes_falsenodeids", ints("nodes_falsenodeids", vec![2, 0, 0]))(attributes);
        set("nodes_truenodeids", ints("nodes_truenodeids", vec![1, 2, 0]))(attributes);
    });
    malformed(&long_circle, "in a circle");
    malformed(&tree(set("nodes_nodeids", ints("nodes_nodeids", vec![0, 1, 1]))), "one number");
    malformed(&tree(set("nodes_treeids", ints("nodes_treeids", vec![0, 1, 0]))), "lie together");
    malformed(&tree(set("nodes_modes", texts("nodes_modes", &["LEAF"]))), "different lengths");
    malformed(&tree(set("target_ids", ints("target_ids", vec![0, 3]))), "target 3 of 1");
    malformed(&tree(set("n_targets", int("n_targets", 1 << 40))), "targets of a regressor");
    let weights = floats("target_weights", vec![f32::NAN, 1.0]);
    malformed(&tree(set("target_weights", weights)), "not finite");
    malformed(
        &tree(set("nodes_featureids", ints("nodes_featureids", vec![-1, 0, 0]))),
        "feature -1",
    );
    let far = tree(set("nodes_featureids", ints("nodes_featureids", vec![5, 0, 0])));
    assert!(matches!(refused(&far), OnnxError::Rows(_)), "only two features are given");
}

/// Both ways of a split may lead to one node: LightGBM's categories come so.
#[test]
fn a_node_may_have_two_parents() {
    let shared = tree(set("nodes_falsenodeids", ints("nodes_falsenodeids", vec![1, 0, 0])));
    let model = OnnxModel::read(&shared).expect("no circle");
    let said = model.predict(&[0.0, 0.0, 0.0, 9.0], 2).expect("rows");
    assert_eq!(said[0].values, ColumnValues::F32(vec![10.0, 10.0]));
}

/// A way of a hundred thousand nodes is walked, not called.
#[test]
fn a_deep_tree_takes_no_stack() {
    const DEPTH: i64 = 100_000;
    let bytes = tree(|attributes| {
        let branches = DEPTH as usize;
        let modes: Vec<&str> = std::iter::repeat_n("BRANCH_LT", branches).chain(["LEAF"]).collect();
        *attributes = vec![
            ints("nodes_treeids", vec![0; branches + 1]),
            ints("nodes_nodeids", (0..=DEPTH).collect()),
            ints("nodes_featureids", vec![0; branches + 1]),
            floats("nodes_values", vec![0.5; branches + 1]),
            texts("nodes_modes", &modes),
            ints("nodes_truenodeids", (1..=DEPTH).chain([0]).collect()),
            ints("nodes_falsenodeids", (1..=DEPTH).chain([0]).collect()),
            ints("target_treeids", vec![0]),
            ints("target_nodeids", vec![DEPTH]),
            ints("target_ids", vec![0]),
            floats("target_weights", vec![3.0]),
        ];
    });
    let model = OnnxModel::read(&bytes).expect("deep, but a tree");
    assert_eq!(
        model.predict(&[0.0, 0.0], 2).expect("a row")[0].values,
        ColumnValues::F32(vec![3.0])
    );
}

#[test]
fn an_unknown_operator_is_named() {
    for (domain, operator, attributes) in [
        ("", "LSTM", vec![]),
        ("ai.onnx.ml", "SVMClassifier", vec![]),
        ("", "Reshape", vec![int("allowzero", 1)]),
        ("com.example", "Add", vec![]),
    ] {
        let mut writer = Writer::default();
        writer.input("x", element::FLOAT, 2);
        writer.core(operator, &["x"], "y", attributes);
        writer.output("y", element::FLOAT, Some(2));
        let mut model = ModelProto::decode(&writer.bytes("test", &[])[..]).expect("ours");
        let node = &mut model.graph.as_mut().expect("a graph").nodes[0];
        node.domain = domain.into();
        let error = OnnxModel::read(&model.encode_to_vec()).expect_err("refused");
        let said = error.to_string();
        assert!(matches!(error, OnnxError::Unsupported { .. }), "{said}");
        assert!(said.contains(&format!("operator {operator} of domain")), "{said}");
        assert!(said.contains("TreeEnsembleClassifier"), "what is read is listed: {said}");
    }
    let unknown = tree(set("post_transform", text("post_transform", "CLOGLOG")));
    assert!(refused(&unknown).to_string().contains("post_transform CLOGLOG"));
}

/// Each doubles its input: after thirty, a row would have a thousand million values.
#[test]
fn operators_that_grow_without_end_are_stopped() {
    let mut writer = Writer::default();
    writer.input("v0", element::FLOAT, 2);
    for at in 0..30 {
        let (from, to) = (format!("v{at}"), format!("v{}", at + 1));
        writer.core("Concat", &[&from, &from], &to, vec![int("axis", 1)]);
    }
    writer.output("v30", element::FLOAT, None);
    let error = refused(&writer.bytes("test", &[]));
    assert!(matches!(error, OnnxError::TooLarge(_)), "{error}");
}

#[test]
fn values_are_made_once_and_before_they_are_asked_for() {
    let graph = |nodes: &[(&str, &str)]| {
        let mut writer = Writer::default();
        writer.input("x", element::FLOAT, 2);
        for (from, to) in nodes {
            writer.core("Abs", &[from], to, vec![]);
        }
        writer.output("y", element::FLOAT, Some(2));
        writer.bytes("test", &[])
    };
    assert!(OnnxModel::read(&graph(&[("x", "y")])).is_ok());
    malformed(&graph(&[("y", "x2"), ("x2", "y")]), "`y` is asked for before");
    malformed(&graph(&[("x", "y"), ("x", "y")]), "`y` is defined twice");
    malformed(&graph(&[("x", "z")]), "`y` is asked for before");
    malformed(&[], "no graph");
    malformed(b"PK\x03\x04 this is a zip file", "");
}

#[test]
fn other_rows_than_the_model_reads_are_refused() {
    let model = OnnxModel::read(&tree(|_| {})).expect("sound");
    for (rows, width) in [(&[0.0][..], 1), (&[0.0; 3], 2), (&[0.0; 3], 3), (&[], 0)] {
        assert!(matches!(model.predict(rows, width), Err(OnnxError::Rows(_))), "{rows:?}");
    }
    assert_eq!(model.predict(&[], 2).expect("no rows"), vec![]);
    let many = model.predict(&vec![0.0; 2_000], 2).expect("rows are cut into blocks");
    assert_eq!(many[0].values, ColumnValues::F32(vec![10.0; 1_000]));
}
