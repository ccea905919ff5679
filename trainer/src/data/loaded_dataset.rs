//! A data set that has been read and checked.

use super::sample_set::SampleSet;

/// A data set with its parts. Pixels are in memory, or in files that are decoded when they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDataset {
    /// The training file. Random and last splits hold validation samples out of it.
    pub train: SampleSet,
    /// The data set's own validation samples, which `split: official` selects; `None` for most data sets.
    pub validation: Option<SampleSet>,
    /// The test file.
    pub test: SampleSet,
    /// BLAKE3 of the samples and labels of all parts, in hexadecimal. Results are comparable if it is equal. For images that are
    /// decoded when they are used, names and sizes of the files stand for their content.
    pub digest: String,
}

impl LoadedDataset {
    /// A data set without validation samples of its own.
    pub fn new(train: SampleSet, test: SampleSet) -> Self {
        LoadedDataset::with_validation(train, None, test)
    }

    /// A data set that may have validation samples of its own.
    pub fn with_validation(train: SampleSet, validation: Option<SampleSet>, test: SampleSet) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [Some(&train), Some(&test), validation.as_ref()].into_iter().flatten() {
            part.hash(&mut hasher);
        }
        LoadedDataset { digest: hasher.finalize().to_hex().to_string(), train, validation, test }
    }
}
