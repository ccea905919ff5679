//! Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), from disk, and the part of it that ships with the binary.

use super::error::DataError;
use super::idx::{self, Source};
use super::{Data, Datasets};
use plusminus_core::methods::dataset::Dataset;
use std::path::{Path, PathBuf};

/// Where Debian's package `dataset-fashion-mnist` puts the files.
pub const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The whole data set from the first place that has any of its files.
pub(super) fn from_disk(datasets: &Datasets) -> Result<Data, DataError> {
    let dataset = Dataset::FashionMnist;
    let given = datasets.directories.iter().flat_map(|directory| [directory.join(dataset.name()), directory.clone()]);
    let places: Vec<PathBuf> = given.chain([PathBuf::from(DEBIAN)]).collect();
    let Some(place) = places.iter().find(|place| FILES.iter().any(|file| find(place, file).is_some())) else {
        let remedy = "install the package that has it (Debian: dataset-fashion-mnist) or fetch its four files from \
                      https://github.com/zalandoresearch/fashion-mnist";
        return Err(DataError::NotFound { name: dataset.name(), looked: places, remedy });
    };
    let open = |file: &'static str| match find(place, file) {
        Some(path) => Source::open(&path),
        None => Err(DataError::Incomplete { name: dataset.name(), directory: place.clone(), file }),
    };
    let [train_images, train_labels, test_images, test_labels] = FILES.map(open);
    read(&dataset, [train_images?, train_labels?, test_images?, test_labels?])
}

/// The path of `file` in `place`, compressed or not.
fn find(place: &Path, file: &str) -> Option<PathBuf> {
    [format!("{file}.gz"), file.to_owned()].into_iter().map(|name| place.join(name)).find(|path| path.is_file())
}

/// The part in the binary: see `data/fashion-mnist-10k/README.md` in this crate.
pub(super) fn from_binary() -> Result<Data, DataError> {
    macro_rules! embedded {
        ($file:literal) => {
            Source::embedded($file, include_bytes!(concat!("../../data/fashion-mnist-10k/", $file)))
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
    [train_images, train_labels, test_images, test_labels]: [Source; 4],
) -> Result<Data, DataError> {
    let (train, test) = dataset.sizes();
    let read = |images, labels, samples| idx::read(images, labels, samples, dataset.shape(), dataset.classes());
    Ok(Data { train: read(&train_images, &train_labels, train)?, test: read(&test_images, &test_labels, test)? })
}

#[cfg(test)]
mod tests {
    use super::super::{Cache, Images};
    use super::*;
    use std::sync::Arc;

    fn counts(images: &Images) -> Vec<usize> {
        (0..10).map(|class| images.labels.iter().filter(|label| **label == class).count()).collect()
    }

    #[test]
    fn the_part_in_the_binary_has_its_sizes_and_equal_classes() {
        let data = from_binary().unwrap();
        assert_eq!(counts(&data.train), [800; 10]);
        assert_eq!(counts(&data.test), [200; 10]);
        assert_eq!(data.train.pixels.len(), 8_000 * 784);
    }

    #[test]
    fn the_part_in_the_binary_is_the_first_of_every_class_in_file_order() {
        // Where the whole data set is not installed there is nothing to compare with.
        let Ok(whole) = from_disk(&Datasets::default()) else { return };
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
    fn a_data_set_is_read_once() {
        let cache = Cache::default();
        let (a, b) = (cache.get(&Dataset::FashionMnist10k).unwrap(), cache.get(&Dataset::FashionMnist10k).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn a_missing_data_set_names_every_place_and_a_remedy() {
        if Path::new(DEBIAN).exists() {
            // Found after the given places.
            let directory = tempfile::tempdir().unwrap();
            assert!(from_disk(&Datasets { directories: vec![directory.path().to_owned()] }).is_ok());
        }
        let looked = vec![PathBuf::from("here/fashion-mnist"), PathBuf::from("here")];
        let text = DataError::NotFound { name: "fashion-mnist", looked, remedy: "install it" }.to_string();
        for part in ["here/fashion-mnist, here", "install it", "--datasets DIR", "PLUSMINUS_DATASETS"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_directory_with_a_part_of_the_files_says_which_one_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILES[0]), b"").unwrap();
        let error = from_disk(&Datasets { directories: vec![directory.path().to_owned()] }).unwrap_err();
        assert!(matches!(&error, DataError::Incomplete { file, .. } if *file == FILES[1]), "{error}");
    }
}
