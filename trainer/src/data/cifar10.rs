//! CIFAR-10 (Krizhevsky 2009) from disk, as its author publishes it: the binary version or the one for Python, which hold the same
//! images in the same order.

use super::error::DataError;
use super::pickle::{self, Batch};
use super::{Data, Datasets, Images};
use plusminus_core::methods::dataset::Dataset;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Images in each file.
const BATCH: usize = 10_000;

/// One of the forms in which the data set is published.
struct Version {
    /// The folder in its archive.
    folder: &'static str,
    /// The training files in order, then the test file.
    files: [&'static str; 6],
    /// Reads so many images of so many values each from a file.
    read: fn(&Path, usize, usize) -> Result<Batch, DataError>,
}

/// The first that is found is taken.
const VERSIONS: [Version; 2] = [
    Version {
        folder: "cifar-10-batches-bin",
        files: [
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
            "test_batch.bin",
        ],
        read: read_binary,
    },
    Version {
        folder: "cifar-10-batches-py",
        files: ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"],
        read: pickle::read,
    },
];

/// The whole data set from the first place that has any of its files.
pub(super) fn from_disk(datasets: &Datasets) -> Result<Data, DataError> {
    search(datasets, BATCH)
}

/// As [`from_disk`], with `batch` images in each file.
fn search(datasets: &Datasets, batch: usize) -> Result<Data, DataError> {
    let dataset = Dataset::Cifar10;
    let folders =
        |place: PathBuf| VERSIONS.map(|version| place.join(version.folder)).into_iter().chain([place.clone()]);
    let places: Vec<PathBuf> = datasets.places(&dataset).flat_map(folders).collect();
    let found = places.iter().find_map(|place| {
        let any = |version: &&Version| version.files.iter().any(|file| place.join(file).is_file());
        Some((place, VERSIONS.iter().find(any)?))
    });
    match found {
        Some((place, version)) => read(place, version, batch),
        None => {
            let remedy = "unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
            Err(DataError::NotFound { name: dataset.name(), looked: places, remedy })
        }
    }
}

fn read(place: &Path, version: &Version, batch: usize) -> Result<Data, DataError> {
    let dataset = Dataset::Cifar10;
    if let Some(file) = version.files.iter().find(|file| !place.join(file).is_file()) {
        let (directory, files) = (place.to_owned(), vec![(*file).to_owned()]);
        return Err(DataError::Incomplete { name: dataset.name(), directory, files });
    }
    let shape = dataset.shape();
    let images = |files: &[&str]| {
        let samples = files.len() * batch;
        let pixels = Vec::with_capacity(samples * shape.len());
        let mut images = Images::new(shape, pixels, Vec::with_capacity(samples));
        for path in files.iter().map(|file| place.join(file)) {
            let Batch { pixels, labels } = (version.read)(&path, batch, shape.len())?;
            let classes = dataset.classes();
            let wrong = |(_, label): &(usize, u8)| usize::from(*label) >= classes;
            if let Some((index, label)) = labels.iter().copied().enumerate().find(wrong) {
                return Err(DataError::Label { path, index, label, classes });
            }
            images.pixels.extend(pixels);
            images.labels.extend(labels.into_iter().map(u32::from));
        }
        Ok(images)
    };
    let [training @ .., test] = &version.files;
    Ok(Data::new(images(training)?, images(&[test])?))
}

/// A file of the binary version: for each image a byte for the label, then its values.
fn read_binary(path: &Path, samples: usize, values: usize) -> Result<Batch, DataError> {
    let size = samples * (1 + values);
    let mut bytes = Vec::with_capacity(size + 1);
    // One byte more than there should be, so that no file can take more memory than the data set needs.
    File::open(path)
        .and_then(|file| file.take(size as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let (path, expected, found) = (path.to_owned(), size as u64, bytes.len() as u64);
    match found {
        found if found < expected => return Err(DataError::Truncated { path, expected, found }),
        found if found > expected => return Err(DataError::Trailing { path, expected }),
        _ => {}
    }
    let mut batch = Batch { pixels: Vec::with_capacity(samples * values), labels: Vec::with_capacity(samples) };
    for record in bytes.chunks_exact(1 + values) {
        batch.labels.push(record[0]);
        batch.pixels.extend_from_slice(&record[1..]);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::super::pickle::tests::saved;
    use super::*;
    use std::fs;

    const VALUES: usize = 3 * 32 * 32;

    /// The two images of file `file`, and their labels.
    fn batch(file: usize) -> Batch {
        let value = |i: usize| (i % 251) as u8;
        let pixels = (0..2 * VALUES).map(|i| value(i + file)).collect();
        Batch { pixels, labels: vec![value(file), 9 - value(file)] }
    }

    fn binary(batch: &Batch) -> Vec<u8> {
        let records = batch.labels.iter().zip(batch.pixels.chunks_exact(VALUES));
        records.flat_map(|(label, pixels)| [&[*label], pixels].concat()).collect()
    }

    /// Writes a version of the data set with two images a file.
    fn write(place: &Path, version: &Version) {
        fs::create_dir_all(place).unwrap();
        for (number, file) in version.files.iter().enumerate() {
            let batch = batch(number);
            let bytes = if file.ends_with(".bin") {
                binary(&batch)
            } else {
                saved(&batch.labels, VALUES, &batch.pixels, false)
            };
            fs::write(place.join(file), bytes).unwrap();
        }
    }

    fn found(directory: &Path) -> Result<Data, DataError> {
        search(&Datasets { directories: vec![directory.to_owned()] }, 2)
    }

    #[test]
    fn both_versions_hold_the_same_images_in_the_order_of_the_files() {
        let [binary, python] = VERSIONS.map(|version| {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &version);
            found(directory.path()).unwrap()
        });
        assert_eq!(binary.train.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]);
        assert_eq!(binary.test.labels, [5, 4]);
        assert_eq!(binary.train.image(5), &batch(2).pixels[VALUES..]);
        assert!(binary == python, "labels {:?} and {:?}", binary.train.labels, python.train.labels);
    }

    #[test]
    fn an_archive_is_found_beside_others_in_a_folder_of_its_own_and_bare() {
        for folder in ["cifar-10-batches-bin", "cifar-10", "cifar-10/cifar-10-batches-bin", "."] {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(folder), &VERSIONS[0]);
            assert_eq!(found(directory.path()).unwrap().train.len(), 10, "{folder}");
        }
    }

    #[test]
    fn a_missing_data_set_names_every_place_and_a_remedy() {
        let empty = tempfile::tempdir().unwrap();
        let text = found(empty.path()).unwrap_err().to_string();
        for folder in ["cifar-10", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10/cifar-10-batches-py"] {
            let place = empty.path().join(folder);
            assert!(text.contains(&format!("{},", place.display())), "{text}");
        }
        for part in ["cifar-10-binary.tar.gz", "--datasets DIR", "PLUSMINUS_DATASETS"] {
            assert!(text.contains(part), "{text}");
        }
        let text = from_disk(&Datasets::default()).unwrap_err().to_string();
        assert!(text.starts_with("the data set cifar-10 was not found, for there was no place to look in: "), "{text}");
    }

    #[test]
    fn a_place_with_a_part_of_a_version_says_which_file_is_missing() {
        for version in VERSIONS {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &version);
            fs::remove_file(directory.path().join(version.files[3])).unwrap();
            let text = found(directory.path()).unwrap_err().to_string();
            assert!(text.ends_with(&format!("but {} is missing: add it", version.files[3])), "{text}");
        }
    }

