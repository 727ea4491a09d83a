//! A file as a model of rows.

use super::census;
use super::error::{OnnxError, Result, bad, shown};
use super::graph::Graph;
use super::operator::Operator;
use super::proto::{GraphProto, ModelProto, ValueProto, element};
use super::tensor::{Tensor, Values};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Rows that are run at once; more are cut.
const ROWS_MAX: usize = 64;
/// Most features of all inputs together.
const FEATURES_MAX: usize = 10_000;
/// Whole numbers above this are not exact as `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// One input: a matrix of rows.
#[derive(Clone, Debug, PartialEq)]
struct Input {
    name: String,
    element: i32,
    /// Columns, where the file says.
    width: Option<usize>,
}

/// The values of one column of what a model says.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnValues {
    /// 32-bit numbers.
    F32(Vec<f32>),
    /// 64-bit numbers.
    F64(Vec<f64>),
    /// Whole numbers, such as the labels of classes.
    I64(Vec<i64>),
    /// Texts, such as the labels of classes.
    Text(Vec<String>),
}

/// One column of what a model says, with one value for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The output's name; with `_` and class or number where the output has several columns.
    pub name: String,
    /// By row.
    pub values: ColumnValues,
}

/// A model read from an ONNX file. Reading refuses what is malformed, too large, or uses an operator that is not known;
/// running is bounded in memory and time for each row.
#[derive(Debug)]
pub struct OnnxModel {
    inputs: Vec<Input>,
    graph: Graph,
    outputs: Vec<String>,
    classes: Option<Vec<String>>,
    metadata: BTreeMap<String, String>,
    producer: String,
    operators: BTreeMap<String, usize>,
}

impl OnnxModel {
    /// Reads the bytes of a file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        census::check(bytes)?;
        let model = ModelProto::decode(bytes)
            .map_err(|error| OnnxError::Malformed(shown(&error.to_string())))?;
        let Some(graph) = &model.graph else { return bad("it has no graph") };
        let inputs = inputs(graph)?;
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let steps = Graph::read(&model, graph, &names)?;
        let classes = classes(&steps);
        let mut operators = BTreeMap::new();
        for node in &graph.nodes {
            *operators.entry(node.operator.clone()).or_insert(0) += 1;
        }
        let entries = model.metadata.iter();
        let version = &model.producer_version;
        Ok(Self {
            inputs,
            graph: steps,
            outputs: graph.outputs.iter().map(|output| shown(&output.name)).collect(),
            classes,
            metadata: entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
            producer: shown(format!("{} {version}", model.producer_name).trim()),
            operators,
        })
    }

    /// Features of a row; `None` where the file leaves it open.
    pub fn features(&self) -> Option<usize> {
        self.inputs.iter().map(|input| input.width).sum()
    }

    /// Names for the features, made from the inputs' names; `None` as with [`OnnxModel::features`].
    pub fn feature_names(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for input in &self.inputs {
            match input.width? {
                1 => names.push(input.name.clone()),
                width => names.extend((0..width).map(|at| format!("{}_{at}", input.name))),
            }
        }
        Some(names)
    }

    /// The element types of the features: `f32`, `f64` or `i64`, for so many features.
    pub fn feature_types(&self, features: usize) -> Vec<&'static str> {
        let of = |input: &Input| {
            let name = match input.element {
                element::FLOAT => "f32",
                element::DOUBLE => "f64",
                _ => "i64",
            };
            std::iter::repeat_n(name, input.width.unwrap_or(features))
        };
        self.inputs.iter().flat_map(of).take(features).collect()
    }

    /// What the file says of itself by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What wrote the file, with its version.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// Operators by name, and how often each occurs.
    pub fn operators(&self) -> &BTreeMap<String, usize> {
        &self.operators
    }

    /// The labels of the classes, where the model is a classifier.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// By feature, how often the trees ask for it; empty where no tree reads as many features as there are.
    pub fn asked(&self, features: usize) -> Vec<f64> {
        let mut sum = Vec::new();
        for weights in self.graph.operators().filter_map(Operator::weights) {
            if weights.len() <= features {
                sum.resize(features, 0.0);
                sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
        }
        sum
    }

    /// What it says of rows of `width` features each, one after the other; NaN is a missing value. One column for each
    /// output, or for each class or target of an output. Numbers may be NaN or infinite where a model has no answer.
    pub fn predict(&self, rows: &[f64], width: usize) -> Result<Vec<Column>> {
        if width == 0 || rows.len() % width != 0 || self.features().is_some_and(|f| f != width) {
            let wanted = self.features().map_or("any".into(), |features| features.to_string());
            return Err(OnnxError::Rows(format!("{width} features where {wanted} are due")));
        }
        let mut all: Vec<Column> = Vec::new();
        for chunk in rows.chunks(ROWS_MAX * width) {
            let count = chunk.len() / width;
            let outputs = self.graph.run(self.tensors(chunk, width)?, count)?;
            let mut columns = Vec::new();
            for (name, tensor) in self.outputs.iter().zip(outputs) {
                self.columns(name, &tensor, count, &mut columns)?;
            }
            if all.is_empty() {
                all = columns;
                continue;
            }
            if all.len() != columns.len() {
                return bad("it gives more or fewer columns for some rows than for others");
            }
            for (all, more) in all.iter_mut().zip(columns) {
                all.values.append(more.values)?;
            }
        }
        Ok(all)
    }

    /// The inputs' tensors of some rows.
    fn tensors(&self, rows: &[f64], width: usize) -> Result<Vec<Tensor>> {
        let count = rows.len() / width;
        let mut begin = 0;
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let columns = input.width.unwrap_or(width);
            let cells = rows.chunks_exact(width).flat_map(|row| &row[begin..begin + columns]);
            let values = match input.element {
                element::FLOAT => Values::F32(cells.map(|value| *value as f32).collect()),
                element::DOUBLE => Values::F64(cells.copied().collect()),
                _ => {
                    let whole = |value: &f64| {
                        let fits = value.fract() == 0.0 && value.abs() <= WHOLE_MAX;
                        fits.then_some(*value as i64)
                    };
                    let cells: Option<Vec<i64>> = cells.map(whole).collect();
                    Values::I64(cells.ok_or_else(|| {
                        OnnxError::Rows(format!("`{}` wants whole numbers", input.name))
                    })?)
                }
            };
            tensors.push(Tensor::new(vec![count, columns], values)?);
            begin += columns;
        }
        Ok(tensors)
    }

    /// Appends the columns of one output.
    fn columns(
        &self,
        name: &str,
        tensor: &Tensor,
        rows: usize,
        all: &mut Vec<Column>,
    ) -> Result<()> {
        let width = match tensor.shape[..] {
            [count] if count == rows => 1,
            [count, width] if count == rows => width,
            _ => {
                let what = format!("`{name}` has the shape {:?} for {rows} rows", tensor.shape);
                return Err(OnnxError::Malformed(what));
            }
        };
        if width > FEATURES_MAX {
            return bad(format!("`{name}` has {width} columns"));
        }
        let floats = matches!(tensor.values, Values::F32(_) | Values::F64(_));
        for at in 0..width {
            let class = self.classes.as_ref().filter(|classes| floats && classes.len() == width);
            let name = match (width, class) {
                (1, _) => name.to_owned(),
                (_, Some(classes)) => format!("{name}_{}", classes[at]),
                _ => format!("{name}_{at}"),
            };
            let places: Vec<usize> = (0..rows).map(|row| row * width + at).collect();
            let values = match tensor.values.pick(&places) {
                Values::F32(values) => ColumnValues::F32(values),
                Values::F64(values) => ColumnValues::F64(values),
                Values::I64(values) => ColumnValues::I64(values),
                Values::Bool(values) => {
                    ColumnValues::I64(values.into_iter().map(i64::from).collect())
                }
                Values::Text(values) => ColumnValues::Text(values),
            };
            all.push(Column { name, values });
        }
        Ok(())
    }
}

