//! Why initial weights cannot be loaded. Every message states the file, what was expected, what was found, and a remedy.

use crate::data::{is_transient, read_failure, searched};
use plusminus_core::outcome::Failure;
use safetensors::Dtype;
use std::io;
use std::path::PathBuf;

/// Why initial weights cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum InitialWeightsError {
    /// A sweep file cannot have this name.
    #[error("`{file}` is not a file name of initial weights: {expected}")]
    Name {
        /// The name in the configuration.
        file: String,
        /// What a name must be.
        expected: String,
    },
    /// The file is in none of the places.
    #[error(
        "initial weights `{file}` not found{}; put the file in a directory and name that with `--datasets DIR` or \
         `PLUSMINUS_DATASETS`",
        searched(places)
    )]
    NotFound {
        /// The name in the configuration.
        file: String,
        /// Every place that was searched.
        places: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("cannot read {file}: {source}; check that the file exists and its permissions")]
    Read {
        /// The file.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not in the safetensors format, or truncated.
    #[error("{file} is not a complete safetensors file: {problem}; fetch or write it again")]
    Format {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The file lacks an array of the network.
    #[error("{file} has no array `{name}`, which the network needs; use a file for this network")]
    Missing {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
    },
    /// The file has an array that the network does not have.
    #[error("{file} has an array `{name}`, which the network does not have; use a file for this network")]
    Unknown {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
    },
    /// An array has another shape than in the network.
    #[error("`{name}` in {file} has the shape {found:?}, expected {expected:?}; use a file for this network")]
    Shape {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The shape in the network.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// An array has an unsupported element type.
    #[error("`{name}` in {file} has the type {found:?}, expected F32, F16 or BF16; convert it")]
    Type {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The element type in the file.
        found: Dtype,
    },
    /// A weight is not finite, or a variance is negative.
    #[error(
        "value {index} of `{name}` in {file} is {value}, expected {expected}; the training that wrote the file diverged"
    )]
    Value {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The position in the array, from 0.
        index: usize,
        /// The value.
        value: f32,
        /// What a value must be.
        expected: &'static str,
    },
    /// The file has another content than the configuration demands.
    #[error(
        "{file} has the BLAKE3 digest {found}, expected {expected}; fetch it again, or correct `initial_weights.blake3`"
    )]
    Digest {
        /// The file.
        file: String,
        /// The digest in the configuration.
        expected: String,
        /// The digest of the file.
        found: String,
    },
}

impl From<InitialWeightsError> for Failure {
    fn from(error: InitialWeightsError) -> Self {
        let transient = matches!(&error, InitialWeightsError::Read { source, .. } if is_transient(source));
        read_failure(error, transient)
    }
}
