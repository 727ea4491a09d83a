//! The operators of a file in their order, ready to be run.

use super::error::{OnnxError, Result, bad, shown, too_large};
use super::operator::{ML, Operator};
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use super::tensor::{Budget, Tensor};
use std::collections::BTreeMap;

/// Most operators of a file.
const NODES_MAX: usize = 10_000;
/// Newest operator sets of the core and of `ai.onnx.ml` whose meaning is known.
const CORE_SET_MAX: i64 = 30;
const ML_SET_MAX: i64 = 5;

/// Where a value is: a constant of the file, or made by a run.
#[derive(Clone, Copy, Debug)]
enum Place {
    Constant(usize),
    Made(usize),
}

#[derive(Debug)]
struct Step {
    operator: Operator,
    /// As a message names it.
    name: String,
    inputs: Vec<Option<Place>>,
    outputs: Vec<Option<usize>>,
}

/// Operators, each after those whose outputs it takes.
#[derive(Debug)]
pub(super) struct Graph {
    constants: Vec<Tensor>,
    steps: Vec<Step>,
    outputs: Vec<Place>,
    made: usize,
}

/// Names and where their values are.
#[derive(Default)]
struct Scope {
    places: BTreeMap<String, Place>,
    made: usize,
}

impl Scope {
    fn define(&mut self, name: &str, place: Place) -> Result<()> {
        if self.places.insert(name.to_owned(), place).is_some() {
            return bad(format!("`{}` is defined twice", shown(name)));
        }
        Ok(())
    }

    fn make(&mut self, name: &str) -> Result<usize> {
        let place = self.made;
        self.define(name, Place::Made(place))?;
        self.made += 1;
        Ok(place)
    }

    fn find(&self, name: &str) -> Result<Place> {
        let found = self.places.get(name).copied();
        found.ok_or_else(|| {
            OnnxError::Malformed(format!("`{}` is asked for before it is made", shown(name)))
        })
    }
}

/// The newest version of each operator set that a file asks for.
fn operator_sets(model: &ModelProto) -> Result<i64> {
    let newest = |of: &dyn Fn(&str) -> bool| {
        let sets = model.opset_import.iter().filter(|set| of(&set.domain));
        sets.map(|set| set.version).max().unwrap_or(1)
    };
    let core = newest(&|domain| domain.is_empty() || domain == "ai.onnx");
    let learned = newest(&|domain| domain == ML);
    for (name, found, most) in [("ai.onnx", core, CORE_SET_MAX), (ML, learned, ML_SET_MAX)] {
        if found > most {
            return Err(OnnxError::Unsupported {
                what: format!("operator set {found} of {name}"),
                known: format!("sets up to {most}"),
            });
        }
    }
    Ok(core)
}

impl Graph {
    /// `inputs` are the names of what a run is given, in order.
    pub(super) fn read(model: &ModelProto, graph: &GraphProto, inputs: &[String]) -> Result<Self> {
        let operator_set = operator_sets(model)?;
        if graph.nodes.len() > NODES_MAX {
            return too_large(format!("{} operators, at most {NODES_MAX}", graph.nodes.len()));
        }
        let mut scope = Scope::default();
        for name in inputs {
            scope.make(name)?;
        }
        let mut constants = Vec::new();
        for proto in &graph.initializers {
            Self::constant(&mut scope, &mut constants, proto, &proto.name)?;
        }
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            match constant_of(node) {
                Some((value, name)) => Self::constant(&mut scope, &mut constants, value, name)?,
                None => steps.push(Self::step(&mut scope, node, operator_set)?),
            }
        }
        let outputs = graph.outputs.iter().map(|output| scope.find(&output.name));
        let outputs = outputs.collect::<Result<Vec<Place>>>()?;
        if outputs.is_empty() {
            return bad("it has no output");
        }
        Ok(Self { constants, steps, outputs, made: scope.made })
    }

    fn constant(
        scope: &mut Scope,
        constants: &mut Vec<Tensor>,
        proto: &TensorProto,
        name: &str,
    ) -> Result<()> {
        scope.define(name, Place::Constant(constants.len()))?;
        constants.push(Tensor::of_proto(proto)?);
        Ok(())
    }

    fn step(scope: &mut Scope, node: &NodeProto, operator_set: i64) -> Result<Step> {
        let operator = Operator::read(node, operator_set)?;
        let name = if node.name.is_empty() { &node.operator } else { &node.name };
        let input = |name: &String| match name.as_str() {
            // An optional input that is left out.
            "" => Ok(None),
            name => scope.find(name).map(Some),
        };
        let inputs = node.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
        let mut output = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => scope.make(name).map(Some),
        };
        let outputs = node.outputs.iter().map(&mut output).collect::<Result<Vec<_>>>()?;
        Ok(Step { operator, name: shown(name), inputs, outputs })
    }

    /// The operators, in order.
    pub(super) fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.steps.iter().map(|step| &step.operator)
    }

    /// Runs all operators on the inputs, which have so many rows.
    pub(super) fn run(&self, inputs: Vec<Tensor>, rows: usize) -> Result<Vec<Tensor>> {
        let constants = self.constants.iter().map(|constant| constant.values.len()).sum();
        let mut budget = Budget::new(rows, constants);
        let mut made: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
        made.resize_with(self.made, || None);
        for step in &self.steps {
            let find = |place: &Option<Place>| match place {
                None => None,
                Some(Place::Constant(at)) => Some(&self.constants[*at]),
                Some(Place::Made(at)) => made[*at].as_ref(),
            };
            let given: Vec<Option<&Tensor>> = step.inputs.iter().map(find).collect();
            let done = step.operator.run(&given, &mut budget).map_err(|error| match error {
                OnnxError::Rows(what) => OnnxError::Rows(format!("{}: {what}", step.name)),
                OnnxError::Malformed(what) => {
                    OnnxError::Malformed(format!("{}: {what}", step.name))
                }
                other => other,
            })?;
            if done.len() < step.outputs.len() {
                let counts = format!("{} outputs of {}", step.outputs.len(), done.len());
                return bad(format!("{}: it names {counts}", step.name));
            }
            for (place, tensor) in step.outputs.iter().zip(done) {
                if let Some(place) = place {
                    made[*place] = Some(tensor);
                }
            }
        }
        let output = |place: &Place| match place {
            Place::Constant(at) => Ok(self.constants[*at].clone()),
            Place::Made(at) => match made[*at].clone() {
                Some(tensor) => Ok(tensor),
                None => bad("an output is never made"),
            },
        };
        self.outputs.iter().map(output).collect()
    }
}

/// The value of a `Constant` and its name.
fn constant_of(node: &NodeProto) -> Option<(&TensorProto, &str)> {
    if node.operator != "Constant" || !node.domain.is_empty() && node.domain != "ai.onnx" {
        return None;
    }
    let value = node.attributes.iter().find(|attribute| attribute.name == "value")?;
    Some((value.tensor.as_deref()?, node.outputs.first()?))
}
