//! Reads batches of images from Python pickles: a map with `data`, a numpy array with a row of bytes for each image, and `labels` (in
//! CIFAR-100 `fine_labels`).
//!
//! Reading creates no Python object and calls no function. Of a numpy array it takes the state that `__reduce__` stored: extents, order and
//! bytes. CIFAR's files were written by Python 2 (protocol 2, where text is bytes); pickles by later versions are read as well.

use super::error::DataError;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, Visitor};
use serde_pickle::DeOptions;
use std::fmt;
use std::fs::File;
use std::path::Path;

/// The images of one file.
pub(super) struct CifarBatch {
    /// The pixels, one image after another.
    pub pixels: Vec<u8>,
    /// The label of each image, unchecked.
    pub labels: Vec<u8>,
}

/// The map in the file. Other keys (`filenames`, `batch_label`, `coarse_labels`) are ignored.
#[derive(Deserialize)]
struct PickledBatch {
    data: Array,
    #[serde(alias = "fine_labels")]
    labels: Vec<u8>,
}

/// The state of a numpy array: version, rows and columns, element type, whether it is in column order, bytes.
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

/// Reads a file, which must have `samples` images of `values` bytes each.
pub(super) fn read(path: &Path, samples: usize, values: usize) -> Result<CifarBatch, DataError> {
    let refused = |source| DataError::Read { path: path.to_owned(), source };
    let wrong = |expected, found| Err(DataError::Extents { path: path.to_owned(), expected, found });
    let file = File::open(path).map_err(refused)?;
    // A pixel takes at most two bytes (Python 3 writes bytes as text), and a label with a file name far less than a thousand. A larger file
    // is something else and is not read into memory.
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
        return wrong(format!("{} values of 1 byte", samples * values), format!("{} bytes", bytes.len()));
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

    /// A short string in protocol 2, as Python 2 writes it.
    pub fn short(text: &str) -> Vec<u8> {
        [&[b'U', text.len() as u8], text.as_bytes()].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&b"T"[..], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
    }

    fn number(value: usize) -> Vec<u8> {
        [&b"M"[..], &(value as u16).to_le_bytes()[..]].concat()
    }

    /// The pickle by Python 2 of `{'batch_label': …, 'labels': […], 'data': numpy.array(…, dtype=numpy.uint8), 'filenames': […]}`,
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
    fn row_order_and_column_order_give_the_same_images() {
        let images = (vec![7, 1], vec![1, 2, 3, 4, 5, 255]);
        assert_eq!(read_bytes(&saved("labels", &[7, 1], 3, &[1, 2, 3, 4, 5, 255], false)).unwrap(), images);
        assert_eq!(read_bytes(&saved("labels", &[7, 1], 3, &[1, 4, 2, 5, 3, 255], true)).unwrap(), images);
    }

    /// `pickle.dumps({b'labels': [7, 1], b'data': numpy.array([[1, 2, 3], [4, 5, 255]], numpy.uint8)}, protocol=2)`
    #[test]
    fn a_pickle_by_python_3_is_read() {
        let bytes = b"\x80\x02}q\x00(c_codecs\nencode\nq\x01X\x06\0\0\0labelsq\x02X\x06\0\0\0latin1q\x03\x86q\x04Rq\x05]q\x06\
            (K\x07K\x01eh\x01X\x04\0\0\0dataq\x07h\x03\x86q\x08Rq\tcnumpy._core.multiarray\n_reconstruct\nq\ncnumpy\nndarray\n\
            q\x0bK\0\x85q\x0ch\x01X\x01\0\0\0bq\rh\x03\x86q\x0eRq\x0f\x87q\x10Rq\x11(K\x01K\x02K\x03\x86q\x12cnumpy\ndtype\n\
            q\x13X\x02\0\0\0u1q\x14\x89\x88\x87q\x15Rq\x16(K\x03X\x01\0\0\0|q\x17NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\x18\
            b\x89h\x01X\x07\0\0\0\x01\x02\x03\x04\x05\xc3\xbfq\x19h\x03\x86q\x1aRq\x1btq\x1cbu.";
        assert_eq!(read_bytes(bytes).unwrap(), (vec![7, 1], vec![1, 2, 3, 4, 5, 255]));
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let file = saved("labels", &[7, 1], 3, &[1, 2, 3, 4, 5, 6], false);
        for end in 0..file.len() {
            let error = read_bytes(&file[..end]).unwrap_err();
            assert!(matches!(error, DataError::Pickle { .. }), "{end}: {error}");
        }
        assert!(matches!(read_bytes(&[&file[..], b"."].concat()).unwrap_err(), DataError::Pickle { .. }));
    }

    #[test]
    fn other_extents_are_an_error() {
        let message = |bytes: &[u8]| match read_bytes(bytes).unwrap_err() {
            DataError::Extents { expected, found, .. } => format!("{expected}; {found}"),
            other => panic!("{other}"),
        };
        assert_eq!(
            message(&saved("labels", &[7], 3, &[1, 2, 3], false)),
            "2 × 3 values and 2 labels; 1 × 3 values and 1 labels"
        );
        assert_eq!(
            message(&saved("labels", &[7, 1], 2, &[1; 4], false)),
            "2 × 3 values and 2 labels; 2 × 2 values and 2 labels"
        );
        assert_eq!(message(&saved("labels", &[7, 1], 3, &[1; 12], false)), "6 values of 1 byte; 12 bytes");
        assert_eq!(message(&[0; 4_000]), "at most 3012 bytes; 4000");
    }
}