    #[test]
    fn a_binary_file_that_is_cut_short_or_too_long_is_named_with_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &VERSIONS[0]);
        let path = directory.path().join("data_batch_4.bin");
        let resized = |size| {
            File::options().write(true).open(&path).and_then(|file| file.set_len(size)).unwrap();
            found(directory.path()).unwrap_err()
        };
        let error = resized(6_145);
        assert!(
            matches!(&error, DataError::Truncated { expected: 6_146, found: 6_145, path: p } if *p == path),
            "{error}"
        );
        assert!(matches!(resized(0), DataError::Truncated { found: 0, .. }));
        assert!(matches!(resized(6_147), DataError::Trailing { expected: 6_146, .. }));
        // Far more than there is memory, and nearly nothing on disk.
        assert!(matches!(resized(1 << 40), DataError::Trailing { .. }));
    }

    #[test]
    fn a_label_without_a_class_is_an_error_in_both_versions() {
        for version in VERSIONS {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &version);
            let path = directory.path().join(version.files[5]);
            let wrong = Batch { labels: vec![9, 10], ..batch(5) };
            let bytes = match version.folder {
                "cifar-10-batches-bin" => binary(&wrong),
                _ => saved(&wrong.labels, VALUES, &wrong.pixels, false),
            };
            fs::write(&path, bytes).unwrap();
            let error = found(directory.path()).unwrap_err();
            assert!(
                matches!(&error, DataError::Label { index: 1, label: 10, classes: 10, path: p } if *p == path),
                "{error}"
            );
        }
    }
}
