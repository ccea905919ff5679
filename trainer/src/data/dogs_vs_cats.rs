//! Reads Dogs vs Cats (Kaggle 2013): 25,000 labelled images, `cat.0.jpg` to `cat.12499.jpg` and as many dogs.
//!
//! The data set's own test images have no labels. The test part is therefore a quarter of the labelled images, as many as Xu et al. 2019
//! use: those whose number divided by 4 leaves 3, which are 3,125 cats and 3,125 dogs. Images are ordered by number; the cat (class 0) comes
//! before the dog (class 1).

use super::directories::DataDirectories;
use super::error::DataError;
use super::image_list::{self, ImageList};
use super::loaded_dataset::LoadedDataset;
use plusminus_core::methods::dataset::Dataset;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The prefix of a file name, by label.
const CLASSES: [&str; 2] = ["cat", "dog"];

/// Reads the data set from the first place that has any of its images, stretched to the size in `dataset`.
pub(super) fn from_disk(directories: &DataDirectories, dataset: &Dataset) -> Result<LoadedDataset, DataError> {
    let (train, test) = dataset.sizes().unwrap_or_default();
    search(directories, dataset, (train + test) / CLASSES.len(), image_list::MAX_IN_MEMORY)
}

/// As [`from_disk`], with `each` images of each class, and at most `limit` bytes of decoded images.
fn search(
    directories: &DataDirectories,
    dataset: &Dataset,
    each: usize,
    limit: usize,
) -> Result<LoadedDataset, DataError> {
    let name = dataset.name();
    let places: Vec<PathBuf> = directories.places(dataset).flat_map(|place| [place.join("train"), place]).collect();
    let first = |place: &&PathBuf| CLASSES.iter().any(|class| place.join(format!("{class}.0.jpg")).is_file());
    let Some(place) = places.iter().find(first) else {
        let remedy = "unpack train.zip of https://www.kaggle.com/c/dogs-vs-cats/data";
        return Err(DataError::NotFound { name, places, remedy });
    };
    let existing: BTreeSet<String> = image_list::image_names(place)?.into_iter().collect();
    let (mut train, mut test) = (ImageList::new(place.clone()), ImageList::new(place.clone()));
    for number in 0..each {
        for (class, label) in CLASSES.iter().zip(0..) {
            let file = format!("{class}.{number}.jpg");
            if !existing.contains(&file) {
                return Err(DataError::Incomplete { name, directory: place.clone(), files: vec![file] });
            }
            let part = if number % 4 == 3 { &mut test } else { &mut train };
            part.push(file, label);
        }
    }
    image_list::load(dataset.shape(), train, None, test, limit)
}

#[cfg(test)]
mod tests {
    use super::super::SampleValues;
    use super::super::decode::tests::picture;
    use super::*;
    use std::fs;
    use std::path::Path;

    const SET: Dataset = Dataset::DogsVsCats { size: 4 };

    /// Four grey images of each class: cat N has the grey 10 · N, dog N 100 + 10 · N.
    fn write(place: &Path) {
        fs::create_dir_all(place).unwrap();
        for (class, base) in CLASSES.iter().zip([0, 100]) {
            for number in 0..4u8 {
                let bytes = picture("jpg", 8, 8, |_, _| [base + 10 * number; 3]);
                fs::write(place.join(format!("{class}.{number}.jpg")), bytes).unwrap();
            }
        }
    }

    fn found(directory: &Path, limit: usize) -> Result<LoadedDataset, DataError> {
        search(&DataDirectories { directories: vec![directory.to_owned()] }, &SET, 4, limit)
    }

    #[test]
    fn cats_and_dogs_alternate_and_every_fourth_number_is_for_the_test() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("dogs-vs-cats/train"));
        let data = found(directory.path(), 1 << 20).unwrap();
        assert_eq!((data.train.labels.as_slice(), data.test.labels.as_slice()), (&[0, 1, 0, 1, 0, 1][..], &[0, 1][..]));
        let greys: Vec<u8> = (0..6).map(|i| data.train.image(i)[20]).collect();
        let near = greys.iter().zip([0u8, 100, 10, 110, 20, 120]).all(|(found, grey)| found.abs_diff(grey) <= 1);
        assert!(near, "{greys:?}");
        assert!(data.test.image(1).iter().all(|value| value.abs_diff(130) <= 1));
    }

    #[test]
    fn images_beyond_the_memory_limit_decode_to_the_same_pixels() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path());
        let (kept, streamed) = (found(directory.path(), 8 * 48).unwrap(), found(directory.path(), 8 * 48 - 1).unwrap());
        assert!(matches!((&kept.test.values, &streamed.test.values), (SampleValues::Bytes(_), SampleValues::Files(_))));
        let pixels = |data: &LoadedDataset| {
            let mut seen = Vec::new();
            data.train.for_each_image(&[5, 0, 5], |pixels| seen.extend_from_slice(pixels)).unwrap();
            seen
        };
        assert_eq!(pixels(&kept), pixels(&streamed));
        assert_ne!(kept.digest, streamed.digest);
        fs::write(directory.path().join("cat.0.jpg"), picture("jpg", 8, 8, |x, y| [x, y, 0])).unwrap();
        assert_ne!(found(directory.path(), 0).unwrap().digest, streamed.digest, "the file size has changed");
    }

    #[test]
    fn a_missing_data_set_and_a_missing_or_damaged_image_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let text = found(directory.path(), 1 << 20).unwrap_err().to_string();
        assert!(text.contains("kaggle.com") && text.contains("dogs-vs-cats/train"), "{text}");
        write(directory.path());
        let path = directory.path().join("dog.2.jpg");
        fs::write(&path, &picture("jpg", 8, 8, |_, _| [9; 3])[..50]).unwrap();
        let text = found(directory.path(), 1 << 20).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{} is not a complete JPEG or PNG image", path.display())), "{text}");
        fs::remove_file(&path).unwrap();
        let text = found(directory.path(), 1 << 20).unwrap_err().to_string();
        assert!(text.ends_with("lacks dog.2.jpg; add the file"), "{text}");
    }
}
