//! Reads CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from disk, in the binary or the Python version that the author publishes. Both contain
//! the same images in the same order.

use super::directories::DataDirectories;
use super::error::DataError;
use super::loaded_dataset::LoadedDataset;
use super::pickle::{self, CifarBatch};
use super::sample_set::{SampleSet, SampleValues};
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::methods::noise::NO_CLASS;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One of the two data sets.
struct CifarDataset {
    dataset: Dataset,
    /// The number of images in each training file, and in the test file.
    samples: (usize, usize),
    /// The published versions. The first one that is found is read.
    versions: [Version; 2],
    remedy: &'static str,
}

/// One of the published versions of a data set.
#[derive(Clone, Copy)]
struct Version {
    /// The folder in the archive.
    folder: &'static str,
    /// The training files, in order.
    training: &'static [&'static str],
    /// The test file.
    test: &'static str,
    /// The format of the files.
    format: Format,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    /// For each image that many bytes for labels, of which the last one is used, then its pixels.
    Binary { labels: usize },
    /// A Python pickle.
    Pickle,
}

const TEN: CifarDataset = CifarDataset {
    dataset: Dataset::Cifar10,
    samples: (10_000, 10_000),
    versions: [
        Version {
            folder: "cifar-10-batches-bin",
            training: &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            test: "test_batch.bin",
            format: Format::Binary { labels: 1 },
        },
        Version {
            folder: "cifar-10-batches-py",
            training: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
            test: "test_batch",
            format: Format::Pickle,
        },
    ],
    remedy: "unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
};

const HUNDRED: CifarDataset = CifarDataset {
    dataset: Dataset::Cifar100,
    samples: (50_000, 10_000),
    versions: [
        Version {
            folder: "cifar-100-binary",
            training: &["train.bin"],
            test: "test.bin",
            // The coarse class (one of twenty), then the fine class.
            format: Format::Binary { labels: 2 },
        },
        Version { folder: "cifar-100-python", training: &["train"], test: "test", format: Format::Pickle },
    ],
    remedy: "unpack https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
};

/// Reads CIFAR-10 from the first place that has any of its files.
pub(super) fn ten(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    TEN.search(directories)
}

/// Reads CIFAR-100, with its fine classes, from the first place that has any of its files.
pub(super) fn hundred(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    HUNDRED.search(directories)
}

/// Reads CIFAR-10, with the training images of CIFAR-100 appended as images of no class.
pub(super) fn open_set(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    joined(ten(directories)?, hundred(directories)?)
}

fn joined(own: LoadedDataset, other: LoadedDataset) -> Result<LoadedDataset, DataError> {
    let LoadedDataset { mut train, test, .. } = own;
    if let (SampleValues::Bytes(pixels), SampleValues::Bytes(foreign)) = (&mut train.values, &other.train.values) {
        pixels.extend_from_slice(foreign);
    }
    train.foreign = other.train.len();
    train.labels.extend(std::iter::repeat_n(NO_CLASS, other.train.len()));
    Ok(LoadedDataset::new(train, test))
}

impl Version {
    /// Every file, the test file last.
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.training.iter().copied().chain([self.test])
    }
}

impl CifarDataset {
    fn search(&self, directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
        let folders = |place: PathBuf| {
            self.versions.iter().map(|version| place.join(version.folder)).chain([place.clone()]).collect::<Vec<_>>()
        };
        let places: Vec<PathBuf> = directories.places(&self.dataset).flat_map(folders).collect();
        let found = places.iter().find_map(|place| {
            let any = |version: &&Version| version.files().any(|file| place.join(file).is_file());
            Some((place, self.versions.iter().find(any)?))
        });
        match found {
            Some((place, version)) => self.read(place, version),
            None => Err(DataError::NotFound { name: self.dataset.name(), places, remedy: self.remedy }),
        }
    }

    fn read(&self, place: &Path, version: &Version) -> Result<LoadedDataset, DataError> {
        if let Some(file) = version.files().find(|file| !place.join(file).is_file()) {
            let (directory, files) = (place.to_owned(), vec![file.to_owned()]);
            return Err(DataError::Incomplete { name: self.dataset.name(), directory, files });
        }
        let shape = self.dataset.shape();
        let images = |files: &[&str], each: usize| {
            let samples = files.len() * each;
            let (mut all, mut given) = (Vec::with_capacity(samples * shape.len()), Vec::with_capacity(samples));
            for path in files.iter().map(|file| place.join(file)) {
                let CifarBatch { pixels, labels } = match version.format {
                    Format::Binary { labels } => read_binary(&path, each, labels, shape.len())?,
                    Format::Pickle => pickle::read(&path, each, shape.len())?,
                };
                let classes = self.dataset.classes();
                let wrong = |(_, label): &(usize, u8)| usize::from(*label) >= classes;
                if let Some((index, label)) = labels.iter().copied().enumerate().find(wrong) {
                    return Err(DataError::Label { path, index, label, classes });
                }
                all.extend(pixels);
                given.extend(labels.into_iter().map(u32::from));
            }
            Ok(SampleSet::new(shape, all, given))
        };
        let (train, test) = self.samples;
        Ok(LoadedDataset::new(images(version.training, train)?, images(&[version.test], test)?))
    }
}

