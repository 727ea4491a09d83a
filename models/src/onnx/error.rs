//! Why an ONNX file is not taken.

/// What is wrong with a file, or with what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are no ONNX model, or contradict themselves.
    #[error("no usable ONNX model: {0}")]
    Malformed(String),
    /// It has more of something than is read.
    #[error("the ONNX model is too large: {0}")]
    TooLarge(String),
    /// It is sound ONNX but needs what is not read.
    #[error("{what}; what is read: {known}")]
    Unsupported {
        /// What it needs, such as an operator with its domain.
        what: String,
        /// What there is instead.
        known: String,
    },
    /// The rows do not fit the model.
    #[error("{0}")]
    Rows(String),
}

pub(super) type Result<T> = std::result::Result<T, OnnxError>;

pub(super) fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(OnnxError::Malformed(what.into()))
}

pub(super) fn too_large<T>(what: impl Into<String>) -> Result<T> {
    Err(OnnxError::TooLarge(what.into()))
}

/// A name from a stranger's file, short and without control characters.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}
