//! Reads Fashion-MNIST (Xiao, Rasul & Vollgraf 2017) from disk, and the part of it in the binary.

use super::directories::DataDirectories;
use super::error::DataError;
use super::idx::{self, IdxSource};
use super::loaded_dataset::LoadedDataset;
use super::sample_set::SampleSet;
use plusminus_core::methods::dataset::Dataset;
use std::path::{Path, PathBuf};

/// The directory in which Debian's package `dataset-fashion-mnist` installs the files.
pub const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

/// The class of bags in Fashion-MNIST.
const BAG: u32 = 8;

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Reads the data set from the first place that has any of its files.
pub(super) fn from_disk(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    search(directories, Path::new(DEBIAN))
}

/// As [`from_disk`], with `fallback` as the last place.
fn search(directories: &DataDirectories, fallback: &Path) -> Result<LoadedDataset, DataError> {
    let dataset = Dataset::FashionMnist;
    let places: Vec<PathBuf> = directories.places(&dataset).chain([fallback.to_owned()]).collect();
    let Some(place) = places.iter().find(|place| FILES.iter().any(|file| find(place, file).is_some())) else {
        let remedy = "install it (Debian: package dataset-fashion-mnist), or fetch its four files from \
                      https://github.com/zalandoresearch/fashion-mnist";
        return Err(DataError::NotFound { name: dataset.name(), places, remedy });
    };
    let open = |file: &'static str| match find(place, file) {
        Some(path) => Ok(IdxSource::file(path)),
        None => {
            let files = vec![file.to_owned(), format!("{file}.gz")];
            Err(DataError::Incomplete { name: dataset.name(), directory: place.clone(), files })
        }
    };
    let [train_images, train_labels, test_images, test_labels] = FILES.map(open);
    read(&dataset, [train_images?, train_labels?, test_images?, test_labels?])
}

/// Reads the data set with two classes: bags, and everything else.
pub(super) fn bags(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    let LoadedDataset { mut train, mut test, .. } = from_disk(directories)?;
    [&mut train, &mut test].into_iter().for_each(as_bags);
    Ok(LoadedDataset::new(train, test))
}

/// Gives bags the class 0 and clothes the class 1 (Xu et al. 2019, §5.1).
fn as_bags(images: &mut SampleSet) {
    images.labels.iter_mut().for_each(|label| *label = u32::from(*label != BAG));
}

/// The path of `file` in `place`, with or without compression.
fn find(place: &Path, file: &str) -> Option<PathBuf> {
    [format!("{file}.gz"), file.to_owned()].into_iter().map(|name| place.join(name)).find(|path| path.is_file())
}

/// Reads the part in the binary; see `data/fashion-mnist-10k/README.md` in this crate.
pub(super) fn from_binary() -> Result<LoadedDataset, DataError> {
    macro_rules! embedded {
        ($file:literal) => {
            IdxSource::embedded($file, include_bytes!(concat!("../../data/fashion-mnist-10k/", $file)))
        };
    }
    let sources = [
        embedded!("train-images-idx3-ubyte.gz"),
        embedded!("train-labels-idx1-ubyte.gz"),
        embedded!("t10k-images-idx3-ubyte.gz"),
        embedded!("t10k-labels-idx1-ubyte.gz"),
    ];
    read(&Dataset::FashionMnist10k, sources)
}

fn read(
    dataset: &Dataset,
    [train_images, train_labels, test_images, test_labels]: [IdxSource; 4],
) -> Result<LoadedDataset, DataError> {
    let (train, test) = dataset.sizes().unwrap_or_default();
    let read = |images, labels, samples| idx::read(images, labels, samples, dataset.shape(), dataset.classes());
    Ok(LoadedDataset::new(read(&train_images, &train_labels, train)?, read(&test_images, &test_labels, test)?))
}

#[cfg(test)]
mod tests {
    use super::super::{DatasetCache, SampleValues};
    use super::*;
    use std::sync::Arc;

    fn counts(images: &SampleSet) -> Vec<usize> {
        (0..10).map(|class| images.labels.iter().filter(|label| **label == class).count()).collect()
    }

    #[test]
    fn the_part_in_the_binary_has_classes_of_equal_size() {
        let data = from_binary().unwrap();
        assert_eq!(counts(&data.train), [800; 10]);
        assert_eq!(counts(&data.test), [200; 10]);
        assert_eq!(data.train.bytes().len(), 8_000 * 784);
    }

