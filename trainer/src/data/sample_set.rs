//! Samples with their labels, as a data set's files contain them.

use super::decode;
use super::error::DataError;
use blake3::Hasher;
use plusminus_core::methods::dataset::ImageShape;
use std::path::PathBuf;

/// Samples of one shape, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSet {
    /// The shape of every sample.
    pub shape: ImageShape,
    /// The values of all samples.
    pub values: SampleValues,
    /// The label of each sample; [`NO_CLASS`](plusminus_core::methods::noise::NO_CLASS) for an image of no class.
    pub labels: Vec<u32>,
    /// The number of images of no class. They are the last ones, and only open-set noise uses them.
    pub foreign: usize,
}

/// The values of samples, one sample after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleValues {
    /// Pixels: channels × height × width for each sample.
    Bytes(Vec<u8>),
    /// Numbers of words.
    Tokens(Vec<u32>),
    /// Files that are decoded when they are used, because the pixels do not fit in memory.
    Files(ImageFiles),
}

/// Image files, one for each sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    /// The directory of the files.
    pub root: PathBuf,
    /// The path of each file relative to `root`, and its size in bytes.
    pub files: Vec<(Box<str>, u64)>,
}

impl ImageFiles {
    /// The path of a sample's file.
    pub fn path(&self, sample: usize) -> PathBuf {
        self.root.join(&*self.files[sample].0)
    }
}

impl SampleSet {
    /// Images in memory that all have a class.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        SampleSet { shape, values: SampleValues::Bytes(pixels), labels, foreign: 0 }
    }

    /// The number of samples, those of no class included.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of samples with a class.
    pub fn with_class(&self) -> usize {
        self.len().saturating_sub(self.foreign)
    }

    /// Calls `visit` with the pixels of each of these samples, in their order. It does nothing for tokens.
    ///
    /// # Errors
    /// The first file, in the order of the samples, that cannot be read or decoded. Later samples are not visited.
    pub(crate) fn for_each_image(&self, samples: &[usize], mut visit: impl FnMut(&[u8])) -> Result<(), DataError> {
        /// The number of images that are decoded at once. It bounds their memory.
        const DECODED: usize = 64;
        let length = self.shape.len();
        match &self.values {
            SampleValues::Bytes(pixels) => {
                samples.iter().for_each(|sample| visit(&pixels[sample * length..][..length]))
            }
            SampleValues::Tokens(_) => {}
            SampleValues::Files(files) => {
                for samples in samples.chunks(DECODED) {
                    let mut pixels = vec![0; samples.len() * length];
                    decode::all(samples.len(), |i| files.path(samples[i]), self.shape, &mut pixels)?;
                    pixels.chunks_exact(length).for_each(&mut visit);
                }
            }
        }
        Ok(())
    }

    /// Hashes number, values and labels of the samples. The number makes it visible when a sample moves from one part to another.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        hasher.update(&(self.len() as u64).to_le_bytes());
        match &self.values {
            SampleValues::Bytes(pixels) => _ = hasher.update(pixels),
            SampleValues::Tokens(tokens) => hash_numbers(hasher, tokens),
            // Reading the content would take as long as an epoch, so names and sizes stand for it.
            SampleValues::Files(files) => {
                for (path, size) in &files.files {
                    hasher
                        .update(&(path.len() as u64).to_le_bytes())
                        .update(path.as_bytes())
                        .update(&size.to_le_bytes());
                }
            }
        }
        hash_numbers(hasher, &self.labels);
    }
}

fn hash_numbers(hasher: &mut Hasher, values: &[u32]) {
    for part in values.chunks(1 << 16) {
        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

#[cfg(test)]
impl SampleSet {
    /// All pixels. Panics if they are not in memory.
    pub fn bytes(&self) -> &[u8] {
        match &self.values {
            SampleValues::Bytes(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// The pixels of one image.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.bytes()[index * self.shape.len()..][..self.shape.len()]
    }
}
