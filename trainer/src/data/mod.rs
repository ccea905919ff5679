//! Data sets and what a job makes of one: given labels, a split, inputs.

mod cifar;
mod clothing1m;
mod decode;
mod dogs_vs_cats;
mod error;
mod fashion_mnist;
mod folder;
mod idx;
pub(crate) mod image_list;
mod input_pipeline;
mod label_file;
mod labels;
mod mr;
mod pickle;
pub(crate) mod prefetch;
mod sample_set;
mod split;

pub use error::DataError;
pub(crate) use error::{is_passing, unreadable};
pub use fashion_mnist::DEBIAN;
pub(crate) use input_pipeline::InputPipeline;
pub(crate) use labels::{Labels, shuffle};
pub use sample_set::{ImageFiles, SampleSet, SampleValues};

use plusminus_core::methods::dataset::{Dataset, ImageShape};
use plusminus_core::methods::split::Split;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where data sets are looked for, before the places where a system's packages put them.
#[derive(Clone, Debug, Default)]
pub struct DataDirectories {
    /// In order; each may hold a data set's files or a folder with the data set's name.
    pub directories: Vec<PathBuf>,
}

impl DataDirectories {
    /// Where the files of `dataset` may be: in each directory a folder with its name, then the directory itself.
    fn places(&self, dataset: &Dataset) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().flat_map(|directory| [directory.join(dataset.name()), directory.clone()])
    }
}

/// A data set, its pixels in memory or in files that are decoded when they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDataset {
    /// The training file, which validation samples are held out of.
    pub train: SampleSet,
    /// The data set's own validation samples, where it has such: `split: official` takes them.
    pub validation: Option<SampleSet>,
    /// The test file.
    pub test: SampleSet,
    /// BLAKE3 of all parts' samples and labels, in hexadecimal: results can be compared where it is the same. Of images that are
    /// decoded when they are asked for, the names and sizes of the files stand for what they hold.
    pub digest: String,
}

impl LoadedDataset {
    /// A data set of these files.
    pub fn new(train: SampleSet, test: SampleSet) -> Self {
        LoadedDataset::with_validation(train, None, test)
    }

    /// A data set that may have validation samples of its own.
    pub fn with_validation(train: SampleSet, validation: Option<SampleSet>, test: SampleSet) -> Self {
        let mut hasher = blake3::Hasher::new();
        for images in [Some(&train), Some(&test), validation.as_ref()].into_iter().flatten() {
            images.hash(&mut hasher);
        }
        LoadedDataset { digest: hasher.finalize().to_hex().to_string(), train, validation, test }
    }

    /// What a job with these labels validates on: images, which of them in file order, and a label for each.
    ///
    /// # Errors
    /// Where it asks for the data set's own validation samples and there are none.
    pub(crate) fn held_out<'a>(&'a self, labels: &'a Labels, split: Split) -> Result<ValidationSamples<'a>, String> {
        match (split, &self.validation) {
            (Split::Official, Some(images)) => {
                let samples = (0..images.len()).collect();
                Ok(ValidationSamples { images, samples, labels: images.labels.clone() })
            }
            (Split::Official, None) => {
                Err("the data set has no validation samples of its own: use another `split`".to_owned())
            }
            (Split::Random | Split::Last, _) => {
                let given = labels.validation.iter().map(|sample| labels.given[*sample]).collect();
                Ok(ValidationSamples { images: &self.train, samples: labels.validation.clone(), labels: given })
            }
        }
    }
}

/// What a job validates on.
#[derive(Clone, Debug)]
pub(crate) struct ValidationSamples<'a> {
    /// The images that samples are of.
    pub images: &'a SampleSet,
    /// Which they are, in file order.
    pub samples: Vec<usize>,
    /// The label of each sample: its given one, or where the data set has validation samples of its own, theirs.
    pub labels: Vec<u32>,
}

/// Data sets in memory, each read once however many jobs ask for it.
#[derive(Debug, Default)]
pub struct DatasetCache {
    datasets: DataDirectories,
    loaded: Mutex<HashMap<Dataset, Arc<LoadedDataset>>>,
}

impl DatasetCache {
    /// An empty cache of what is found in `datasets`.
    pub fn new(datasets: DataDirectories) -> Self {
        DatasetCache { datasets, loaded: Mutex::default() }
    }

    /// A cache that holds `data` as the data set.
    #[cfg(test)]
    pub(crate) fn holding(dataset: Dataset, data: LoadedDataset) -> Self {
        DatasetCache {
            datasets: DataDirectories::default(),
            loaded: Mutex::new(HashMap::from([(dataset, Arc::new(data))])),
        }
    }

    /// Where data sets are looked for.
    pub fn datasets(&self) -> &DataDirectories {
        &self.datasets
    }

    /// The data set, read if it has not been.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn get(&self, dataset: &Dataset) -> Result<Arc<LoadedDataset>, DataError> {
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

fn load(dataset: &Dataset, datasets: &DataDirectories) -> Result<LoadedDataset, DataError> {
    match dataset {
        Dataset::FashionMnist => fashion_mnist::from_disk(datasets),
        Dataset::FashionMnist10k => fashion_mnist::from_binary(),
        Dataset::FashionMnistBags => fashion_mnist::bags(datasets),
        Dataset::Cifar10 => cifar::ten(datasets),
        Dataset::Cifar100 => cifar::hundred(datasets),
        Dataset::Cifar10OpenSet => cifar::open_set(datasets),
        Dataset::Mr => mr::from_disk(datasets),
        Dataset::DogsVsCats { .. } => dogs_vs_cats::from_disk(datasets, dataset),
        Dataset::Clothing1M { .. } => clothing1m::from_disk(datasets, dataset),
        Dataset::Folder(folder) => folder::from_disk(datasets, folder),
    }
}
