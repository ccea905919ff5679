//! Reads a user's folder of images: `PATH/train/CLASS/*.{jpg,jpeg,png}` and `PATH/test/CLASS/*.{jpg,jpeg,png}`.
//!
//! Classes are numbered by name, the same in both parts. Images alternate between the classes: the first of every class by name, then the
//! second, and so on. The first or last images of the set are therefore of all classes.

use super::directories::DataDirectories;
use super::error::DataError;
use super::image_list::{self, ImageList, folder_names, image_names};
use super::loaded_dataset::LoadedDataset;
use plusminus_core::methods::dataset::{Dataset, Folder};
use std::path::{Path, PathBuf};

/// Reads the data set from the first place that has the folder.
pub(super) fn from_disk(directories: &DataDirectories, folder: &Folder) -> Result<LoadedDataset, DataError> {
    search(directories, folder, image_list::MAX_IN_MEMORY)
}

fn search(directories: &DataDirectories, folder: &Folder, limit: usize) -> Result<LoadedDataset, DataError> {
    let path = Path::new(&folder.path);
    let places: Vec<PathBuf> = match path.is_absolute() {
        true => vec![path.to_owned()],
        false => directories.directories.iter().map(|directory| directory.join(path)).collect(),
    };
    let Some(place) = places.iter().find(|place| place.is_dir()) else {
        let remedy = "correct `path` (absolute, or relative to a directory of data sets)";
        return Err(DataError::NotFound { name: "folder", places, remedy });
    };
    let (train_part, test_part) = (place.join("train"), place.join("test"));
    let (classes, tested) = (folder_names(&train_part)?, folder_names(&test_part)?);
    if classes.len() != folder.classes {
        let (expected, found) = (format!("{} folders, one for each class", folder.classes), classes.len().to_string());
        return Err(DataError::Extents { path: train_part, expected, found });
    }
    if tested != classes {
        let only = |these: &[String], those: &[String]| these.iter().find(|name| !those.contains(name)).cloned();
        let found = match (only(&classes, &tested), only(&tested, &classes)) {
            (Some(name), _) => format!("none for the class `{name}`"),
            (None, name) => format!("one for the class `{}`", name.unwrap_or_default()),
        };
        let expected = "the same folders as in `train`".to_owned();
        return Err(DataError::Extents { path: test_part, expected, found });
    }
    let (train, test) = (part(train_part, &classes)?, part(test_part, &classes)?);
    image_list::load(Dataset::Folder(folder.clone()).shape(), train, None, test, limit)
}

/// Lists one part, alternating between the classes.
fn part(root: PathBuf, classes: &[String]) -> Result<ImageList, DataError> {
    let mut files = Vec::with_capacity(classes.len());
    for class in classes {
        let path = root.join(class);
        let found = image_names(&path)?;
        if found.is_empty() {
            let (expected, found) = ("at least one file .jpg, .jpeg or .png".to_owned(), "none".to_owned());
            return Err(DataError::Extents { path, expected, found });
        }
        files.push(found);
    }
    let mut list = ImageList::new(root);
    for turn in 0..files.iter().map(Vec::len).max().unwrap_or(0) {
        for ((class, files), label) in classes.iter().zip(&files).zip(0..) {
            if let Some(file) = files.get(turn) {
                list.push(format!("{class}/{file}"), label);
            }
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::picture;
    use super::*;
    use std::fs;

    fn folder(path: &str, classes: usize) -> Folder {
        Folder { path: path.to_owned(), classes, size: 2, grey: true }
    }

    fn write(place: &Path, file: &str, grey: u8) {
        let path = place.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, picture("png", 2, 2, |_, _| [grey; 3])).unwrap();
    }

    /// Three images of `ants` and one of `bees` for training, one of each for the test.
    fn ants_and_bees() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("train/bees/z.png", 50),
            ("train/ants/c.PNG", 30),
            ("train/ants/a.png", 10),
            ("train/ants/b.png", 20),
            ("test/ants/1.png", 60),
            ("test/bees/1.png", 70),
        ];
        files.iter().for_each(|(file, grey)| write(&directory.path().join("insects"), file, *grey));
        fs::write(directory.path().join("insects/train/ants/.hidden.png"), b"").unwrap();
        fs::write(directory.path().join("insects/train/ants/notes.txt"), b"").unwrap();
        directory
    }

    fn found(directory: &Path, folder: &Folder) -> Result<LoadedDataset, DataError> {
        from_disk(&DataDirectories { directories: vec![directory.to_owned()] }, folder)
    }

    #[test]
    fn classes_are_numbered_by_name_and_alternate() {
        let directory = ants_and_bees();
        let data = found(directory.path(), &folder("insects", 2)).unwrap();
        assert_eq!((data.train.labels.as_slice(), data.test.labels.as_slice()), (&[0, 1, 0, 0][..], &[0, 1][..]));
        assert_eq!(data.train.bytes(), [[10; 4], [50; 4], [20; 4], [30; 4]].concat());
        let absolute = directory.path().join("insects").display().to_string();
        assert_eq!(from_disk(&DataDirectories::default(), &folder(&absolute, 2)).unwrap(), data);
    }

    #[test]
    fn a_folder_that_does_not_fit_the_sweep_file_is_an_error() {
        let directory = ants_and_bees();
        let message = |folder: &Folder| found(directory.path(), folder).unwrap_err().to_string();
        assert!(message(&folder("birds", 2)).contains("correct `path`"), "{}", message(&folder("birds", 2)));
        assert!(message(&folder("insects", 3)).contains("expected 3 folders, one for each class, found 2"));
        let insects = directory.path().join("insects");
        fs::create_dir(insects.join("test/cats")).unwrap();
        assert!(message(&folder("insects", 2)).contains("found one for the class `cats`"));
        fs::remove_dir(insects.join("test/cats")).unwrap();
        fs::remove_file(insects.join("test/bees/1.png")).unwrap();
        assert!(message(&folder("insects", 2)).contains("expected at least one file .jpg, .jpeg or .png, found none"));
        fs::remove_dir(insects.join("test/bees")).unwrap();
        assert!(message(&folder("insects", 2)).contains("found none for the class `bees`"));
        fs::remove_dir_all(insects.join("test")).unwrap();
        assert!(message(&folder("insects", 2)).contains("insects/test: "));
    }
}
