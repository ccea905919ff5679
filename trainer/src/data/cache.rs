//! Loads each data set once.

use super::directories::DataDirectories;
use super::error::DataError;
use super::loaded_dataset::LoadedDataset;
use super::{cifar, clothing1m, dogs_vs_cats, fashion_mnist, folder, mr};
use plusminus_core::methods::dataset::Dataset;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Data sets in memory. Each is read once, for all jobs of the process.
#[derive(Debug, Default)]
pub struct DatasetCache {
    directories: DataDirectories,
    loaded: Mutex<HashMap<Dataset, Arc<LoadedDataset>>>,
}

impl DatasetCache {
    /// An empty cache that reads from `directories`.
    pub fn new(directories: DataDirectories) -> Self {
        DatasetCache { directories, loaded: Mutex::default() }
    }

    /// A cache that contains `data` as `dataset`.
    #[cfg(test)]
    pub(crate) fn holding(dataset: Dataset, data: LoadedDataset) -> Self {
        let loaded = Mutex::new(HashMap::from([(dataset, Arc::new(data))]));
        DatasetCache { directories: DataDirectories::default(), loaded }
    }

    /// The directories in which data sets are looked for.
    pub fn directories(&self) -> &DataDirectories {
        &self.directories
    }

    /// Returns the data set, after reading it at the first call.
    ///
    /// # Errors
    /// The data set's files are missing, cannot be read, or do not belong to it.
    pub fn get(&self, dataset: &Dataset) -> Result<Arc<LoadedDataset>, DataError> {
        // Locked while reading, so that two jobs do not read the same files. A panic leaves the map valid, because insertion comes last.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(data) = loaded.get(dataset) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(load(dataset, &self.directories)?);
        loaded.insert(dataset.clone(), Arc::clone(&data));
        Ok(data)
    }
}

/// Reads a data set from disk or from the binary.
fn load(dataset: &Dataset, directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    match dataset {
        Dataset::FashionMnist => fashion_mnist::from_disk(directories),
        Dataset::FashionMnist10k => fashion_mnist::from_binary(),
        Dataset::FashionMnistBags => fashion_mnist::bags(directories),
        Dataset::Cifar10 => cifar::ten(directories),
        Dataset::Cifar100 => cifar::hundred(directories),
        Dataset::Cifar10OpenSet => cifar::open_set(directories),
        Dataset::Mr => mr::from_disk(directories),
        Dataset::DogsVsCats { .. } => dogs_vs_cats::from_disk(directories, dataset),
        Dataset::Clothing1M { .. } => clothing1m::from_disk(directories, dataset),
        Dataset::Folder(folder) => folder::from_disk(directories, folder),
    }
}
