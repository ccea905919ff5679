//! Reads given labels from a text file: one label on each line, in the order of the training file, or `index,label` lines in any order.

use super::directories::{DataDirectories, searched};
use super::error::{is_transient, read_failure};
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::outcome::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An upper bound for the bytes of a line with an index and a label.
const LINE: usize = 32;

/// Why labels cannot be read from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabelFileError {
    /// The file is in none of the places.
    #[error(
        "label file `{file}` not found{}; put it in a directory and name that with `--datasets DIR` or `PLUSMINUS_DATASETS`",
        searched(places)
    )]
    NotFound { file: String, places: Vec<PathBuf> },
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is not UTF-8 text, or too long for a list of the labels.
    #[error("{} is not a list of {samples} labels: expected a text file with one label on each line", path.display())]
    NotALabelList { path: PathBuf, samples: usize },
    /// A line is malformed.
    #[error("{}, line {line}: expected {expected}, found `{found}`", path.display())]
    Line { path: PathBuf, line: usize, expected: &'static str, found: String },
    /// A label is not a class of the data set.
    #[error("{}, line {line}: the label is {label}, expected one below {classes}", path.display())]
    Label { path: PathBuf, line: usize, label: u64, classes: usize },
    /// An index is not a sample.
    #[error("{}, line {line}: the index is {index}, expected one below {samples}, counted from 0", path.display())]
    Index { path: PathBuf, line: usize, index: u64, samples: usize },
    /// A sample has two labels.
    #[error("{}, line {line}: sample {index} has two labels, expected one for each sample", path.display())]
    Twice { path: PathBuf, line: usize, index: usize },
    /// The number of labels differs from the number of samples.
    #[error(
        "{} has {found} labels, expected {samples}: one for each sample of the training file, even if the job uses fewer",
        path.display()
    )]
    Count { path: PathBuf, found: usize, samples: usize },
}

impl From<LabelFileError> for Failure {
    fn from(error: LabelFileError) -> Self {
        let transient = matches!(&error, LabelFileError::Read { source, .. } if is_transient(source));
        read_failure(error, transient)
    }
}

/// Reads the labels in `file`, one for each of the `samples` of the training file, from the first place that has it.
pub(super) fn read(
    directories: &DataDirectories,
    dataset: &Dataset,
    file: &str,
    samples: usize,
) -> Result<Vec<u32>, LabelFileError> {
    let places: Vec<PathBuf> = directories.places(dataset).map(|place| place.join(file)).collect();
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        return Err(LabelFileError::NotFound { file: file.to_owned(), places });
    };
    let longest = samples.saturating_mul(LINE).saturating_add(1 << 10);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(longest as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| LabelFileError::Read { path: path.clone(), source })?;
    let not_a_list = || LabelFileError::NotALabelList { path: path.clone(), samples };
    if bytes.len() > longest {
        return Err(not_a_list());
    }
    let text = String::from_utf8(bytes).map_err(|_| not_a_list())?;
    parse(&text, path, samples, dataset.classes())
}

fn parse(text: &str, path: &Path, samples: usize, classes: usize) -> Result<Vec<u32>, LabelFileError> {
    let path = || path.to_owned();
    // Some editors write a byte order mark, and some end the text with empty lines.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let mut lines = text.lines().map(str::trim).zip(1..).peekable();
    let is_header = |line: &str| matches!(line.to_ascii_lowercase().as_str(), "label" | "index,label");
    let indexed = lines.peek().is_some_and(|(line, _)| line.contains(','));
    lines.next_if(|(line, _)| is_header(line));
    let expected = if indexed { "an index and a label, such as `0,7`" } else { "a label, such as `7`" };
    let mut given: Vec<Option<u32>> = vec![None; if indexed { samples } else { 0 }];
    let mut found = 0;
    for (text, line) in lines {
        let wrong = || LabelFileError::Line { path: path(), line, expected, found: shortened(text) };
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let (index, label) = match text.split_once(',') {
            Some((index, label)) if indexed => (number(index)?, number(label)?),
            None if !indexed => (found as u64, number(text)?),
            _ => return Err(wrong()),
        };
        if label >= classes as u64 {
            return Err(LabelFileError::Label { path: path(), line, label, classes });
        }
        let label = Some(label as u32);
        if indexed {
            let Some(place) = usize::try_from(index).ok().and_then(|index| given.get_mut(index)) else {
                return Err(LabelFileError::Index { path: path(), line, index, samples });
            };
            if place.is_some() {
                return Err(LabelFileError::Twice { path: path(), line, index: index as usize });
            }
            *place = label;
        } else {
            given.push(label);
        }
        found += 1;
    }
    if found != samples {
        return Err(LabelFileError::Count { path: path(), found, samples });
    }
    Ok(given.into_iter().flatten().collect())
}