impl ColumnValues {
    fn append(&mut self, more: Self) -> Result<()> {
        match (self, more) {
            (Self::F32(all), Self::F32(more)) => all.extend(more),
            (Self::F64(all), Self::F64(more)) => all.extend(more),
            (Self::I64(all), Self::I64(more)) => all.extend(more),
            (Self::Text(all), Self::Text(more)) => all.extend(more),
            _ => return bad("a column changes its type"),
        }
        Ok(())
    }
}

/// What a run must be given: the inputs that are no constants.
fn inputs(graph: &GraphProto) -> Result<Vec<Input>> {
    let constants: BTreeSet<&str> = graph.initializers.iter().map(|t| t.name.as_str()).collect();
    let given = graph.inputs.iter().filter(|input| !constants.contains(input.name.as_str()));
    let inputs = given.map(input).collect::<Result<Vec<Input>>>()?;
    let features: usize = inputs.iter().map(|input| input.width.unwrap_or(1)).sum();
    if inputs.is_empty() || features > FEATURES_MAX {
        return bad(format!("it reads {features} features, 1 to {FEATURES_MAX} are read"));
    }
    if inputs.len() > 1 && inputs.iter().any(|input| input.width.is_none()) {
        return bad("of several inputs one has an open number of columns");
    }
    Ok(inputs)
}

fn input(value: &ValueProto) -> Result<Input> {
    let name = shown(&value.name);
    let Some(tensor) = value.kind.as_ref().and_then(|kind| kind.tensor.as_ref()) else {
        return bad(format!("input `{name}` is no tensor"));
    };
    let known = [element::FLOAT, element::DOUBLE, element::INT64, element::INT32];
    if !known.contains(&tensor.element) {
        let kind = if tensor.element == element::STRING { "texts" } else { "other elements" };
        return Err(OnnxError::Unsupported {
            what: format!("input `{name}` of {kind}"),
            known: "FLOAT, DOUBLE, INT32, INT64".into(),
        });
    }
    let width = match tensor.shape.as_ref().map(|shape| &shape.dims[..]) {
        None => None,
        Some([_, columns]) => columns.value.filter(|size| *size > 0),
        Some(dims) => {
            return Err(OnnxError::Unsupported {
                what: format!("input `{name}` of {} axes", dims.len()),
                known: "rows and columns".into(),
            });
        }
    };
    let width = width.map(|width| usize::try_from(width).unwrap_or(usize::MAX));
    if width.is_some_and(|width| width > FEATURES_MAX) {
        return bad(format!("input `{name}` has more than {FEATURES_MAX} columns"));
    }
    Ok(Input { name, element: tensor.element, width })
}

/// Those of a `ZipMap`, else those that all classifiers of the file agree on.
fn classes(graph: &Graph) -> Option<Vec<String>> {
    let named = graph.operators().find(|operator| matches!(operator, Operator::ZipMap(_)));
    if let Some(named) = named {
        return named.classes();
    }
    let mut all = graph.operators().filter_map(Operator::classes);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
