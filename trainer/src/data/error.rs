//! Why a data set cannot be had. Every message says which file, what was expected and found, and what to do.

use image::ImageError;
use plusminus_core::outcome::{Failure, FailureKind};
use std::io;
use std::path::PathBuf;

/// Why a data set cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// None of its files is in any of the places.
    #[error(
        "the data set {name} was not found{}: {remedy} and name the directory that has it with --datasets DIR or \
         PLUSMINUS_DATASETS",
        listed(looked)
    )]
    NotFound {
        /// The data set.
        name: &'static str,
        /// Every place that was looked at.
        looked: Vec<PathBuf>,
        /// How to get it.
        remedy: &'static str,
    },
    /// Some of its files are in a place and one is not.
    #[error("{} has a part of the data set {name}, but {}", directory.display(), absent(files))]
    Incomplete {
        /// The data set.
        name: &'static str,
        /// Where the others are.
        directory: PathBuf,
        /// What is missing: the names that the file may have.
        files: Vec<String>,
    },
    /// A file cannot be read.
    #[error("{} cannot be read ({source}): check that the file is there and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A compressed file is damaged.
    #[error("{} is not a whole gzip file ({source}): fetch it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
        source: io::Error,
    },
    /// A file is of another kind.
    #[error("{} is not an IDX file of {kind}: expected the magic number {expected}, found {found}: check that the file is what its name says", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        kind: &'static str,
        /// The first four bytes that it should have.
        expected: u32,
        /// Those it has.
        found: u32,
    },
    /// A file ends too soon.
    #[error("{} is cut short: expected {expected} bytes, found {found}: fetch it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes (uncompressed) that it should have.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file goes on after its end.
    #[error("{} is too long: expected {expected} bytes, found more: fetch it again", path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes (uncompressed) that it should have.
        expected: u64,
    },
    /// A file holds another number or size of things than the data set has.
    #[error("{} has the wrong extents: expected {expected}, found {found}: check that the file belongs to the data set", path.display())]
    Extents {
        /// The file.
        path: PathBuf,
        /// What the data set has.
        expected: String,
        /// What the file's header says.
        found: String,
    },
    /// A file of Python's is no pickle, or holds something else than images and labels.
    #[error("{} is not a batch of images that Python saved ({source}): fetch it again", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
        source: Box<serde_pickle::Error>,
    },
    /// An image file is damaged, or of another kind than it should be.
    #[error("{} is not a whole JPEG or PNG image ({source}): replace it", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
        source: Box<ImageError>,
    },
    /// A line of a list says something else than it should.
    #[error("{}, line {line}: expected {expected}, found {found}: fetch the file again", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A pair of files does not belong together.
    #[error(
        "{} has {images} images and {} has {labels} labels: both files must come from one copy of the data set",
        images_path.display(), labels_path.display()
    )]
    Mismatch {
        /// The file of images.
        images_path: PathBuf,
        /// Images in it.
        images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// Labels in it.
        labels: usize,
    },
    /// A label names no class.
    #[error("{}: the label of sample {index} is {label}, expected one below {classes}: fetch the file again", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The sample, from 0.
        index: usize,
        /// Its label.
        label: u8,
        /// Classes of the data set.
        classes: usize,
    },
}

impl DataError {
    /// Whether another try may go well: where the system could not read a file that is there (a network file system that does not answer, a
    /// failing disk). What is not there, may not be read, or says something else than it should is so for every try.
    pub fn is_transient(&self) -> bool {
        match self {
            DataError::Read { source, .. } | DataError::Gzip { source, .. } => is_passing(source),
            DataError::Pickle { source, .. } => {
                matches!(&**source, serde_pickle::Error::Io(source) if is_passing(source))
            }
            DataError::Image { source, .. } => matches!(&**source, ImageError::IoError(source) if is_passing(source)),
            // Looked for in every place, and not there.
            DataError::NotFound { .. } | DataError::Incomplete { .. } => false,
            // Read to the end, and wrong.
            DataError::Magic { .. }
            | DataError::Truncated { .. }
            | DataError::Trailing { .. }
            | DataError::Extents { .. }
            | DataError::Line { .. }
            | DataError::Mismatch { .. }
            | DataError::Label { .. } => false,
        }
    }
}

/// Whether it is the system that could not read what is there. An error without a number of the system's is a decoder's, or says that
/// the end came too soon.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    let lasting = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput
    );
    error.raw_os_error().is_some() && !lasting
}

/// The failure of a job that cannot have what it is trained on: of another try something is to be hoped for only where that may pass.
pub(crate) fn unreadable(error: impl std::fmt::Display, passing: bool) -> Failure {
    let kind = if passing { FailureKind::Infrastructure } else { FailureKind::UserError };
    Failure::new(kind, error.to_string())
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        unreadable(&error, error.is_transient())
    }
}

/// After "was not found".
fn listed(places: &[PathBuf]) -> String {
    match places {
        [] => ", for there was no place to look in".to_owned(),
        _ => format!(" in {}", places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")),
    }
}

/// After "but".
fn absent(files: &[String]) -> String {
    match files {
        [file] => format!("{file} is missing: add it"),
        files => format!("{} are missing: add one of them", files.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn kinds(source: impl Fn() -> io::Error) -> [FailureKind; 4] {
        let path = || Path::new("a").to_owned();
        let errors = [
            DataError::Read { path: path(), source: source() },
            DataError::Gzip { path: path(), source: source() },
            DataError::Pickle { path: path(), source: Box::new(serde_pickle::Error::Io(source())) },
            DataError::Image { path: path(), source: Box::new(ImageError::IoError(source())) },
        ];
        errors.map(|error| Failure::from(error).kind)
    }

    #[test]
    fn a_file_that_the_system_cannot_read_may_be_read_another_time() {
        // EIO, ENFILE, and on Linux ESTALE and ETIMEDOUT.
        for number in [5, 23, 116, 110] {
            assert_eq!(kinds(|| io::Error::from_raw_os_error(number)), [FailureKind::Infrastructure; 4], "{number}");
        }
    }

    #[test]
    fn what_is_not_there_or_damaged_is_so_for_every_try() {
        // ENOENT, EACCES, EISDIR.
        for number in [2, 13, 21] {
            assert_eq!(kinds(|| io::Error::from_raw_os_error(number)), [FailureKind::UserError; 4], "{number}");
        }
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData] {
            assert_eq!(kinds(|| kind.into()), [FailureKind::UserError; 4], "{kind}: a decoder's word");
        }
        let missing = DataError::NotFound { name: "mr", looked: Vec::new(), remedy: "fetch it" };
        assert_eq!(Failure::from(missing).kind, FailureKind::UserError);
    }
}
