//! Which operators are read, and how each is run.

use super::attributes::Attributes;
use super::elementwise::{Binary, Clip, Unary, cast, choose};
use super::ensembles::{TreeClassifier, TreeRegressor};
use super::error::{OnnxError, Result, bad, shown};
use super::labels::Labels;
use super::linear::{Binarizer, Imputer, LinearClassifier, LinearRegressor, Normalizer, Scaler};
use super::proto::NodeProto;
use super::reduce::{Arg, Fold, Product, Reduce, Softmax};
use super::shapes::{concat, extract, gather, reshape};
use super::tensor::{Budget, Tensor};

/// The domain of the operators of classical machine learning.
pub(super) const ML: &str = "ai.onnx.ml";

/// All that are read, for the refusal of others.
pub(super) const KNOWN: &str = "ai.onnx.ml: ArrayFeatureExtractor, Binarizer, Imputer, LinearClassifier, \
    LinearRegressor, Normalizer, Scaler, TreeEnsembleClassifier, TreeEnsembleRegressor, ZipMap; ai.onnx: Abs, Add, \
    ArgMax, ArgMin, Cast, Clip, Concat, Constant, Div, Equal, Exp, Gather, Gemm, Greater, GreaterOrEqual, Identity, \
    IsNaN, Less, LessOrEqual, Log, MatMul, Max, Min, Mul, Neg, Pow, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Relu, Reshape, \
    Sigmoid, Softmax, Sqrt, Sub, Sum, Tanh, Where";

/// One operator with its settings.
#[derive(Debug)]
pub(super) enum Operator {
    Trees(TreeClassifier),
    TreeValues(TreeRegressor),
    Linear(LinearClassifier),
    LinearValues(LinearRegressor),
    Scaler(Scaler),
    Imputer(Imputer),
    Normalizer(Normalizer),
    Binarizer(Binarizer),
    Extract,
    /// Names the columns of its input.
    ZipMap(Vec<String>),
    Unary(Unary),
    Binary(Binary),
    Clip(Clip),
    Where,
    Cast(i32),
    Identity,
    Concat(i64),
    Gather(i64),
    Reshape,
    Reduce(Reduce),
    Arg(Arg),
    Softmax(Softmax),
    /// With what is added to the product, where it is `Gemm`.
    Product(Product),
}

impl Operator {
    /// `operator_set` is the version of the core operators.
    pub(super) fn read(node: &NodeProto, operator_set: i64) -> Result<Self> {
        let attributes = Attributes::of(node);
        match node.domain.as_str() {
            "" | "ai.onnx" => Self::core(node, attributes, operator_set),
            ML => Self::learned(node, attributes),
            _ => Err(unknown(node)),
        }
    }

    fn learned(node: &NodeProto, attributes: Attributes) -> Result<Self> {
        Ok(match node.operator.as_str() {
            "TreeEnsembleClassifier" => Self::Trees(TreeClassifier::read(attributes)?),
            "TreeEnsembleRegressor" => Self::TreeValues(TreeRegressor::read(attributes)?),
            "LinearClassifier" => Self::Linear(LinearClassifier::read(attributes)?),
            "LinearRegressor" => Self::LinearValues(LinearRegressor::read(attributes)?),
            "Scaler" => Self::Scaler(Scaler::read(attributes)?),
            "Imputer" => Self::Imputer(Imputer::read(attributes)?),
            "Normalizer" => Self::Normalizer(Normalizer::read(attributes)?),
            "Binarizer" => Self::Binarizer(Binarizer::read(attributes)?),
            "ArrayFeatureExtractor" => Self::Extract,
            "ZipMap" => Self::ZipMap(
                Labels::read(attributes, "classlabels_int64s", "classlabels_strings")?.names(),
            ),
            _ => return Err(unknown(node)),
        })
    }

    fn core(node: &NodeProto, attributes: Attributes, operator_set: i64) -> Result<Self> {
        if let Some(operator) = Self::plain(&node.operator) {
            return Ok(operator);
        }
        let reduce = |fold| Self::Reduce(Reduce::read(fold, attributes));
        Ok(match node.operator.as_str() {
            "ArgMax" => Self::Arg(Arg::read(true, attributes)),
            "ArgMin" => Self::Arg(Arg::read(false, attributes)),
            "Cast" => match attributes.int("to").and_then(|to| i32::try_from(to).ok()) {
                Some(to) => Self::Cast(to),
                None => return bad("a Cast to nothing"),
            },
            "Clip" => Self::Clip(Clip::read(attributes)),
            "Concat" => match attributes.int("axis") {
                Some(axis) => Self::Concat(axis),
                None => return bad("a Concat without axis"),
            },
            "Gather" => Self::Gather(attributes.int("axis").unwrap_or(0)),
            "Gemm" => Self::Product(Product::read(attributes)),
            "ReduceMax" => reduce(Fold::Max),
            "ReduceMean" => reduce(Fold::Mean),
            "ReduceMin" => reduce(Fold::Min),
            "ReduceSum" => reduce(Fold::Sum),
            "Reshape" if attributes.int("allowzero").unwrap_or(0) == 0 => Self::Reshape,
            "Softmax" => Self::Softmax(Softmax::read(attributes, operator_set)),
            _ => return Err(unknown(node)),
        })
    }