    #[test]
    fn the_part_in_the_binary_is_the_start_of_each_class() {
        // Skipped if the whole data set is not installed.
        let Ok(whole) = from_disk(&DataDirectories::default()) else { return };
        let part = from_binary().unwrap();
        for (whole, part, each) in [(&whole.train, &part.train, 800), (&whole.test, &part.test, 200)] {
            let mut seen = [0; 10];
            let mut next = 0;
            for (index, label) in whole.labels.iter().enumerate() {
                let seen = &mut seen[*label as usize];
                *seen += 1;
                if *seen <= each {
                    assert_eq!((part.labels[next], part.image(next)), (*label, whole.image(index)), "image {index}");
                    next += 1;
                }
            }
            assert_eq!(next, part.len());
        }
    }

    #[test]
    fn the_digest_depends_on_every_pixel_and_label() {
        let data = from_binary().unwrap();
        assert_eq!(data.digest, "14ef6d1f08e447de6afa4af3fcdee70eab5a217ca16fbd907a604a712f6b18be");
        let changed = |change: fn(&mut LoadedDataset)| {
            let mut other = data.clone();
            change(&mut other);
            LoadedDataset::new(other.train, other.test).digest
        };
        assert_eq!(changed(|_| {}), data.digest);
        assert_ne!(
            changed(|data| match &mut data.train.values {
                SampleValues::Bytes(pixels) => pixels[7] ^= 1,
                other => panic!("{other:?}"),
            }),
            data.digest
        );
        assert_ne!(changed(|data| data.test.labels.swap(0, 1)), data.digest);
        assert_ne!(changed(|data| std::mem::swap(&mut data.train, &mut data.test)), data.digest);
    }

    #[test]
    fn bags_have_one_class_and_clothes_the_other() {
        let mut images = from_binary().unwrap().test;
        let bags: Vec<bool> = images.labels.iter().map(|label| *label == 8).collect();
        as_bags(&mut images);
        assert_eq!(images.labels.iter().map(|label| *label == 0).collect::<Vec<_>>(), bags);
        assert_eq!(images.labels.iter().sum::<u32>(), 1_800);
        // Skipped if the whole data set is not installed.
        let Ok(data) = bags_of_disk() else { return };
        let bags = |images: &SampleSet| images.labels.iter().filter(|label| **label == 0).count();
        assert_eq!((bags(&data.train), bags(&data.test)), (6_000, 1_000));
        assert!(data.train.labels.iter().all(|label| *label < 2));
    }

    fn bags_of_disk() -> Result<LoadedDataset, DataError> {
        bags(&DataDirectories::default())
    }

    #[test]
    fn a_data_set_is_read_once() {
        let cache = DatasetCache::default();
        let (a, b) = (cache.get(&Dataset::FashionMnist10k).unwrap(), cache.get(&Dataset::FashionMnist10k).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn a_missing_data_set_is_an_error_with_places_and_remedy() {
        let empty = tempfile::tempdir().unwrap();
        let (given, fallback) = (empty.path().join("given"), empty.path().join("fallback"));
        let error = search(&DataDirectories { directories: vec![given.clone()] }, &fallback).unwrap_err();
        let text = error.to_string();
        let places = [given.join("fashion-mnist"), given, fallback].map(|place| place.display().to_string()).join(", ");
        for part in [&places, "dataset-fashion-mnist", "github.com", "--datasets DIR", "PLUSMINUS_DATASETS"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_fallback_is_searched_last() {
        let [given, fallback] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let datasets = DataDirectories { directories: vec![given.path().to_owned()] };
        let place_of_a_part = || match search(&datasets, fallback.path()).unwrap_err() {
            DataError::Incomplete { directory, .. } => directory,
            other => panic!("{other}"),
        };
        std::fs::write(fallback.path().join(FILES[0]), b"").unwrap();
        assert_eq!(place_of_a_part(), fallback.path());
        std::fs::write(given.path().join(FILES[0]), b"").unwrap();
        assert_eq!(place_of_a_part(), given.path());
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILES[0]), b"").unwrap();
        let error = from_disk(&DataDirectories { directories: vec![directory.path().to_owned()] }).unwrap_err();
        assert!(matches!(&error, DataError::Incomplete { files, .. } if files[0] == FILES[1]), "{error}");
    }
}
