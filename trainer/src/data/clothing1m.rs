//! Reads Clothing1M (Xiao et al. 2015): a million images from shops, labelled from their descriptions, and smaller parts for validation and
//! test that people labelled.
//!
//! The layout is that of the authors' archive: lists of keys (`noisy_train_key_list.txt`, `clean_val_key_list.txt`,
//! `clean_test_key_list.txt`) and lists of `key label` (`noisy_label_kv.txt`, `clean_label_kv.txt`). A key is the path of an image. The lists
//! may also lie in a folder `annotations`. The true labels of the training images are unknown, so the given labels stand for them.

use super::directories::DataDirectories;
use super::error::DataError;
use super::image_list::{self, ImageList};
use super::loaded_dataset::LoadedDataset;
use plusminus_core::methods::dataset::Dataset;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const NOISY: &str = "noisy_label_kv.txt";
const CLEAN: &str = "clean_label_kv.txt";

/// The list of each part, and the list with its labels.
const PARTS: [(&str, &str); 3] =
    [("noisy_train_key_list.txt", NOISY), ("clean_val_key_list.txt", CLEAN), ("clean_test_key_list.txt", CLEAN)];

/// The most bytes that are read of a list, several times the size of the longest one.
const MAX_BYTES: u64 = 1 << 28;

/// Reads the data set from the first place that has any of its lists.
pub(super) fn from_disk(directories: &DataDirectories, dataset: &Dataset) -> Result<LoadedDataset, DataError> {
    search(directories, dataset, image_list::MAX_IN_MEMORY)
}

fn search(directories: &DataDirectories, dataset: &Dataset, limit: usize) -> Result<LoadedDataset, DataError> {
    let name = dataset.name();
    let lists = || PARTS.iter().map(|(list, _)| *list).chain([NOISY, CLEAN]);
    let places: Vec<(PathBuf, PathBuf)> = directories
        .places(dataset)
        .flat_map(|place| [(place.clone(), place.join("annotations")), (place.clone(), place)])
        .collect();
    let Some((root, place)) = places.iter().find(|(_, place)| lists().any(|list| place.join(list).is_file())) else {
        let remedy = "request it from its authors (https://github.com/Cysu/noisy_label)";
        return Err(DataError::NotFound { name, places: places.into_iter().map(|(_, place)| place).collect(), remedy });
    };
    if let Some(file) = lists().find(|list| !place.join(list).is_file()) {
        return Err(DataError::Incomplete { name, directory: place.clone(), files: vec![file.to_owned()] });
    }
    let (noisy, clean) = (read(&place.join(NOISY))?, read(&place.join(CLEAN))?);
    let labels = [
        (NOISY, labels(&place.join(NOISY), &noisy, dataset.classes())?),
        (CLEAN, labels(&place.join(CLEAN), &clean, dataset.classes())?),
    ];
    let part = |(list, kv): (&str, &str)| {
        let labels = labels.iter().find(|(name, _)| *name == kv).map(|(_, labels)| labels);
        let path = place.join(list);
        let mut part = ImageList::new(root.clone());
        for (line, key) in lines(&read(&path)?) {
            match labels.and_then(|labels| labels.get(key)) {
                Some(label) => part.push(key, *label),
                None => {
                    let expected = format!("a key with a label in {kv}");
                    return Err(DataError::Line { path, line, expected, found: key.to_owned() });
                }
            }
        }
        if part.files.is_empty() {
            let expected = "the path of an image".to_owned();
            return Err(DataError::Line { path, line: 1, expected, found: "nothing".to_owned() });
        }
        Ok(part)
    };
    let [train, validation, test] = PARTS.map(part);
    image_list::load(dataset.shape(), train?, Some(validation?), test?, limit)
}

fn read(path: &Path) -> Result<String, DataError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > MAX_BYTES {
        let (expected, found) = (format!("at most {MAX_BYTES} bytes"), "more".to_owned());
        return Err(DataError::Extents { path: path.to_owned(), expected, found });
    }
    Ok(text)
}

/// The non-empty lines with their numbers, from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty()).map(|(line, number)| (number, line))
}

