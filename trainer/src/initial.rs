//! Initial weights from a safetensors file: written by a job, or with the names that torchvision gives its residual networks.
//!
//! A file is read once from its beginning to its end, one array in memory at a time, and nothing in it is believed: its header must
//! account for every byte, every array must be one that the network has, with its extents, and every value finite. Only a
//! classifier for another number of classes is no error: then the network's own keeps its random start.

mod names;
mod read;

use crate::data::{Datasets, is_passing, unreadable};
use names::Names;
use plusminus_core::methods::networks::{InitialWeights, Network};
use plusminus_core::outcome::{Failure, Start};
use plusminus_engines::{Plan, Weights};
use read::Reader;
use safetensors::Dtype;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why initial weights cannot be had. Every message says which file, what was expected and found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum InitialError {
    /// The name is none that a sweep file may have.
    #[error("`{file}` names no file of initial weights: {expected}")]
    Name {
        /// As it was given.
        file: String,
        /// What is expected of a name.
        expected: String,
    },
    /// The file is in none of the places.
    #[error(
        "the initial weights {file} were not found{}: name the directory that has them with --datasets DIR or \
         PLUSMINUS_DATASETS",
        listed(looked)
    )]
    NotFound {
        /// Its name.
        file: String,
        /// Every place that was looked at.
        looked: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("{file} cannot be read ({source}): check that the file is there and its permissions")]
    Read {
        /// The file.
        file: String,
        /// The system's words.
        source: io::Error,
    },
    /// It is no safetensors file, or not a whole one.
    #[error("{file} is not a whole safetensors file ({problem}): fetch or write it again")]
    Format {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// It lacks an array.
    #[error("{file} has no array `{name}`: it holds the weights of another network")]
    Missing {
        /// The file.
        file: String,
        /// The array's name in such a file.
        name: String,
    },
    /// It has an array that the network has not.
    #[error("{file} has an array `{name}`, and the network has none: it holds the weights of another network")]
    Unknown {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
    },
    /// An array has other extents.
    #[error(
        "`{name}` in {file} has the shape {found:?}, expected {expected:?}: it holds the weights of another network"
    )]
    Shape {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The network's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// The values of an array are of another type.
    #[error("`{name}` in {file} is of type {found:?}, expected F32, F16 or BF16: convert it")]
    Type {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The type that it has.
        found: Dtype,
    },
    /// A value is none that a network can have.
    #[error(
        "value {index} of `{name}` in {file} is {value}, expected {expected}: the training that wrote it went wrong"
    )]
    Value {
        /// The file.
        file: String,
        /// The array's name.
        name: String,
        /// The value's place, from 0.
        index: usize,
        /// The value.
        value: f32,
        /// What it should be.
        expected: &'static str,
    },
    /// Its content is not what the configuration asks for.
    #[error("{file} has the BLAKE3 {found}, expected {expected}: fetch it again, or correct `initial_weights.blake3`")]
    Digest {
        /// The file.
        file: String,
        /// The configuration's.
        expected: String,
        /// The file's.
        found: String,
    },
}

impl From<InitialError> for Failure {
    fn from(error: InitialError) -> Self {
        let passing = matches!(&error, InitialError::Read { source, .. } if is_passing(source));
        unreadable(error, passing)
    }
}

/// After "were not found".
fn listed(places: &[PathBuf]) -> String {
    match places {
        [] => ", for there was no place to look in".to_owned(),
        _ => format!(" as {}", places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")),
    }
}

/// Weights that come from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// All of them: those that the file has not are as they were.
    pub weights: Weights,
    /// What is to be remembered of the file.
    pub start: Start,
}

/// The file that `named` names, looked for in the directories of data sets, read for `network` as [`load`] does.
///
/// # Errors
/// Why it cannot be had; besides those of [`load`] that it is nowhere, or is not the one whose digest is asked for.
pub fn find_and_load(
    named: &InitialWeights,
    datasets: &Datasets,
    network: &Network,
    random: Weights,
) -> Result<Loaded, InitialError> {
    // A configuration may come from elsewhere than a sweep file.
    let file = &named.file;
    let wrong = |expected| InitialError::Name { file: file.clone(), expected };
    InitialWeights::check_file(file).map_err(wrong)?;
    let looked: Vec<PathBuf> = datasets.directories.iter().map(|directory| directory.join(file)).collect();
    let Some(path) = looked.iter().find(|path| path.is_file()) else {
        return Err(InitialError::NotFound { file: file.clone(), looked });
    };
    let loaded = load(path, network, random)?;
    match &named.blake3 {
        Some(expected) if *expected != loaded.start.digest => Err(InitialError::Digest {
            file: path.display().to_string(),
            expected: expected.clone(),
            found: loaded.start.digest,
        }),
        _ => Ok(loaded),
    }
}

/// The weights of `network` that stand in the file at `path`, in place of those in `random`, which are the network's own.
///
/// Arrays have the names of the network's plan, as finished jobs write them, or torchvision's for a residual network
/// (`layer1.0.conv1.weight`). A classifier for another number of classes stays as it is in `random`.
///
/// # Errors
/// What is wrong with the file, or how it does not fit the network.
pub fn load(path: &Path, network: &Network, random: Weights) -> Result<Loaded, InitialError> {
    let file = path.display().to_string();
    let failed = |source| InitialError::Read { file: file.clone(), source };
    let opened = File::open(path).map_err(failed)?;
    let length = opened.metadata().map_err(failed)?.len();
    let (reader, header) = Reader::open(file, BufReader::new(opened), length)?;
    let names = Names::of(network, random.plan(), &header);
    reader.read(&header, &names, random)
}

/// The weights that stand in `bytes`, a safetensors file with exactly the arrays of `plan` under its names: what jobs write.
///
/// # Errors
/// What is wrong with the bytes, or how they do not fit the plan.
pub fn from_safetensors(bytes: &[u8], plan: &Arc<Plan>) -> Result<Weights, InitialError> {
    let file = "the file of weights".to_owned();
    let (reader, header) = Reader::open(file, bytes, bytes.len() as u64)?;
    reader.read(&header, &Names::own(plan), Weights::zeros(plan)).map(|loaded| loaded.weights)
}

#[cfg(test)]
mod tests;
