//! Samples with their labels, as a data set's files have them.

use super::ImageShape;
use super::decode;
use super::error::DataError;
use blake3::Hasher;
use std::path::PathBuf;

/// Samples with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSet {
    /// Extent of every sample.
    pub shape: ImageShape,
    /// What the samples hold.
    pub values: SampleValues,
    /// A label a sample, [`NO_CLASS`](plusminus_core::methods::noise::NO_CLASS) for an image of no class.
    pub labels: Vec<u32>,
    /// How many of the last images belong to no class of the data set: only open-set noise takes them.
    pub foreign: usize,
}

/// What samples hold, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleValues {
    /// Pixels, each sample channels × height × width.
    Bytes(Vec<u8>),
    /// Numbers of tokens.
    Tokens(Vec<u32>),
    /// Files that are decoded whenever they are asked for: too many for memory.
    Files(ImageFiles),
}

/// Image files, one a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    /// The directory that they are in.
    pub root: PathBuf,
    /// Each file's path from there, and its size in bytes.
    pub files: Vec<(Box<str>, u64)>,
}

impl ImageFiles {
    /// Where the file of a sample is.
    pub fn path(&self, sample: usize) -> PathBuf {
        self.root.join(&*self.files[sample].0)
    }
}

impl SampleSet {
    /// Images in memory that all belong to classes of the data set.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        SampleSet { shape, values: SampleValues::Bytes(pixels), labels, foreign: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many belong to a class of the data set.
    pub fn samples(&self) -> usize {
        self.len().saturating_sub(self.foreign)
    }

    /// Shows `visit` the pixels of these samples, in their order. Tokens are no pixels, and nothing is shown.
    ///
    /// # Errors
    /// The first file, in their order, that cannot be read; what comes after it is not shown.
    pub(crate) fn each_image(&self, samples: &[usize], mut visit: impl FnMut(&[u8])) -> Result<(), DataError> {
        /// Images that are decoded together, which bounds what memory they take.
        const TOGETHER: usize = 64;
        let length = self.shape.len();
        match &self.values {
            SampleValues::Bytes(pixels) => {
                samples.iter().for_each(|sample| visit(&pixels[sample * length..][..length]))
            }
            SampleValues::Tokens(_) => {}
            SampleValues::Files(files) => {
                for samples in samples.chunks(TOGETHER) {
                    let mut pixels = vec![0; samples.len() * length];
                    decode::all(samples.len(), |i| files.path(samples[i]), self.shape, &mut pixels)?;
                    pixels.chunks_exact(length).for_each(&mut visit);
                }
            }
        }
        Ok(())
    }

    /// Takes in how many there are, so that no sample can move from one file to another unseen, what they hold and their labels.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        hasher.update(&(self.len() as u64).to_le_bytes());
        match &self.values {
            SampleValues::Bytes(pixels) => _ = hasher.update(pixels),
            SampleValues::Tokens(tokens) => update(hasher, tokens),
            // What they hold would take as long to read as an epoch: that they have their names and sizes has to be enough.
            SampleValues::Files(files) => {
                for (path, size) in &files.files {
                    hasher
                        .update(&(path.len() as u64).to_le_bytes())
                        .update(path.as_bytes())
                        .update(&size.to_le_bytes());
                }
            }
        }
        update(hasher, &self.labels);
    }
}

fn update(hasher: &mut Hasher, values: &[u32]) {
    for part in values.chunks(1 << 16) {
        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

#[cfg(test)]
impl SampleSet {
    /// The pixels in memory.
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
