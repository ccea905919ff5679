//! Data sets of image files, from lists of files with labels.

use super::decode;
use super::error::DataError;
use super::loaded_dataset::LoadedDataset;
use super::sample_set::{ImageFiles, SampleSet, SampleValues};
use plusminus_core::methods::dataset::ImageShape;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of decoded images that a data set keeps in memory. The images of a larger one are decoded when they are used.
pub(crate) const MAX_IN_MEMORY: usize = 1 << 30;

/// Image files with their labels.
#[derive(Debug)]
pub(super) struct ImageList {
    /// The directory to which paths are relative.
    pub root: PathBuf,
    /// The path of each file.
    pub files: Vec<Box<str>>,
    /// The label of each file.
    pub labels: Vec<u32>,
}

impl ImageList {
    /// An empty list.
    pub fn new(root: PathBuf) -> Self {
        ImageList { root, files: Vec::new(), labels: Vec::new() }
    }

    /// Appends a file.
    pub fn push(&mut self, file: impl Into<Box<str>>, label: u32) {
        self.files.push(file.into());
        self.labels.push(label);
    }

    /// Decodes all files.
    fn decode(self, shape: ImageShape) -> Result<SampleSet, DataError> {
        let mut pixels = vec![0; self.files.len() * shape.len()];
        decode::all(self.files.len(), |i| self.root.join(&*self.files[i]), shape, &mut pixels)?;
        Ok(SampleSet::new(shape, pixels, self.labels))
    }

    /// Keeps the files, after a check that each exists.
    fn into_files(self, shape: ImageShape) -> Result<SampleSet, DataError> {
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

/// A data set of these files, with images of this shape. They are decoded now if all of them take at most `limit` bytes, and
/// otherwise when they are used.
pub(super) fn load(
    shape: ImageShape,
    train: ImageList,
    validation: Option<ImageList>,
    test: ImageList,
    limit: usize,
) -> Result<LoadedDataset, DataError> {
    let lists = [Some(&train), validation.as_ref(), Some(&test)].into_iter().flatten();
    let bytes = lists.map(|list| list.files.len().saturating_mul(shape.len())).fold(0, usize::saturating_add);
    let load = |list: ImageList| if bytes <= limit { list.decode(shape) } else { list.into_files(shape) };
    Ok(LoadedDataset::with_validation(load(train)?, validation.map(load).transpose()?, load(test)?))
}

/// The names of the JPEG and PNG files in a directory, sorted. Hidden files are skipped.
pub(super) fn image_names(directory: &Path) -> Result<Vec<String>, DataError> {
    let is_image = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    names(directory, |path| is_image(path) && path.is_file())
}

/// The names of the folders in a directory, sorted. Hidden ones are skipped.
pub(super) fn folder_names(directory: &Path) -> Result<Vec<String>, DataError> {
    names(directory, Path::is_dir)
}

fn names(directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let refused = |source| DataError::Read { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let wanted = wanted(&path);
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