/// Reads a file of the binary version: for each image `labels` bytes for labels, of which the last one is used, then `values` pixels.
fn read_binary(path: &Path, samples: usize, labels: usize, values: usize) -> Result<CifarBatch, DataError> {
    let size = samples * (labels + values);
    let mut bytes = Vec::with_capacity(size + 1);
    // Reads at most one byte more than expected, so that no file takes more memory than the data set.
    File::open(path)
        .and_then(|file| file.take(size as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let (path, expected, found) = (path.to_owned(), size as u64, bytes.len() as u64);
    match found {
        found if found < expected => return Err(DataError::Truncated { path, expected, found }),
        found if found > expected => return Err(DataError::Trailing { path, expected }),
        _ => {}
    }
    let mut batch = CifarBatch { pixels: Vec::with_capacity(samples * values), labels: Vec::with_capacity(samples) };
    for record in bytes.chunks_exact(labels + values) {
        let (label, pixels) = record.split_at(labels);
        batch.labels.extend(label.last());
        batch.pixels.extend_from_slice(pixels);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::super::pickle::tests::saved;
    use super::*;
    use std::fs;

    const VALUES: usize = 3 * 32 * 32;

    /// The two images of file `file`, and their labels below `classes`.
    fn batch(file: usize, classes: usize) -> CifarBatch {
        let value = |i: usize| (i % 251) as u8;
        let pixels = (0..2 * VALUES).map(|i| value(i + file)).collect();
        CifarBatch { pixels, labels: vec![value(file), value(classes - 1 - file)] }
    }

    /// A binary file. The bytes of other labels are 19.
    fn binary(batch: &CifarBatch, labels: usize) -> Vec<u8> {
        let records = batch.labels.iter().zip(batch.pixels.chunks_exact(VALUES));
        records.flat_map(|(label, pixels)| [&vec![19; labels - 1][..], &[*label], pixels].concat()).collect()
    }

    fn bytes(version: &Version, batch: &CifarBatch) -> Vec<u8> {
        match version.format {
            Format::Binary { labels } => binary(batch, labels),
            Format::Pickle if version.folder == "cifar-100-python" => {
                saved("fine_labels", &batch.labels, VALUES, &batch.pixels, false)
            }
            Format::Pickle => saved("labels", &batch.labels, VALUES, &batch.pixels, false),
        }
    }

    /// Writes a version of a data set with two images in each file.
    fn write(place: &Path, set: &CifarDataset, version: &Version) {
        fs::create_dir_all(place).unwrap();
        for (number, file) in version.files().enumerate() {
            fs::write(place.join(file), bytes(version, &batch(number, set.dataset.classes()))).unwrap();
        }
    }

    /// With two images in each file.
    fn small(set: CifarDataset) -> CifarDataset {
        CifarDataset { samples: (2, 2), ..set }
    }

    fn found(set: CifarDataset, directory: &Path) -> Result<LoadedDataset, DataError> {
        small(set).search(&DataDirectories { directories: vec![directory.to_owned()] })
    }

    #[test]
    fn both_versions_give_the_same_images_in_the_order_of_the_files() {
        let [binary, python] = TEN.versions.map(|version| {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &TEN, &version);
            found(TEN, directory.path()).unwrap()
        });
        assert_eq!(binary.train.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]);
        assert_eq!(binary.test.labels, [5, 4]);
        assert_eq!(binary.train.image(5), &batch(2, 10).pixels[VALUES..]);
        assert!(binary == python, "labels {:?} and {:?}", binary.train.labels, python.train.labels);
    }

    #[test]
    fn files_are_found_with_and_without_the_folder_of_the_archive() {
        for folder in ["cifar-10-batches-bin", "cifar-10", "cifar-10/cifar-10-batches-bin", "."] {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(folder), &TEN, &TEN.versions[0]);
            assert_eq!(found(TEN, directory.path()).unwrap().train.len(), 10, "{folder}");
        }
    }

    #[test]
    fn a_missing_data_set_is_an_error_with_places_and_remedy() {
        let empty = tempfile::tempdir().unwrap();
        let text = found(TEN, empty.path()).unwrap_err().to_string();
        for folder in ["cifar-10", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10/cifar-10-batches-py"] {
            let place = empty.path().join(folder);
            assert!([",", ";"].iter().any(|end| text.contains(&format!("{}{end}", place.display()))), "{text}");
        }
        for part in ["cifar-10-binary.tar.gz", "--datasets DIR", "PLUSMINUS_DATASETS"] {
            assert!(text.contains(part), "{text}");
        }
        let text = ten(&DataDirectories::default()).unwrap_err().to_string();
        assert!(text.starts_with("data set `cifar-10` not found: no `--datasets` directory was given; "), "{text}");
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_name() {
        for version in TEN.versions {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &TEN, &version);
            fs::remove_file(directory.path().join(version.training[3])).unwrap();
            let text = found(TEN, directory.path()).unwrap_err().to_string();
            assert!(text.ends_with(&format!("lacks {}; add the file", version.training[3])), "{text}");
        }
    }

    #[test]
    fn a_truncated_or_too_long_binary_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &TEN, &TEN.versions[0]);
        let path = directory.path().join("data_batch_4.bin");
        let resized = |size| {
            File::options().write(true).open(&path).and_then(|file| file.set_len(size)).unwrap();
            found(TEN, directory.path()).unwrap_err()
        };
        let error = resized(6_145);
        assert!(
            matches!(&error, DataError::Truncated { expected: 6_146, found: 6_145, path: p } if *p == path),
            "{error}"
        );
        assert!(matches!(resized(0), DataError::Truncated { found: 0, .. }));
        assert!(matches!(resized(6_147), DataError::Trailing { expected: 6_146, .. }));
        // A sparse file, far larger than the memory.
        assert!(matches!(resized(1 << 40), DataError::Trailing { .. }));
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error_in_both_versions() {
        for version in TEN.versions {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &TEN, &version);
            let path = directory.path().join(version.test);
            let wrong = CifarBatch { labels: vec![9, 10], ..batch(5, 10) };
            fs::write(&path, bytes(&version, &wrong)).unwrap();
            let error = found(TEN, directory.path()).unwrap_err();
            assert!(
                matches!(&error, DataError::Label { index: 1, label: 10, classes: 10, path: p } if *p == path),
                "{error}"
            );
        }
    }

    #[test]
    fn both_versions_of_cifar_100_give_the_fine_classes() {
        let [binary, python] = HUNDRED.versions.map(|version| {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(version.folder), &HUNDRED, &version);
            found(HUNDRED, directory.path()).unwrap()
        });
        assert_eq!((binary.train.labels.as_slice(), binary.test.labels.as_slice()), (&[0, 99][..], &[1, 98][..]));
        assert_eq!(binary.test.image(1), &batch(1, 100).pixels[VALUES..]);
        assert!(binary == python, "labels {:?} and {:?}", binary.train.labels, python.train.labels);
    }

    #[test]
    fn a_missing_short_or_wrong_file_of_cifar_100_is_an_error() {
        for version in HUNDRED.versions {
            let directory = tempfile::tempdir().unwrap();
            let text = found(HUNDRED, directory.path()).unwrap_err().to_string();
            assert!(text.contains("cifar-100-binary.tar.gz"), "{text}");
            write(directory.path(), &HUNDRED, &version);
            let path = directory.path().join(version.test);
            let wrong = CifarBatch { labels: vec![99, 100], ..batch(1, 100) };
            fs::write(&path, bytes(&version, &wrong)).unwrap();
            let error = found(HUNDRED, directory.path()).unwrap_err();
            assert!(
                matches!(&error, DataError::Label { index: 1, label: 100, classes: 100, path: p } if *p == path),
                "{error}"
            );
            File::options().write(true).open(&path).and_then(|file| file.set_len(1_000)).unwrap();
            let text = found(HUNDRED, directory.path()).unwrap_err().to_string();
            assert!(text.starts_with(&path.display().to_string()), "{text}");
            fs::remove_file(&path).unwrap();
            let text = found(HUNDRED, directory.path()).unwrap_err().to_string();
            assert!(text.ends_with(&format!("lacks {}; add the file", version.test)), "{text}");
        }
    }

    #[test]
    fn the_open_set_appends_images_of_no_class_to_cifar_10() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("cifar-10-batches-bin"), &TEN, &TEN.versions[0]);
        write(&directory.path().join("cifar-100-binary"), &HUNDRED, &HUNDRED.versions[0]);
        let (ten, hundred) = (found(TEN, directory.path()).unwrap(), found(HUNDRED, directory.path()).unwrap());
        let LoadedDataset { train, test, digest, .. } = joined(ten.clone(), hundred.clone()).unwrap();
        assert_eq!((train.len(), train.with_class(), train.foreign), (12, 10, 2));
        assert_eq!(train.labels[..10], ten.train.labels);
        assert_eq!(train.labels[10..], [NO_CLASS; 2]);
        assert_eq!((train.image(3), train.image(11)), (ten.train.image(3), hundred.train.image(1)));
        assert_eq!(test, ten.test);
        assert!(digest != ten.digest && digest != hundred.digest);
    }
}
