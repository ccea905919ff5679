//! IDX files, as MNIST's authors defined them: a magic number (2051 images, 2049 labels), the extents, the bytes; all numbers
//! big-endian; plain or compressed with gzip, told apart by content rather than name.

use super::error::DataError;
use super::{ImageShape, Images};
use flate2::bufread::MultiGzDecoder;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;

/// The bytes of a file and where they are from.
pub(super) struct Source {
    /// For messages.
    pub path: PathBuf,
    bytes: std::borrow::Cow<'static, [u8]>,
}

impl Source {
    /// A file on disk.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        Ok(Source { path: path.to_owned(), bytes: bytes.into() })
    }

    /// A file in the binary.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Source { path: name.into(), bytes: bytes.into() }
    }

    /// Reads a file with this magic number whose extents are `expected`, and nothing before or after.
    fn read(&self, kind: &'static str, magic: u32, expected: &[usize]) -> Result<Vec<u8>, DataError> {
        let path = || self.path.clone();
        let compressed = self.bytes.starts_with(&GZIP);
        let mut plain: Box<dyn Read> =
            if compressed { Box::new(MultiGzDecoder::new(&*self.bytes)) } else { Box::new(&*self.bytes) };
        let header = 4 * (1 + expected.len()) as u64;
        // The extents are checked before the values are read, so no header can ask for more memory than the data set needs.
        let mut head = Vec::new();
        let take = |from: &mut Box<dyn Read>, into: &mut Vec<u8>, limit: u64| {
            from.take(limit).read_to_end(into).map(|_| ()).map_err(|error| self.broken(error))
        };
        take(&mut plain, &mut head, header)?;
        let numbers: Vec<u32> = head.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
        if let Some(found) = numbers.first().copied()
            && found != magic
        {
            return Err(DataError::Magic { path: path(), kind, expected: magic, found });
        }
        if head.len() as u64 != header {
            return Err(DataError::Truncated { path: path(), expected: header, found: head.len() as u64 });
        }
        if numbers[1..].iter().zip(expected).any(|(found, expected)| *found as usize != *expected) {
            let times = |extents: &[String]| extents.join(" × ");
            let expected = times(&expected.iter().map(usize::to_string).collect::<Vec<_>>());
            let found = times(&numbers[1..].iter().map(u32::to_string).collect::<Vec<_>>());
            return Err(DataError::Extents { path: path(), expected, found });
        }
        let size = expected.iter().product::<usize>();
        let mut values = Vec::with_capacity(size + 1);
        take(&mut plain, &mut values, size as u64 + 1)?;
        let total = header + size as u64;
        match values.len() {
            found if found < size => {
                Err(DataError::Truncated { path: path(), expected: total, found: header + found as u64 })
            }
            found if found > size => Err(DataError::Trailing { path: path(), expected: total }),
            _ => Ok(values),
        }
    }

    fn broken(&self, source: io::Error) -> DataError {
        DataError::Gzip { path: self.path.clone(), source }
    }
}

/// How many things a file's header says it holds, where it can be read: for the message about two that disagree.
fn count(source: &Source) -> Option<usize> {
    let mut head = [0; 8];
    if source.bytes.starts_with(&GZIP) {
        MultiGzDecoder::new(&*source.bytes).read_exact(&mut head).ok()?;
    } else {
        (&*source.bytes).read_exact(&mut head).ok()?;
    }
    let [.., a, b, c, d] = head;
    Some(u32::from_be_bytes([a, b, c, d]) as usize)
}

/// A pair of files: `samples` grey images of this extent, and their labels below `classes`.
pub(super) fn read(
    images: &Source,
    labels: &Source,
    samples: usize,
    shape: ImageShape,
    classes: usize,
) -> Result<Images, DataError> {
    if let (Some(a), Some(b)) = (count(images), count(labels))
        && a != b
        && (a == samples || b == samples)
    {
        let (images_path, labels_path) = (images.path.clone(), labels.path.clone());
        return Err(DataError::Mismatch { images_path, images: a, labels_path, labels: b });
    }
    let pixels = images.read("images", IMAGES, &[samples, shape.height, shape.width])?;
    let values = labels.read("labels", LABELS, &[samples])?;
    if let Some((index, label)) = values.iter().copied().enumerate().find(|(_, label)| usize::from(*label) >= classes) {
        return Err(DataError::Label { path: labels.path.clone(), index, label, classes });
    }
    Ok(Images { shape, pixels, labels: values.into_iter().map(u32::from).collect() })
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

    fn read_pair(images: Vec<u8>, labels: Vec<u8>) -> Result<Images, DataError> {
        let source = |name: &str, bytes: Vec<u8>| Source { path: name.into(), bytes: bytes.into() };
        read(&source("pictures", images), &source("names", labels), 2, SHAPE, 2)
    }

    #[test]
    fn a_pair_is_read_plain_and_compressed() {
        let expected = Images { shape: SHAPE, pixels: (0..12).collect(), labels: vec![1, 0] };
        assert_eq!(read_pair(images(), labels()).unwrap(), expected);
        assert_eq!(read_pair(gzip(&images()), labels()).unwrap(), expected);
        assert_eq!(expected.image(1), [6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn another_magic_number_is_named() {
        let error = read_pair(labels(), labels()).unwrap_err();
        assert!(matches!(error, DataError::Magic { expected: 2051, found: 2049, .. }), "{error}");
        assert!(error.to_string().contains("pictures"));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for file in [images(), gzip(&images())] {
            for end in 0..file.len() {
                let error = read_pair(file[..end].to_vec(), labels()).unwrap_err();
                let says_so =
                    matches!(error, DataError::Truncated { .. } | DataError::Gzip { .. } | DataError::Magic { .. });
                assert!(says_so, "{end}: {error}");
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
    fn bytes_after_the_end_are_an_error() {
        for wrap in [|bytes: &[u8]| bytes.to_vec(), |bytes: &[u8]| gzip(bytes)] {
            let mut longer = labels();
            longer.push(0);
            let error = read_pair(images(), wrap(&longer)).unwrap_err();
            assert!(matches!(error, DataError::Trailing { expected: 10, .. }), "{error}");
        }
    }

    #[test]
    fn a_header_that_disagrees_with_the_data_set_is_an_error_before_its_values_are_read() {
        let huge = file(IMAGES, &[2, u32::MAX, u32::MAX], &[]);
        assert!(matches!(read_pair(huge, labels()).unwrap_err(), DataError::Extents { .. }));
    }

    #[test]
    fn images_and_labels_of_different_number_are_set_side_by_side() {
        let error = read_pair(images(), file(LABELS, &[3], &[0, 1, 0])).unwrap_err();
        assert!(matches!(error, DataError::Mismatch { images: 2, labels: 3, .. }), "{error}");
    }

    #[test]
    fn a_label_without_a_class_is_an_error() {
        let error = read_pair(images(), file(LABELS, &[2], &[1, 2])).unwrap_err();
        assert!(matches!(error, DataError::Label { index: 1, label: 2, classes: 2, .. }), "{error}");
    }
}
