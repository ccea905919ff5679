//! Data sets of image files: what a list of files becomes.

use super::error::DataError;
use super::{ImageFiles, ImageShape, LoadedDataset, SampleSet, SampleValues, decode};
use std::fs;
use std::path::{Path, PathBuf};

/// Decoded images of one data set that are kept in memory, in bytes at most. Of larger sets each image is decoded whenever it is asked for.
pub(crate) const MAX_IN_MEMORY: usize = 1 << 30;

/// Image files with their labels.
#[derive(Debug)]
pub(super) struct ImageList {
    /// The directory that paths start from.
    pub root: PathBuf,
    /// Each file's path from there.
    pub files: Vec<Box<str>>,
    /// Each file's label.
    pub labels: Vec<u32>,
}

impl ImageList {
    /// No files yet.
    pub fn new(root: PathBuf) -> Self {
        ImageList { root, files: Vec::new(), labels: Vec::new() }
    }

    /// One more.
    pub fn push(&mut self, file: impl Into<Box<str>>, label: u32) {
        self.files.push(file.into());
        self.labels.push(label);
    }

    /// The pixels, decoded now.
    fn decoded(self, shape: ImageShape) -> Result<SampleSet, DataError> {
        let mut pixels = vec![0; self.files.len() * shape.len()];
        decode::all(self.files.len(), |i| self.root.join(&*self.files[i]), shape, &mut pixels)?;
        Ok(SampleSet::new(shape, pixels, self.labels))
    }

    /// The files, each of which is there.
    fn streamed(self, shape: ImageShape) -> Result<SampleSet, DataError> {
        let ImageList { root, files, labels } = self;
        let sized = files.into_iter().map(|file| {
            let size = size(&root.join(&*file))?;
            Ok((file, size))
        });
        let files = sized.collect::<Result<Vec<_>, _>>()?;
        Ok(SampleSet { shape, values: SampleValues::Files(ImageFiles { root, files }), labels, foreign: 0 })
    }
}

fn size(path: &Path) -> Result<u64, DataError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(source) => Err(DataError::Read { path: path.to_owned(), source }),
    }
}

/// A data set of these files at the extent `shape`: decoded now where all of them take no more than `limit` bytes, otherwise whenever an image is
/// asked for.
pub(super) fn load(
    shape: ImageShape,
    train: ImageList,
    validation: Option<ImageList>,
    test: ImageList,
    limit: usize,
) -> Result<LoadedDataset, DataError> {
    let images = [Some(&train), validation.as_ref(), Some(&test)].into_iter().flatten();
    let bytes = images.map(|listed| listed.files.len().saturating_mul(shape.len())).fold(0, usize::saturating_add);
    let load = |listed: ImageList| if bytes <= limit { listed.decoded(shape) } else { listed.streamed(shape) };
    Ok(LoadedDataset::with_validation(load(train)?, validation.map(load).transpose()?, load(test)?))
}

/// The names in a directory, in their order, hidden ones left out: of its directories, or of its JPEG and PNG files.
pub(super) fn names(directory: &Path, directories: bool) -> Result<Vec<String>, DataError> {
    let refused = |source| DataError::Read { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let kind = |path: &Path| {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        let wanted = if directories { path.is_dir() } else { kind(&path) && path.is_file() };
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if wanted && !name.starts_with('.') => names.push(name.to_owned()),
            None if wanted => {
                let (expected, found) = ("names in UTF-8".to_owned(), path.display().to_string());
                return Err(DataError::Extents { path: directory.to_owned(), expected, found });
            }
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}
