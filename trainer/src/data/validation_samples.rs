//! The samples that a job validates on.

use super::labels::Labels;
use super::loaded_dataset::LoadedDataset;
use super::sample_set::SampleSet;
use plusminus_core::methods::split::Split;

/// The samples that a job validates on: held out of the training file, or the data set's own.
#[derive(Clone, Debug)]
pub(crate) struct ValidationSamples<'a> {
    /// The set that contains the samples.
    pub sample_set: &'a SampleSet,
    /// Their positions in the set, ascending.
    pub samples: Vec<usize>,
    /// The label of each sample: the given label of a held-out sample, the true label of the data set's own.
    pub labels: Vec<u32>,
}

impl<'a> ValidationSamples<'a> {
    /// The validation samples of a job with these labels.
    ///
    /// # Errors
    /// `split: official` for a data set without validation samples of its own.
    pub fn of(data: &'a LoadedDataset, labels: &Labels, split: Split) -> Result<Self, String> {
        match (split, &data.validation) {
            (Split::Official, Some(own)) => {
                let samples = (0..own.len()).collect();
                Ok(ValidationSamples { sample_set: own, samples, labels: own.labels.clone() })
            }
            (Split::Official, None) => {
                Err("`split: official` needs a data set with validation samples of its own: use `random` or `last`"
                    .to_owned())
            }
            (Split::Random | Split::Last, _) => {
                let given = labels.validation.iter().map(|sample| labels.given[*sample]).collect();
                Ok(ValidationSamples { sample_set: &data.train, samples: labels.validation.clone(), labels: given })
            }
        }
    }
}
