//! Reads IDX files, as MNIST's authors defined them: a magic number (2051 for images, 2049 for labels), the extents, then the bytes. All
//! numbers are big-endian. A file may be compressed with gzip, whatever its name.

use super::error::DataError;
use super::sample_set::SampleSet;
use flate2::bufread::MultiGzDecoder;
use plusminus_core::methods::dataset::ImageShape;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;

/// A file on disk or in the binary.
pub(super) struct IdxSource {
    /// The path on disk, or the name for error messages.
    path: PathBuf,
    /// The bytes of a file in the binary.
    embedded: Option<&'static [u8]>,
}

/// A file whose header has been read and has the expected kind.
struct IdxReader<'a> {
    source: &'a IdxSource,
    /// The bytes after the header, uncompressed.
    values: Box<dyn Read>,
    compressed: bool,
    extents: Vec<u32>,
}

impl IdxSource {
    /// A file on disk.
    pub fn file(path: PathBuf) -> Self {
        IdxSource { path, embedded: None }
    }

    /// A file in the binary.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        IdxSource { path: name.into(), embedded: Some(bytes) }
    }

    /// Reads the header, which must have this magic number and that many extents.
    fn open(&self, kind: &'static str, magic: u32, extents: usize) -> Result<IdxReader<'_>, DataError> {
        let path = || self.path.clone();
        let refused = |source| DataError::Read { path: path(), source };
        let mut bytes: Box<dyn BufRead> = match self.embedded {
            Some(bytes) => Box::new(bytes),
            None => Box::new(BufReader::new(File::open(&self.path).map_err(refused)?)),
        };
        let compressed = bytes.fill_buf().map_err(refused)?.starts_with(&GZIP);
        let values: Box<dyn Read> = if compressed { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        let mut opened = IdxReader { source: self, values, compressed, extents: Vec::new() };
        let header = 4 * (1 + extents);
        let head = opened.read_up_to(header)?;
        let mut numbers = head.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
        if let Some(found) = numbers.next()
            && found != magic
        {
            return Err(DataError::Magic { path: path(), kind, expected: magic, found });
        }
        if head.len() != header {
            return Err(DataError::Truncated { path: path(), expected: header as u64, found: head.len() as u64 });
        }
        opened.extents = numbers.collect();
        Ok(opened)
    }
}

impl IdxReader<'_> {
    /// Reads the next `limit` bytes, or fewer at the file's end.
    fn read_up_to(&mut self, limit: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::with_capacity(limit);
        self.values.by_ref().take(limit as u64).read_to_end(&mut bytes).map_err(|error| self.broken(error))?;
        Ok(bytes)
    }

    /// Reads all values of a file with the `expected` extents. The extents are checked before, and at most one extra byte is read, so no
    /// file takes more memory than the data set.
    fn values(mut self, expected: &[usize]) -> Result<Vec<u8>, DataError> {
        let path = self.source.path.clone();
        if self.extents.iter().zip(expected).any(|(found, expected)| *found as usize != *expected) {
            let times = |extents: Vec<String>| extents.join(" × ");
            let expected = times(expected.iter().map(usize::to_string).collect());
            let found = times(self.extents.iter().map(u32::to_string).collect());
            let [expected, found] = [expected, found].map(|extents| format!("the extents {extents}"));
            return Err(DataError::Extents { path, expected, found });
        }
        let (header, size) = (4 * (1 + expected.len()) as u64, expected.iter().product::<usize>());
        let total = header + size as u64;
        let values = self.read_up_to(size + 1)?;
        match values.len() {
            found if found < size => Err(DataError::Truncated { path, expected: total, found: header + found as u64 }),
            found if found > size => Err(DataError::Trailing { path, expected: total }),
            _ => Ok(values),
        }
    }

    fn broken(&self, source: io::Error) -> DataError {
        let path = self.source.path.clone();
        if self.compressed { DataError::Gzip { path, source } } else { DataError::Read { path, source } }
    }
}