/// The label of each key in a list of labels.
fn labels<'t>(path: &Path, text: &'t str, classes: usize) -> Result<HashMap<&'t str, u32>, DataError> {
    let mut labels = HashMap::new();
    for (line, entry) in lines(text) {
        let parts = entry.rsplit_once(char::is_whitespace);
        let label = parts.and_then(|(_, label)| label.parse().ok()).filter(|label: &u32| (*label as usize) < classes);
        let (Some((key, _)), Some(label)) = (parts, label) else {
            let expected = format!("a key and a label from 0 to {}", classes - 1);
            return Err(DataError::Line { path: path.to_owned(), line, expected, found: entry.to_owned() });
        };
        labels.insert(key.trim_end(), label);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::super::SampleValues;
    use super::super::decode::tests::picture;
    use super::*;
    use std::fs;

    const SET: Dataset = Dataset::Clothing1M { size: 4 };

    fn found(directory: &Path, limit: usize) -> Result<LoadedDataset, DataError> {
        search(&DataDirectories { directories: vec![directory.to_owned()] }, &SET, limit)
    }

    /// Images `images/N.jpg` of grey 10 · N: 0 to 3 for training, 4 and 5 for validation, 6 for the test.
    fn write(root: &Path, lists: &Path) {
        fs::create_dir_all(root.join("images")).unwrap();
        fs::create_dir_all(lists).unwrap();
        for number in 0..7 {
            let bytes = picture("jpg", 8, 8, |_, _| [10 * number; 3]);
            fs::write(root.join(format!("images/{number}.jpg")), bytes).unwrap();
        }
        let keys = |numbers: &[usize]| numbers.iter().map(|n| format!("images/{n}.jpg\n")).collect::<String>();
        let text = [
            (PARTS[0].0, keys(&[2, 0, 1, 3])),
            (PARTS[1].0, keys(&[4, 5])),
            (PARTS[2].0, keys(&[6])),
            (NOISY, "images/0.jpg 0\nimages/1.jpg 1\nimages/2.jpg 13\nimages/3.jpg 7\nimages/9.jpg 3\n".to_owned()),
            (CLEAN, "images/4.jpg 4\nimages/5.jpg 5\nimages/6.jpg 6\nimages/0.jpg 12\n".to_owned()),
        ];
        text.iter().for_each(|(file, text)| fs::write(lists.join(file), text).unwrap());
    }

    #[test]
    fn lists_become_three_parts_in_both_layouts() {
        for lists in ["clothing1m", "clothing1m/annotations"] {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join("clothing1m"), &directory.path().join(lists));
            let data = found(directory.path(), 1 << 20).unwrap();
            let validation = data.validation.unwrap();
            assert_eq!(data.train.labels, [13, 0, 1, 7], "noisy labels in the order of the list");
            assert_eq!((validation.labels.as_slice(), data.test.labels.as_slice()), (&[4, 5][..], &[6][..]));
            let grey = |images: &super::super::SampleSet, i: usize| images.image(i)[0];
            assert!(grey(&data.train, 0).abs_diff(20) <= 1 && grey(&validation, 1).abs_diff(50) <= 1);
        }
    }

    #[test]
    fn images_beyond_the_memory_limit_are_decoded_when_used() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), directory.path());
        let data = found(directory.path(), 100).unwrap();
        assert!(matches!(data.validation.as_ref().unwrap().values, SampleValues::Files(_)));
        let mut greys = Vec::new();
        data.train.for_each_image(&[3, 1], |pixels| greys.push(pixels[7])).unwrap();
        assert!(greys[0].abs_diff(30) <= 1 && greys[1] <= 1, "{greys:?}");
        fs::write(directory.path().join("images/3.jpg"), b"no image").unwrap();
        let text = data.train.for_each_image(&[3, 1], |_| {}).unwrap_err().to_string();
        assert!(text.contains("images/3.jpg is not a complete JPEG or PNG image"), "{text}");
        fs::remove_file(directory.path().join("images/5.jpg")).unwrap();
        let text = found(directory.path(), 100).unwrap_err().to_string();
        assert!(text.starts_with("cannot read ") && text.contains("images/5.jpg"), "{text}");
    }

    #[test]
    fn a_missing_or_wrong_list_is_an_error_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        assert!(found(directory.path(), 0).unwrap_err().to_string().contains("request it from its authors"));
        let message = |file: &str, text: &str| {
            write(directory.path(), directory.path());
            fs::write(directory.path().join(file), text).unwrap();
            found(directory.path(), 0).unwrap_err().to_string()
        };
        let text = message(PARTS[1].0, "images/4.jpg\nimages/1.jpg\n");
        assert!(
            text.contains("line 2: expected a key with a label in clean_label_kv.txt, found images/1.jpg"),
            "{text}"
        );
        for wrong in ["images/4.jpg 14", "images/4.jpg", "images/4.jpg -1", "images/4.jpg four"] {
            let text = message(CLEAN, &format!("images/6.jpg 3\n\n{wrong}\n"));
            assert!(
                text.contains(&format!("line 3: expected a key and a label from 0 to 13, found {wrong}")),
                "{text}"
            );
        }
        assert!(message(PARTS[2].0, "").contains("expected the path of an image, found nothing"));
        fs::remove_file(directory.path().join(PARTS[0].0)).unwrap();
        let text = found(directory.path(), 0).unwrap_err().to_string();
        assert!(text.ends_with("lacks noisy_train_key_list.txt; add the file"), "{text}");
    }
}
