//! Why a data set cannot be loaded. Every message states the file, what was expected, what was found, and a remedy.

use super::directories::searched;
use image::ImageError;
use plusminus_core::outcome::{Failure, FailureKind};
use std::io;
use std::path::PathBuf;

/// Why a data set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No place has any of the data set's files.
    #[error(
        "data set `{name}` not found{}; {remedy}, then name its directory with `--datasets DIR` or `PLUSMINUS_DATASETS`",
        searched(places)
    )]
    NotFound {
        /// The data set.
        name: &'static str,
        /// Every place that was searched.
        places: Vec<PathBuf>,
        /// Where to get the files, as a command: "unpack …".
        remedy: &'static str,
    },
    /// A place has some of the data set's files and lacks others.
    #[error("data set `{name}` is incomplete: {} lacks {}; add the file", directory.display(), files.join(" or "))]
    Incomplete {
        /// The data set.
        name: &'static str,
        /// The place that has the other files.
        directory: PathBuf,
        /// The names that the missing file may have.
        files: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check that the file exists and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A compressed file is damaged.
    #[error("{} is not a complete gzip file: {source}; fetch it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        source: io::Error,
    },
    /// A file has another format.
    #[error(
        "{} is not an IDX file of {kind}: expected the magic number {expected}, found {found}; check that the file is what its name says",
        path.display()
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// What it should contain: images or labels.
        kind: &'static str,
        /// The expected first four bytes, as a big-endian number.
        expected: u32,
        /// The first four bytes of the file.
        found: u32,
    },
    /// A file is too short.
    #[error("{} is truncated: expected {expected} bytes, found {found}; fetch it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its expected size in bytes, uncompressed.
        expected: u64,
        /// Its size in bytes, uncompressed.
        found: u64,
    },
    /// A file is too long.
    #[error("{} is too long: expected {expected} bytes, found more; fetch it again", path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Its expected size in bytes, uncompressed.
        expected: u64,
    },
    /// A file or folder contains another number of things, or things of another size, than the data set.
    #[error("{}: expected {expected}, found {found}; check that it belongs to the data set", path.display())]
    Extents {
        /// The file or folder.
        path: PathBuf,
        /// The sizes or counts in the data set.
        expected: String,
        /// The sizes or counts that were found.
        found: String,
    },
    /// A file is not a Python pickle of images and labels.
    #[error("{} is not a Python pickle of images and labels: {source}; fetch it again", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        source: Box<serde_pickle::Error>,
    },
    /// An image file is damaged or has another format.
    #[error("{} is not a complete JPEG or PNG image: {source}; replace it", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        source: Box<ImageError>,
    },
    /// A line of a list is malformed.
    #[error("{}, line {line}: expected {expected}, found {found}; fetch the file again", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The expected content.
        expected: String,
        /// The line's content.
        found: String,
    },
    /// A file of images and a file of labels do not belong together.
    #[error(
        "{} has {images} images, {} has {labels} labels; take both files from one copy of the data set",
        images_path.display(), labels_path.display()
    )]
    Mismatch {
        /// The file of images.
        images_path: PathBuf,
        /// The number of images.
        images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// The number of labels.
        labels: usize,
    },
    /// A label is not a class of the data set.
    #[error("{}: sample {index} has the label {label}, expected one below {classes}; fetch the file again", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The sample, from 0.
        index: usize,
        /// Its label.
        label: u8,
        /// The number of classes.
        classes: usize,
    },
}

impl DataError {
    /// Whether a retry may succeed: the system could not read an existing file, for example because a network file system did not
    /// answer or a disk fails. A file that is missing, forbidden or wrong stays so.
    pub fn is_transient(&self) -> bool {
        match self {
            DataError::Read { source, .. } | DataError::Gzip { source, .. } => is_transient(source),
            DataError::Pickle { source, .. } => {
                matches!(&**source, serde_pickle::Error::Io(source) if is_transient(source))
            }
            DataError::Image { source, .. } => {
                matches!(&**source, ImageError::IoError(source) if is_transient(source))
            }
            DataError::NotFound { .. }
            | DataError::Incomplete { .. }
            | DataError::Magic { .. }
            | DataError::Truncated { .. }
            | DataError::Trailing { .. }
            | DataError::Extents { .. }
            | DataError::Line { .. }
            | DataError::Mismatch { .. }
            | DataError::Label { .. } => false,
        }
    }
}

/// Whether the system failed to read an existing file. An error without a number of the system's comes from a decoder, or reports an
/// early end of the file.
pub(crate) fn is_transient(error: &io::Error) -> bool {
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

/// The failure of a job whose data cannot be loaded: `Infrastructure` if a retry may succeed, `UserError` otherwise.
pub(crate) fn read_failure(error: impl std::fmt::Display, is_transient: bool) -> Failure {
    let kind = if is_transient { FailureKind::Infrastructure } else { FailureKind::UserError };
    Failure::new(kind, error.to_string())
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        read_failure(&error, error.is_transient())
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
    fn a_file_that_the_system_cannot_read_is_retried() {
        // EIO, ENFILE, and on Linux ESTALE and ETIMEDOUT.
        for number in [5, 23, 116, 110] {
            assert_eq!(kinds(|| io::Error::from_raw_os_error(number)), [FailureKind::Infrastructure; 4], "{number}");
        }
    }

    #[test]
    fn a_missing_or_damaged_file_is_the_users_error() {
        // ENOENT, EACCES, EISDIR.
        for number in [2, 13, 21] {
            assert_eq!(kinds(|| io::Error::from_raw_os_error(number)), [FailureKind::UserError; 4], "{number}");
        }
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData] {
            assert_eq!(kinds(|| kind.into()), [FailureKind::UserError; 4], "{kind}: a decoder's error");
        }
        let missing = DataError::NotFound { name: "mr", places: Vec::new(), remedy: "fetch it" };
        assert_eq!(
            missing.to_string(),
            "data set `mr` not found: no `--datasets` directory was given; fetch it, then name its directory with `--datasets DIR` \
             or `PLUSMINUS_DATASETS`"
        );
        assert_eq!(Failure::from(missing).kind, FailureKind::UserError);
    }
}
