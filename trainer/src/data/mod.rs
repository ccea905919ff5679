//! Data sets and what a job makes of one: given labels, a split, inputs.

mod cifar10;
mod error;
mod fashion_mnist;
pub(crate) mod feed;
mod idx;
mod inputs;
mod label_file;
mod labels;
mod pickle;

pub use error::DataError;
pub use fashion_mnist::DEBIAN;
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

/// Images with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Extent of every image.
    pub shape: ImageShape,
    /// An image after the other, each channels × height × width.
    pub pixels: Vec<u8>,
    /// A label an image.
    pub labels: Vec<u32>,
    /// How many of the last images belong to no class of the data set: only open-set noise takes them. Their labels are
    /// [`NO_CLASS`](plusminus_core::methods::noise::NO_CLASS).
    pub foreign: usize,
}

impl Images {
    /// Images that all belong to classes of the data set.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        Images { shape, pixels, labels, foreign: 0 }
    }

    /// How many belong to a class of the data set.
    pub fn samples(&self) -> usize {
        self.len().saturating_sub(self.foreign)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.shape.len()..][..self.shape.len()]
    }
}

/// A data set in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The training file, which validation samples are held out of.
    pub train: Images,
    /// The test file.
    pub test: Images,
    /// BLAKE3 of both files' pixels and labels, in hexadecimal: results can be compared where it is the same.
    pub digest: String,
}

impl Data {
    /// A data set of these files.
    pub fn new(train: Images, test: Images) -> Self {
        let mut hasher = blake3::Hasher::new();
        for images in [&train, &test] {
            let labels: Vec<u8> = images.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
            // How many there are, so that no sample can move from a file to the other unseen.
            hasher.update(&(images.len() as u64).to_le_bytes()).update(&images.pixels).update(&labels);
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

    /// A cache that holds `data` as the data set.
    #[cfg(test)]
    pub(crate) fn holding(dataset: Dataset, data: Data) -> Self {
        Cache { datasets: Datasets::default(), loaded: Mutex::new(HashMap::from([(dataset, Arc::new(data))])) }
    }

    /// Where data sets are looked for.
    pub fn datasets(&self) -> &Datasets {
        &self.datasets
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
        Dataset::Cifar10 => cifar10::from_disk(datasets),
    }
}
