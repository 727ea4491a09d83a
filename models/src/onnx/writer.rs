//! Puts a graph together.

use super::operator::ML;
use super::proto::{
    AttributeProto, DimProto, EntryProto, GraphProto, ModelProto, NodeProto, OperatorSetProto,
    ShapeProto, TensorProto, TensorTypeProto, TypeProto, ValueProto, element, kind,
};
use prost::Message;

/// What is written can be read by runtimes of 2021 and later.
const IR_VERSION: i64 = 8;
const CORE_SET: i64 = 13;
const ML_SET: i64 = 1;

/// One attribute.
pub(super) fn ints(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values, kind: kind::INTS, ..Default::default() }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, kind: kind::INT, ..Default::default() }
}

pub(super) fn floats(name: &str, values: Vec<f32>) -> AttributeProto {
    AttributeProto { name: name.into(), floats: values, kind: kind::FLOATS, ..Default::default() }
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    let s = value.as_bytes().to_vec();
    AttributeProto { name: name.into(), s, kind: kind::STRING, ..Default::default() }
}

pub(super) fn texts(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    AttributeProto { name: name.into(), strings, kind: kind::STRINGS, ..Default::default() }
}

/// A graph that grows.
#[derive(Default)]
pub(super) struct Writer {
    graph: GraphProto,
}

impl Writer {
    /// Adds a matrix of rows that a run is given.
    pub(super) fn input(&mut self, name: &str, element: i32, width: usize) {
        self.graph.inputs.push(matrix(name, element, Some(width)));
    }

    /// Adds what a run gives: rows, with so many columns or as one axis.
    pub(super) fn output(&mut self, name: &str, element: i32, width: Option<usize>) {
        self.graph.outputs.push(matrix(name, element, width));
    }

    /// Adds a constant of 64-bit numbers.
    pub(super) fn doubles(&mut self, name: &str, dims: &[usize], doubles: Vec<f64>) {
        let dims = dims.iter().map(|size| *size as i64).collect();
        let name = name.to_owned();
        let element = element::DOUBLE;
        let tensor = TensorProto { name, dims, element, doubles, ..Default::default() };
        self.graph.initializers.push(tensor);
    }

    /// Adds an operator of the core with one output.
    pub(super) fn core(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) {
        self.node("", operator, inputs, &[output], attributes);
    }

    /// Adds an operator of `ai.onnx.ml`.
    pub(super) fn learned(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        self.node(ML, operator, inputs, outputs, attributes);
    }

    fn node(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.graph.nodes.push(NodeProto {
            inputs: owned(inputs),
            outputs: owned(outputs),
            name: format!("{operator}_{}", self.graph.nodes.len()),
            operator: operator.to_owned(),
            attributes,
            domain: domain.to_owned(),
        });
    }

    /// The bytes of the file. The same graph gives the same bytes.
    pub(super) fn bytes(mut self, name: &str, metadata: &[(String, String)]) -> Vec<u8> {
        self.graph.name = name.to_owned();
        let set =
            |(domain, version): (&str, i64)| OperatorSetProto { domain: domain.into(), version };
        let entry =
            |(key, value): &(String, String)| EntryProto { key: key.clone(), value: value.clone() };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "isobar".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: String::new(),
            graph: Some(self.graph),
            opset_import: [("", CORE_SET), (ML, ML_SET)].map(set).into(),
            metadata: metadata.iter().map(entry).collect(),
        };
        model.encode_to_vec()
    }
}

fn matrix(name: &str, element: i32, width: Option<usize>) -> ValueProto {
    let rows = DimProto { value: None, name: Some("rows".into()) };
    let columns = width.map(|width| DimProto { value: Some(width as i64), name: None });
    let dims = [rows].into_iter().chain(columns).collect();
    let tensor = TensorTypeProto { element, shape: Some(ShapeProto { dims }) };
    ValueProto { name: name.to_owned(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}
