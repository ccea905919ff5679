//! Finds a file of weights and reads it for a network.

use super::array_names::ArrayNames;
use super::error::InitialWeightsError;
use super::reader::{LoadedWeights, SafetensorsReader};
use crate::data::DataDirectories;
use plusminus_core::methods::networks::{InitialWeights, Network};
use plusminus_engines::{Plan, Weights};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Looks for the file of `initial_weights` in `directories` and reads it as [`load`] does.
///
/// # Errors
/// Those of [`load`], and: the file is in no directory, or has another digest than the configuration demands.
pub fn find_and_load(
    initial_weights: &InitialWeights,
    directories: &DataDirectories,
    network: &Network,
    random: Weights,
) -> Result<LoadedWeights, InitialWeightsError> {
    // The check is repeated here because a configuration need not come from a sweep file.
    let file = &initial_weights.file;
    let wrong = |expected| InitialWeightsError::Name { file: file.clone(), expected };
    InitialWeights::check_file(file).map_err(wrong)?;
    let places: Vec<PathBuf> = directories.directories.iter().map(|directory| directory.join(file)).collect();
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        return Err(InitialWeightsError::NotFound { file: file.clone(), places });
    };
    let loaded = load(path, network, random)?;
    match &initial_weights.blake3 {
        Some(expected) if *expected != loaded.start.digest => Err(InitialWeightsError::Digest {
            file: path.display().to_string(),
            expected: expected.clone(),
            found: loaded.start.digest,
        }),
        _ => Ok(loaded),
    }
}

/// Reads the weights of `network` from the file at `path`. `random` has the network's plan, and its values are replaced.
///
/// Arrays have the names of the network's plan, as finished jobs write them, or torchvision's names for a residual network
/// (`layer1.0.conv1.weight`). If the file's classifier is for another number of classes, the one in `random` stays.
///
/// # Errors
/// The file cannot be read, is damaged, or does not fit the network.
pub fn load(path: &Path, network: &Network, random: Weights) -> Result<LoadedWeights, InitialWeightsError> {
    let file = path.display().to_string();
    let failed = |source| InitialWeightsError::Read { file: file.clone(), source };
    let opened = File::open(path).map_err(failed)?;
    let length = opened.metadata().map_err(failed)?.len();
    let (reader, header) = SafetensorsReader::open(file, BufReader::new(opened), length)?;
    let names = ArrayNames::of(network, random.plan(), &header);
    reader.read(&header, &names, random)
}

/// Reads weights from the bytes of a safetensors file with exactly the arrays of `plan`, as jobs write it.
///
/// # Errors
/// The bytes are damaged or do not fit the plan.
pub fn from_safetensors(bytes: &[u8], plan: &Arc<Plan>) -> Result<Weights, InitialWeightsError> {
    let file = "the weights file".to_owned();
    let (reader, header) = SafetensorsReader::open(file, bytes, bytes.len() as u64)?;
    reader.read(&header, &ArrayNames::own(plan), Weights::zeros(plan)).map(|loaded| loaded.weights)
}
