//! The directories in which data sets, label files and initial weights are looked for.

use plusminus_core::methods::dataset::Dataset;
use std::path::PathBuf;

/// The directories of `--datasets`. Some data sets are also found where a system's packages install them.
#[derive(Clone, Debug, Default)]
pub struct DataDirectories {
    /// In the order of the search. Each may hold a data set's files, or a folder with the data set's name.
    pub directories: Vec<PathBuf>,
}

impl DataDirectories {
    /// The places where the files of `dataset` may be: for each directory, the folder with the data set's name, then the directory.
    pub(super) fn places(&self, dataset: &Dataset) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().flat_map(|directory| [directory.join(dataset.name()), directory.clone()])
    }
}

/// Where something was looked for, as the end of an error message: `: no \`--datasets\` directory was given`, or the list of places.
pub(crate) fn searched(places: &[PathBuf]) -> String {
    match places {
        [] => ": no `--datasets` directory was given".to_owned(),
        _ => {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            format!("; searched {}", places.join(", "))
        }
    }
}
