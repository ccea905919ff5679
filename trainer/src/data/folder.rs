//! A folder of one's own: `PATH/train/CLASS/*.{jpg,jpeg,png}` and `PATH/test/CLASS/*.{jpg,jpeg,png}`.
//!
//! Classes have their numbers in the order of their names, the same in both parts. Images come in turns, the first of every class, then the
//! second, each class's in the order of their names, so that the first or the last of them are of all classes.

use super::error::DataError;
use super::image_list::{self, ImageList, names};
use super::{DataDirectories, LoadedDataset};
use plusminus_core::methods::dataset::{Dataset, Folder};
use std::path::{Path, PathBuf};

/// The data set from the first place that has the folder.
pub(super) fn from_disk(datasets: &DataDirectories, folder: &Folder) -> Result<LoadedDataset, DataError> {
    search(datasets, folder, image_list::MAX_IN_MEMORY)
}

fn search(datasets: &DataDirectories, folder: &Folder, limit: usize) -> Result<LoadedDataset, DataError> {
    let path = Path::new(&folder.path);
    let looked: Vec<PathBuf> = match path.is_absolute() {
        true => vec![path.to_owned()],
        false => datasets.directories.iter().map(|directory| directory.join(path)).collect(),
    };
    let Some(place) = looked.iter().find(|place| place.is_dir()) else {
        let remedy = "give `path` as it is from a directory of data sets, or from the root,";
        return Err(DataError::NotFound { name: "folder", looked, remedy });
    };
    let (train_part, test_part) = (place.join("train"), place.join("test"));
    let (classes, tested) = (names(&train_part, true)?, names(&test_part, true)?);
    if classes.len() != folder.classes {
        let (expected, found) = (format!("{} folders, one a class", folder.classes), classes.len().to_string());
        return Err(DataError::Extents { path: train_part, expected, found });
    }
    if tested != classes {
        let only = |these: &[String], those: &[String]| these.iter().find(|name| !those.contains(name)).cloned();
        let found = match (only(&classes, &tested), only(&tested, &classes)) {
            (Some(name), _) => format!("none for the class {name}"),
            (None, name) => format!("one for a class {}", name.unwrap_or_default()),
        };
        let expected = "the same folders as for training".to_owned();
        return Err(DataError::Extents { path: test_part, expected, found });
    }
    let (train, test) = (part(train_part, &classes)?, part(test_part, &classes)?);
    image_list::load(Dataset::Folder(folder.clone()).shape(), train, None, test, limit)
}

fn part(root: PathBuf, classes: &[String]) -> Result<ImageList, DataError> {
    let mut files = Vec::with_capacity(classes.len());
    for class in classes {
        let path = root.join(class);
        let found = names(&path, false)?;
        if found.is_empty() {
            let (expected, found) = ("at least one .jpg, .jpeg or .png".to_owned(), "none".to_owned());
            return Err(DataError::Extents { path, expected, found });
        }
        files.push(found);
    }
    let mut listed = ImageList::new(root);
    for turn in 0..files.iter().map(Vec::len).max().unwrap_or(0) {
        for ((class, files), label) in classes.iter().zip(&files).zip(0..) {
            if let Some(file) = files.get(turn) {
                listed.push(format!("{class}/{file}"), label);
            }
        }
    }
    Ok(listed)
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

    /// Three images of `ants` and one of `bees` to train on, one of each for the test.
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
    fn classes_are_numbered_by_name_and_take_turns() {
        let directory = ants_and_bees();
        let data = found(directory.path(), &folder("insects", 2)).unwrap();
        assert_eq!((data.train.labels.as_slice(), data.test.labels.as_slice()), (&[0, 1, 0, 0][..], &[0, 1][..]));
        assert_eq!(data.train.bytes(), [[10; 4], [50; 4], [20; 4], [30; 4]].concat());
        let absolute = directory.path().join("insects").display().to_string();
        assert_eq!(from_disk(&DataDirectories::default(), &folder(&absolute, 2)).unwrap(), data);
    }

    #[test]
    fn what_is_found_must_be_what_the_sweep_file_says() {
        let directory = ants_and_bees();
        let told = |folder: &Folder| found(directory.path(), folder).unwrap_err().to_string();
        assert!(told(&folder("birds", 2)).contains("give `path` as it is"), "{}", told(&folder("birds", 2)));
        assert!(told(&folder("insects", 3)).contains("expected 3 folders, one a class, found 2"));
        let insects = directory.path().join("insects");
        fs::create_dir(insects.join("test/cats")).unwrap();
        assert!(told(&folder("insects", 2)).contains("found one for a class cats"));
        fs::remove_dir(insects.join("test/cats")).unwrap();
        fs::remove_file(insects.join("test/bees/1.png")).unwrap();
        assert!(told(&folder("insects", 2)).contains("expected at least one .jpg, .jpeg or .png, found none"));
        fs::remove_dir(insects.join("test/bees")).unwrap();
        assert!(told(&folder("insects", 2)).contains("found none for the class bees"));
        fs::remove_dir_all(insects.join("test")).unwrap();
        assert!(told(&folder("insects", 2)).contains("insects/test cannot be read"));
    }
}