/// Reads a pair of files: `samples` grey images of this shape, and their labels, which must be below `classes`.
pub(super) fn read(
    images: &IdxSource,
    labels: &IdxSource,
    samples: usize,
    shape: ImageShape,
    classes: usize,
) -> Result<SampleSet, DataError> {
    let (opened_images, opened_labels) = (images.open("images", IMAGES, 3)?, labels.open("labels", LABELS, 1)?);
    let (a, b) = (opened_images.extents[0] as usize, opened_labels.extents[0] as usize);
    // If one file is right, a mismatch is the better message than a wrong file.
    if a != b && (a == samples || b == samples) {
        let (images_path, labels_path) = (images.path.clone(), labels.path.clone());
        return Err(DataError::Mismatch { images_path, images: a, labels_path, labels: b });
    }
    let pixels = opened_images.values(&[samples, shape.height, shape.width])?;
    let values = opened_labels.values(&[samples])?;
    if let Some((index, label)) = values.iter().copied().enumerate().find(|(_, label)| usize::from(*label) >= classes) {
        return Err(DataError::Label { path: labels.path.clone(), index, label, classes });
    }
    Ok(SampleSet::new(shape, pixels, values.into_iter().map(u32::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 3 };

    fn file(magic: u32, extents: &[u32], values: &[u8]) -> Vec<u8> {
        let numbers = std::iter::once(&magic).chain(extents);
        numbers.flat_map(|n| n.to_be_bytes()).chain(values.iter().copied()).collect()
    }

    fn images() -> Vec<u8> {
        file(IMAGES, &[2, 2, 3], &(0..12).collect::<Vec<u8>>())
    }

    fn labels() -> Vec<u8> {
        file(LABELS, &[2], &[1, 0])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_pair(images: Vec<u8>, labels: Vec<u8>) -> Result<SampleSet, DataError> {
        let source = |name: &str, bytes: Vec<u8>| IdxSource::embedded(name, bytes.leak());
        read(&source("pictures", images), &source("names", labels), 2, SHAPE, 2)
    }

    #[test]
    fn plain_and_compressed_files_are_read() {
        let expected = SampleSet::new(SHAPE, (0..12).collect(), vec![1, 0]);
        assert_eq!(read_pair(images(), labels()).unwrap(), expected);
        assert_eq!(read_pair(gzip(&images()), labels()).unwrap(), expected);
        assert_eq!(expected.image(1), [6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn another_magic_number_is_an_error() {
        let error = read_pair(labels(), labels()).unwrap_err();
        assert!(matches!(error, DataError::Magic { expected: 2051, found: 2049, .. }), "{error}");
        assert!(error.to_string().contains("pictures"));
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        for file in [images(), gzip(&images())] {
            for end in 0..file.len() {
                let error = read_pair(file[..end].to_vec(), labels()).unwrap_err();
                let expected =
                    matches!(error, DataError::Truncated { .. } | DataError::Gzip { .. } | DataError::Magic { .. });
                assert!(expected, "{end}: {error}");
            }
        }
        let cut = images()[..20].to_vec();
        assert!(matches!(read_pair(cut, labels()).unwrap_err(), DataError::Truncated { expected: 28, found: 20, .. }));
    }

    #[test]
    fn a_damaged_compressed_file_is_an_error() {
        let mut file = gzip(&images());
        let middle = file.len() / 2;
        file[middle] ^= 0x55;
        assert!(read_pair(file, labels()).is_err());
    }

    #[test]
    fn extra_bytes_are_an_error() {
        for wrap in [|bytes: &[u8]| bytes.to_vec(), |bytes: &[u8]| gzip(bytes)] {
            let mut longer = labels();
            longer.push(0);
            let error = read_pair(images(), wrap(&longer)).unwrap_err();
            assert!(matches!(error, DataError::Trailing { expected: 10, .. }), "{error}");
        }
    }

    #[test]
    fn a_huge_file_is_not_read_into_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pictures");
        std::fs::write(&path, images()).unwrap();
        let pair = || read(&IdxSource::file(path.clone()), &IdxSource::embedded("names", labels().leak()), 2, SHAPE, 2);
        assert_eq!(pair().unwrap().bytes(), (0..12).collect::<Vec<u8>>());
        // A sparse file, far larger than the memory.
        File::options().append(true).open(&path).and_then(|file| file.set_len(1 << 40)).unwrap();
        assert!(matches!(pair().unwrap_err(), DataError::Trailing { expected: 28, .. }));
    }

    #[test]
    fn a_missing_file_is_a_read_error() {
        let nowhere = IdxSource::file("nowhere/pictures".into());
        let error = read(&nowhere, &IdxSource::embedded("names", labels().leak()), 2, SHAPE, 2).unwrap_err();
        assert!(matches!(error, DataError::Read { .. }) && error.to_string().contains("nowhere/pictures"), "{error}");
    }

    #[test]
    fn a_web_page_in_place_of_a_file_has_a_wrong_magic_number() {
        let page = || b"<!DOCTYPE html><title>Not found</title>".to_vec();
        let found = u32::from_be_bytes(*b"<!DO");
        for (pair, name) in [(read_pair(page(), labels()), "pictures"), (read_pair(images(), page()), "names")] {
            let error = pair.unwrap_err();
            assert!(matches!(error, DataError::Magic { found: magic, .. } if magic == found), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn wrong_extents_are_an_error_before_values_are_read() {
        let huge = file(IMAGES, &[2, u32::MAX, u32::MAX], &[]);
        assert!(matches!(read_pair(huge, labels()).unwrap_err(), DataError::Extents { .. }));
    }

    #[test]
    fn different_numbers_of_images_and_labels_are_a_mismatch() {
        let error = read_pair(images(), file(LABELS, &[3], &[0, 1, 0])).unwrap_err();
        assert!(matches!(error, DataError::Mismatch { images: 2, labels: 3, .. }), "{error}");
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error() {
        let error = read_pair(images(), file(LABELS, &[2], &[1, 2])).unwrap_err();
        assert!(matches!(error, DataError::Label { index: 1, label: 2, classes: 2, .. }), "{error}");
    }
}