/// The start of a line, for an error message.
fn shortened(line: &str) -> String {
    plusminus_core::display_text::shortened(line, 40).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parsed(text: &str) -> Result<Vec<u32>, String> {
        parse(text, Path::new("a.txt"), 3, 10).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_without_indices_are_in_file_order() {
        for text in ["7\n0\n9", "7\n0\n9\n\n", "\u{feff}7\r\n0\r\n9\r\n", "label\n7\n 0 \n9\n"] {
            assert_eq!(parsed(text).unwrap(), [7, 0, 9], "{text:?}");
        }
    }

    #[test]
    fn labels_with_indices_may_be_in_any_order() {
        for text in ["0,7\n1,0\n2,9\n", "2,9\n0,7\n1,0", "index,label\r\n1, 0\r\n2,9\r\n0,7\r\n"] {
            assert_eq!(parsed(text).unwrap(), [7, 0, 9], "{text:?}");
        }
    }

    #[test]
    fn a_wrong_line_is_an_error_with_its_number() {
        let wrong = [
            ("7\n10\n9", "a.txt, line 2: the label is 10, expected one below 10"),
            ("7\n-1\n9", "a.txt, line 2: expected a label, such as `7`, found `-1`"),
            ("label\n7\n\n9\n", "a.txt, line 3: expected a label, such as `7`, found ``"),
            ("7\n1,0\n9", "a.txt, line 2: expected a label, such as `7`, found `1,0`"),
            ("0,7\n9", "a.txt, line 2: expected an index and a label, such as `0,7`, found `9`"),
            ("0,1,2", "a.txt, line 1: expected an index and a label, such as `0,7`, found `0,1,2`"),
            ("0,7\n1,0\n3,9", "a.txt, line 3: the index is 3, expected one below 3, counted from 0"),
            ("0,7\n1,0\n0,7", "a.txt, line 3: sample 0 has two labels, expected one for each sample"),
            ("99999999999999999999", "a.txt, line 1: expected a label, such as `7`, found `99999999999999999999`"),
        ];
        for (text, message) in wrong {
            assert_eq!(parsed(text).unwrap_err(), message, "{text:?}");
        }
    }

    #[test]
    fn too_few_or_too_many_labels_are_an_error() {
        for (text, found) in [("", 0), ("label\n", 0), ("1\n2", 2), ("1\n2\n3\n4", 4), ("2,1", 1)] {
            let message = parsed(text).unwrap_err();
            assert!(message.starts_with(&format!("a.txt has {found} labels, expected 3: ")), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_file_is_looked_for_in_the_data_sets_folder_and_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let directories = DataDirectories { directories: vec![directory.path().to_owned()] };
        let found = || read(&directories, &Dataset::Cifar10, "human.txt", 2).map_err(|error| error.to_string());
        let message = found().unwrap_err();
        assert!(message.starts_with("label file `human.txt` not found; searched "), "{message}");
        assert!(message.contains("cifar-10/human.txt, ") && message.contains("--datasets DIR"), "{message}");
        fs::write(directory.path().join("human.txt"), "1\n2\n").unwrap();
        assert_eq!(found().unwrap(), [1, 2]);
        fs::create_dir(directory.path().join("cifar-10")).unwrap();
        fs::write(directory.path().join("cifar-10/human.txt"), "3\n4\n").unwrap();
        assert_eq!(found().unwrap(), [3, 4]);
    }

    #[test]
    fn a_binary_or_far_too_long_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let directories = DataDirectories { directories: vec![directory.path().to_owned()] };
        let path = directory.path().join("a");
        let refused =
            || matches!(read(&directories, &Dataset::Cifar10, "a", 2), Err(LabelFileError::NotALabelList { .. }));
        fs::write(&path, [0x80, 0xff]).unwrap();
        assert!(refused());
        fs::write(&path, b"1\n2\n").unwrap();
        File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 40)).unwrap();
        assert!(refused());
    }
}
