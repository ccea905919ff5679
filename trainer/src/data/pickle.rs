//! Batches of images as Python's `pickle` saved them: a map with `data`, an array of a row of bytes an image, and `labels`
//! (in CIFAR-100 `fine_labels`).
//!
//! No class is made and no function called: of a numpy array what its `__reduce__` left is read, which is its extents, the order of
//! its values and their bytes. CIFAR's files were written by Python 2 (protocol 2, where text is bytes); what later versions write
//! of the same map is read as well.

use super::error::DataError;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, Visitor};
use serde_pickle::DeOptions;
use std::fmt;
use std::fs::File;
use std::path::Path;

/// A batch of images.
pub(super) struct CifarBatch {
    /// An image after the other.
    pub pixels: Vec<u8>,
    /// A label an image, whatever it is.
    pub labels: Vec<u8>,
}

/// The map in the file. What else is in it (`filenames`, `batch_label`, `coarse_labels`) is not used.
#[derive(Deserialize)]
struct PickledBatch {
    data: Array,
    #[serde(alias = "fine_labels")]
    labels: Vec<u8>,
}

/// The state of a numpy array: a version, rows and columns, the type, whether columns come one after another, the values.
#[derive(Deserialize)]
struct Array(IgnoredAny, (usize, usize), IgnoredAny, bool, Bytes);

struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