    /// Those without attributes.
    fn plain(name: &str) -> Option<Self> {
        Some(match name {
            "Abs" => Self::Unary(Unary::Abs),
            "Exp" => Self::Unary(Unary::Exp),
            "IsNaN" => Self::Unary(Unary::IsNan),
            "Log" => Self::Unary(Unary::Log),
            "Neg" => Self::Unary(Unary::Neg),
            "Relu" => Self::Unary(Unary::Relu),
            "Sigmoid" => Self::Unary(Unary::Sigmoid),
            "Sqrt" => Self::Unary(Unary::Sqrt),
            "Tanh" => Self::Unary(Unary::Tanh),
            "Add" | "Sum" => Self::Binary(Binary::Add),
            "Sub" => Self::Binary(Binary::Sub),
            "Mul" => Self::Binary(Binary::Mul),
            "Div" => Self::Binary(Binary::Div),
            "Max" => Self::Binary(Binary::Max),
            "Min" => Self::Binary(Binary::Min),
            "Pow" => Self::Binary(Binary::Pow),
            "Equal" => Self::Binary(Binary::Equal),
            "Greater" => Self::Binary(Binary::Greater),
            "GreaterOrEqual" => Self::Binary(Binary::GreaterOrEqual),
            "Less" => Self::Binary(Binary::Less),
            "LessOrEqual" => Self::Binary(Binary::LessOrEqual),
            "Identity" => Self::Identity,
            "MatMul" => Self::Product(Product::PLAIN),
            "Where" => Self::Where,
            _ => return None,
        })
    }

    /// The labels of the classes whose scores it gives, or names.
    pub(super) fn classes(&self) -> Option<Vec<String>> {
        match self {
            Self::Trees(classifier) => Some(classifier.labels.names()),
            Self::Linear(classifier) => Some(classifier.labels.names()),
            Self::ZipMap(names) => Some(names.clone()),
            _ => None,
        }
    }

    /// By feature of its input: how often trees ask for it.
    pub(super) fn weights(&self) -> Option<Vec<f64>> {
        match self {
            Self::Trees(classifier) => Some(classifier.trees.asked()),
            Self::TreeValues(regressor) => Some(regressor.trees.asked()),
            _ => None,
        }
    }

    /// Runs it; the budget is asked before anything is made.
    pub(super) fn run(
        &self,
        inputs: &[Option<&Tensor>],
        budget: &mut Budget,
    ) -> Result<Vec<Tensor>> {
        let at = |at: usize| match inputs.get(at) {
            Some(Some(tensor)) => Ok(*tensor),
            _ => bad("an operator misses an input"),
        };
        let all: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        match self {
            Self::Trees(classifier) => classifier.run(at(0)?, budget),
            Self::TreeValues(regressor) => regressor.run(at(0)?, budget),
            Self::Linear(classifier) => classifier.run(at(0)?, budget),
            Self::LinearValues(regressor) => regressor.run(at(0)?, budget),
            Self::Scaler(scaler) => scaler.run(at(0)?, budget),
            Self::Imputer(imputer) => imputer.run(at(0)?, budget),
            Self::Normalizer(normalizer) => normalizer.run(at(0)?, budget),
            Self::Binarizer(binarizer) => binarizer.run(at(0)?, budget),
            Self::Extract => extract(at(0)?, at(1)?, budget),
            Self::ZipMap(_) | Self::Identity => {
                let input = at(0)?;
                budget.make(input.weight())?;
                Ok(vec![input.clone()])
            }
            Self::Unary(unary) => unary.run(at(0)?, budget),
            Self::Binary(binary) => binary.run(&all, budget),
            Self::Clip(clip) => clip.run(inputs, budget),
            Self::Where => choose(&all, budget),
            Self::Cast(to) => cast(*to, at(0)?, budget),
            Self::Concat(axis) => concat(&all, *axis, budget),
            Self::Gather(axis) => gather(at(0)?, at(1)?, *axis, budget),
            Self::Reshape => reshape(at(0)?, at(1)?, budget),
            Self::Reduce(reduce) => reduce.run(at(0)?, at(1).ok(), budget),
            Self::Arg(arg) => arg.run(at(0)?, budget),
            Self::Softmax(softmax) => softmax.run(at(0)?, budget),
            Self::Product(product) => product.run(at(0)?, at(1)?, at(2).ok(), budget),
        }
    }
}

fn unknown(node: &NodeProto) -> OnnxError {
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    let what = format!("operator {} of domain {}", shown(&node.operator), shown(domain));
    OnnxError::Unsupported { what, known: KNOWN.into() }
}
