//! Data sets, and what a job makes of one: given labels, splits and the inputs of the network.
//!
//! - `error`, `directories`, `decode`, `sample_set`, `image_list`, `loaded_dataset`: the ground for all readers.
//! - `idx`, `pickle`: file formats. `fashion_mnist`, `cifar`, `mr`, `dogs_vs_cats`, `clothing1m`, `folder`: one reader for each data set.
//! - `cache`: loads a data set once.
//! - `labels`, with `label_file`, `split` and `shuffle`: the given labels after noise, and which samples are held out.
//!   `validation_samples`: the samples that a job validates on.
//! - `input_pipeline`: normalisation and augmentation. `prefetch`: makes batches ahead of the training loop.

mod cache;
mod cifar;
mod clothing1m;
mod decode;
mod directories;
mod dogs_vs_cats;
mod error;
mod fashion_mnist;
mod folder;
mod idx;
pub(crate) mod image_list;
mod input_pipeline;
mod label_file;
mod labels;
mod loaded_dataset;
mod mr;
mod pickle;
pub(crate) mod prefetch;
mod sample_set;
mod shuffle;
mod split;
mod validation_samples;

pub use cache::DatasetCache;
pub use directories::DataDirectories;
pub(crate) use directories::searched;
pub use error::DataError;
pub(crate) use error::{is_transient, read_failure};
pub use fashion_mnist::DEBIAN;
pub(crate) use input_pipeline::InputPipeline;
pub(crate) use labels::Labels;
pub use loaded_dataset::LoadedDataset;
pub use sample_set::{ImageFiles, SampleSet, SampleValues};
pub(crate) use shuffle::shuffle;
pub(crate) use validation_samples::ValidationSamples;
