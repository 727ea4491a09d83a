//! ONNX: models that were trained elsewhere, read and run here; and ours, written for others.
//!
//! [`OnnxModel`] reads the bytes of a file and says what the model says of rows. It knows the operators of `ai.onnx.ml`
//! that scikit-learn and LightGBM classifiers, regressors and scalers become, and the core operators that their
//! converters put between them; a file with any other is refused by the operator's name. Labels, probabilities and sums
//! are those of `onnxruntime` to 1e-5, also where the specification (ONNX IR 14, ai.onnx.ml 1 to 5) is silent. What a
//! file claims is counted before it is decoded, trees are looked through for circles once, and a run may make and do
//! only so much for each row.

mod attributes;
mod census;
mod elementwise;
mod ensembles;
mod error;
pub mod export;
#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod fuzz_tests;
mod graph;
mod labels;
mod linear;
mod model;
mod operator;
mod proto;
mod reduce;
mod scores;
mod shapes;
mod tensor;
#[cfg(test)]
mod tests;
mod trees;
mod writer;

pub use error::OnnxError;
pub use model::{Column, ColumnValues, OnnxModel};
