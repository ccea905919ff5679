//! Data sets and what a job makes of one: given labels, a split, inputs.

mod cifar;
mod decode;
mod error;
mod fashion_mnist;
pub(crate) mod feed;
mod idx;
mod images;
mod inputs;
mod labels;
mod mr;
mod pickle;

pub use error::DataError;
pub use fashion_mnist::DEBIAN;
pub use images::{Files, Images, Values};
pub(crate) use inputs::Inputs;
pub(crate) use labels::{Labels, shuffle};

use plusminus_core::methods::dataset::{Dataset, ImageShape};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where data sets are looked for, before the places where a system's packages put them.
#[derive(Clone, Debug, Default)]
pub struct Datasets {
    /// In order; each may hold a data set's files or a folder with the data set's name.
    pub directories: Vec<PathBuf>,
}

impl Datasets {
    /// Where the files of `dataset` may be: in each directory a folder with its name, then the directory itself.
    fn places(&self, dataset: &Dataset) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().flat_map(|directory| [directory.join(dataset.name()), directory.clone()])
    }
}

/// A data set in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The training file, which validation samples are held out of.
    pub train: Images,
    /// The test file.
    pub test: Images,
    /// BLAKE3 of both files' samples and labels, in hexadecimal: results can be compared where it is the same.
    pub digest: String,
}

impl Data {
    /// A data set of these files.
    pub fn new(train: Images, test: Images) -> Self {
        let mut hasher = blake3::Hasher::new();
        for images in [&train, &test] {
            images.hash(&mut hasher);
        }
        Data { digest: hasher.finalize().to_hex().to_string(), train, test }
    }
}

/// Data sets in memory, each read once however many jobs ask for it.
#[derive(Debug, Default)]
pub struct Cache {
    datasets: Datasets,
    loaded: Mutex<HashMap<Dataset, Arc<Data>>>,
}

impl Cache {
    /// An empty cache of what is found in `datasets`.
    pub fn new(datasets: Datasets) -> Self {
        Cache { datasets, loaded: Mutex::default() }
    }

    /// The data set, read if it has not been.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn get(&self, dataset: &Dataset) -> Result<Arc<Data>, DataError> {
        // Held while reading, so that two jobs do not read the same files. What a panic left here is whole: entries go in last.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(data) = loaded.get(dataset) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(load(dataset, &self.datasets)?);
        loaded.insert(dataset.clone(), Arc::clone(&data));
        Ok(data)
    }
}

fn load(dataset: &Dataset, datasets: &Datasets) -> Result<Data, DataError> {
    match dataset {
        Dataset::FashionMnist => fashion_mnist::from_disk(datasets),
        Dataset::FashionMnist10k => fashion_mnist::from_binary(),
        Dataset::FashionMnistBags => fashion_mnist::bags(datasets),
        Dataset::Cifar10 => cifar::ten(datasets),
        Dataset::Cifar100 => cifar::hundred(datasets),
        Dataset::Cifar10OpenSet => cifar::open_set(datasets),
        Dataset::Mr => mr::from_disk(datasets),
    }
}