/// The file's batch, which must be of `samples` images of `values` bytes each.
pub(super) fn read(path: &Path, samples: usize, values: usize) -> Result<CifarBatch, DataError> {
    let refused = |source| DataError::Read { path: path.to_owned(), source };
    let wrong = |expected, found| Err(DataError::Extents { path: path.to_owned(), expected, found });
    let file = File::open(path).map_err(refused)?;
    // A pixel is two bytes at most (later versions write such files as text), a label and a file's name far less than a thousand
    // together: a file that is larger is something else, and is not taken into memory.
    let (limit, size) = ((2 * values + 1_000) * samples + 1_000, file.metadata().map_err(refused)?.len());
    if size > limit as u64 {
        return wrong(format!("at most {limit} bytes"), format!("{size}"));
    }
    let options = DeOptions::new().replace_unresolved_globals();
    let PickledBatch { data: Array(_, (rows, columns), _, by_column, Bytes(bytes)), labels } =
        serde_pickle::from_reader(file, options)
            .map_err(|source| DataError::Pickle { path: path.to_owned(), source: Box::new(source) })?;
    if (rows, columns, labels.len()) != (samples, values, samples) {
        let extents = |rows, columns, labels| format!("{rows} × {columns} values and {labels} labels");
        return wrong(extents(samples, values, samples), extents(rows, columns, labels.len()));
    }
    if bytes.len() != samples * values {
        return wrong(format!("values of 1 byte, {} in all", samples * values), format!("{} bytes", bytes.len()));
    }
    let pixels = if by_column {
        (0..samples).flat_map(|row| bytes[row..].iter().step_by(samples).copied()).collect()
    } else {
        bytes
    };
    Ok(CifarBatch { pixels, labels })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Opcodes of protocol 2, of which Python 2 makes a short and a long string.
    pub fn short(text: &str) -> Vec<u8> {
        [&[b'U', text.len() as u8], text.as_bytes()].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&b"T"[..], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
    }

    fn number(value: usize) -> Vec<u8> {
        [&b"M"[..], &(value as u16).to_le_bytes()[..]].concat()
    }

    /// What Python 2 writes of `{'batch_label': …, 'labels': […], 'data': numpy.array(…, dtype=numpy.uint8), 'filenames': […]}`,
    /// with the labels under `key`.
    pub fn saved(key: &str, labels: &[u8], columns: usize, pixels: &[u8], by_column: bool) -> Vec<u8> {
        let list = |items: Vec<Vec<u8>>| [b"](".to_vec(), items.concat(), b"e".to_vec()].concat();
        [
            b"\x80\x02}q\x01(".to_vec(),
            short("batch_label"),
            short("training batch 1 of 5"),
            short(key),
            list(labels.iter().map(|label| vec![b'K', *label]).collect()),
            short("data"),
            b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85".to_vec(),
            short("b"),
            b"\x87Rq\x04(K\x01".to_vec(),
            number(labels.len()),
            number(columns),
            b"\x86cnumpy\ndtype\nq\x05".to_vec(),
            short("u1"),
            b"K\x00K\x01\x87Rq\x06(K\x03".to_vec(),
            short("|"),
            b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb".to_vec(),
            vec![if by_column { 0x88 } else { 0x89 }],
            long(pixels),
            b"tb".to_vec(),
            short("coarse_labels"),
            list(labels.iter().map(|_| vec![b'K', 19]).collect()),
            short("filenames"),
            list(labels.iter().map(|_| short("picture.png")).collect()),
            b"u.".to_vec(),
        ]
        .concat()
    }

    fn read_bytes(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        read(file.path(), 2, 3).map(|batch| (batch.labels, batch.pixels))
    }

    #[test]
    fn an_array_of_rows_and_one_of_columns_are_the_same_images() {
        let images = (vec![7, 1], vec![1, 2, 3, 4, 5, 255]);
        assert_eq!(read_bytes(&saved("labels", &[7, 1], 3, &[1, 2, 3, 4, 5, 255], false)).unwrap(), images);
        assert_eq!(read_bytes(&saved("labels", &[7, 1], 3, &[1, 4, 2, 5, 3, 255], true)).unwrap(), images);
    }

    /// `pickle.dumps({b'labels': [7, 1], b'data': numpy.array([[1, 2, 3], [4, 5, 255]], numpy.uint8)}, protocol=2)`
    #[test]
    fn what_python_3_writes_is_read_as_well() {
        let bytes = b"\x80\x02}q\x00(c_codecs\nencode\nq\x01X\x06\0\0\0labelsq\x02X\x06\0\0\0latin1q\x03\x86q\x04Rq\x05]q\x06\
            (K\x07K\x01eh\x01X\x04\0\0\0dataq\x07h\x03\x86q\x08Rq\tcnumpy._core.multiarray\n_reconstruct\nq\ncnumpy\nndarray\n\
            q\x0bK\0\x85q\x0ch\x01X\x01\0\0\0bq\rh\x03\x86q\x0eRq\x0f\x87q\x10Rq\x11(K\x01K\x02K\x03\x86q\x12cnumpy\ndtype\n\
            q\x13X\x02\0\0\0u1q\x14\x89\x88\x87q\x15Rq\x16(K\x03X\x01\0\0\0|q\x17NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\x18\
            b\x89h\x01X\x07\0\0\0\x01\x02\x03\x04\x05\xc3\xbfq\x19h\x03\x86q\x1aRq\x1btq\x1cbu.";
        assert_eq!(read_bytes(bytes).unwrap(), (vec![7, 1], vec![1, 2, 3, 4, 5, 255]));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let file = saved("labels", &[7, 1], 3, &[1, 2, 3, 4, 5, 6], false);
        for end in 0..file.len() {
            let error = read_bytes(&file[..end]).unwrap_err();
            assert!(matches!(error, DataError::Pickle { .. }), "{end}: {error}");
        }
        assert!(matches!(read_bytes(&[&file[..], b"."].concat()).unwrap_err(), DataError::Pickle { .. }));
    }

    #[test]
    fn another_number_of_images_values_labels_or_bytes_is_an_error() {
        let told = |bytes: &[u8]| match read_bytes(bytes).unwrap_err() {
            DataError::Extents { expected, found, .. } => format!("{expected}; {found}"),
            other => panic!("{other}"),
        };
        assert_eq!(
            told(&saved("labels", &[7], 3, &[1, 2, 3], false)),
            "2 × 3 values and 2 labels; 1 × 3 values and 1 labels"
        );
        assert_eq!(
            told(&saved("labels", &[7, 1], 2, &[1; 4], false)),
            "2 × 3 values and 2 labels; 2 × 2 values and 2 labels"
        );
        assert_eq!(told(&saved("labels", &[7, 1], 3, &[1; 12], false)), "values of 1 byte, 6 in all; 12 bytes");
        assert_eq!(told(&[0; 4_000]), "at most 3012 bytes; 4000");
    }
}
