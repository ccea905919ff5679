//! Given labels from a text file: a label a line in the order of the training file, or `index,label` a line in any order.

use super::{DataDirectories, is_passing, unreadable};
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::outcome::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More bytes than a line with an index and a label takes.
const LINE: usize = 32;

/// Why given labels cannot be had from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabelFileError {
    /// It is in none of the directories.
    #[error(
        "the labels {file} were not found{}: put the file into a directory that is named with --datasets DIR or PLUSMINUS_DATASETS",
        listed(looked)
    )]
    NotFound { file: String, looked: Vec<PathBuf> },
    /// It cannot be read.
    #[error("{} cannot be read ({source}): check its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is no text, or so long that it can be no list of the labels.
    #[error("{} is no list of {samples} labels: expected a text with a label a line", path.display())]
    NotALabelList { path: PathBuf, samples: usize },
    /// A line is something else.
    #[error("{}, line {line}: expected {expected}, found `{found}`", path.display())]
    Line { path: PathBuf, line: usize, expected: &'static str, found: String },
    /// A label names no class.
    #[error("{}, line {line}: the label is {label}, expected one below {classes}", path.display())]
    Label { path: PathBuf, line: usize, label: u64, classes: usize },
    /// An index names no sample.
    #[error("{}, line {line}: the index is {index}, expected one below {samples}, counted from 0", path.display())]
    Index { path: PathBuf, line: usize, index: u64, samples: usize },
    /// A sample has two labels.
    #[error("{}, line {line}: sample {index} has a label already, expected one for each sample", path.display())]
    Twice { path: PathBuf, line: usize, index: usize },
    /// There are more or fewer labels than samples.
    #[error(
        "{} has {found} labels, expected {samples}: one for each sample of the whole training file, whatever the job takes of it",
        path.display()
    )]
    Count { path: PathBuf, found: usize, samples: usize },
}

impl From<LabelFileError> for Failure {
    fn from(error: LabelFileError) -> Self {
        let passing = matches!(&error, LabelFileError::Read { source, .. } if is_passing(source));
        unreadable(error, passing)
    }
}

/// After "were not found".
fn listed(places: &[PathBuf]) -> String {
    match places {
        [] => ", for there was no place to look in".to_owned(),
        _ => format!(" as {}", places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")),
    }
}

/// The labels in `file`, one for each of the `samples` of the training file, from the first place that has it.
pub(super) fn read(
    datasets: &DataDirectories,
    dataset: &Dataset,
    file: &str,
    samples: usize,
) -> Result<Vec<u32>, LabelFileError> {
    let looked: Vec<PathBuf> = datasets.places(dataset).map(|place| place.join(file)).collect();
    let Some(path) = looked.iter().find(|path| path.is_file()) else {
        return Err(LabelFileError::NotFound { file: file.to_owned(), looked });
    };
    let longest = samples.saturating_mul(LINE).saturating_add(1 << 10);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(longest as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| LabelFileError::Read { path: path.clone(), source })?;
    let no_list = || LabelFileError::NotALabelList { path: path.clone(), samples };
    if bytes.len() > longest {
        return Err(no_list());
    }
    let text = String::from_utf8(bytes).map_err(|_| no_list())?;
    parse(&text, path, samples, dataset.classes())
}

fn parse(text: &str, path: &Path, samples: usize, classes: usize) -> Result<Vec<u32>, LabelFileError> {
    let path = || path.to_owned();
    // What some editors put before a text, and what some end it with.
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

/// A line that is short enough for a message.
fn shortened(line: &str) -> String {
    const LONGEST: usize = 40;
    let mut short: String = line.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parsed(text: &str) -> Result<Vec<u32>, String> {
        parse(text, Path::new("a.txt"), 3, 10).map_err(|error| error.to_string())
    }

    #[test]
    fn a_label_a_line_is_read_in_the_order_of_the_file() {
        for text in ["7\n0\n9", "7\n0\n9\n\n", "\u{feff}7\r\n0\r\n9\r\n", "label\n7\n 0 \n9\n"] {
            assert_eq!(parsed(text).unwrap(), [7, 0, 9], "{text:?}");
        }
    }

    #[test]
    fn labels_with_indices_are_read_in_any_order() {
        for text in ["0,7\n1,0\n2,9\n", "2,9\n0,7\n1,0", "index,label\r\n1, 0\r\n2,9\r\n0,7\r\n"] {
            assert_eq!(parsed(text).unwrap(), [7, 0, 9], "{text:?}");
        }
    }

    #[test]
    fn what_is_no_label_for_each_sample_is_refused_with_its_line() {
        let wrong = [
            ("7\n10\n9", "a.txt, line 2: the label is 10, expected one below 10"),
            ("7\n-1\n9", "a.txt, line 2: expected a label, such as `7`, found `-1`"),
            ("label\n7\n\n9\n", "a.txt, line 3: expected a label, such as `7`, found ``"),
            ("7\n1,0\n9", "a.txt, line 2: expected a label, such as `7`, found `1,0`"),
            ("0,7\n9", "a.txt, line 2: expected an index and a label, such as `0,7`, found `9`"),
            ("0,1,2", "a.txt, line 1: expected an index and a label, such as `0,7`, found `0,1,2`"),
            ("0,7\n1,0\n3,9", "a.txt, line 3: the index is 3, expected one below 3, counted from 0"),
            ("0,7\n1,0\n0,7", "a.txt, line 3: sample 0 has a label already, expected one for each sample"),
            ("99999999999999999999", "a.txt, line 1: expected a label, such as `7`, found `99999999999999999999`"),
        ];
        for (text, message) in wrong {
            assert_eq!(parsed(text).unwrap_err(), message, "{text:?}");
        }
    }

    #[test]
    fn too_few_and_too_many_labels_are_counted() {
        for (text, found) in [("", 0), ("label\n", 0), ("1\n2", 2), ("1\n2\n3\n4", 4), ("2,1", 1)] {
            let message = parsed(text).unwrap_err();
            assert!(message.starts_with(&format!("a.txt has {found} labels, expected 3: ")), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_file_is_looked_for_beside_the_data_set_and_in_its_folder() {
        let directory = tempfile::tempdir().unwrap();
        let datasets = DataDirectories { directories: vec![directory.path().to_owned()] };
        let found = || read(&datasets, &Dataset::Cifar10, "human.txt", 2).map_err(|error| error.to_string());
        let message = found().unwrap_err();
        assert!(message.starts_with("the labels human.txt were not found as "), "{message}");
        assert!(message.contains("cifar-10/human.txt or ") && message.contains("--datasets DIR"), "{message}");
        fs::write(directory.path().join("human.txt"), "1\n2\n").unwrap();
        assert_eq!(found().unwrap(), [1, 2]);
        fs::create_dir(directory.path().join("cifar-10")).unwrap();
        fs::write(directory.path().join("cifar-10/human.txt"), "3\n4\n").unwrap();
        assert_eq!(found().unwrap(), [3, 4]);
    }

    #[test]
    fn a_file_that_is_no_text_or_far_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let datasets = DataDirectories { directories: vec![directory.path().to_owned()] };
        let path = directory.path().join("a");
        let refused =
            || matches!(read(&datasets, &Dataset::Cifar10, "a", 2), Err(LabelFileError::NotALabelList { .. }));
        fs::write(&path, [0x80, 0xff]).unwrap();
        assert!(refused());
        fs::write(&path, b"1\n2\n").unwrap();
        File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 40)).unwrap();
        assert!(refused());
    }
}
