//! The weights that a finished job leaves: at its last epoch, at its best, and at its best validation accuracy.

use crate::engine::Weights;
use plusminus_core::id::JobId;
use plusminus_core::metric::At;
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Weights at one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The epoch after which they stood so, from 1.
    pub epoch: u32,
    /// The weights.
    pub weights: Weights,
}

/// The weights that a job leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// After the last epoch.
    pub last: Snapshot,
    /// After the epoch with the highest test accuracy, the earliest of equals.
    pub best: Snapshot,
    /// After the epoch with the highest validation accuracy, the earliest of equals; where there are validation samples.
    pub best_validation: Option<Snapshot>,
}

impl Kept {
    /// Each selection that the job has.
    pub fn selections(&self) -> impl Iterator<Item = (At, &Snapshot)> {
        let validation = self.best_validation.as_ref().map(|snapshot| (At::BestValidation, snapshot));
        [(At::Final, &self.last), (At::Best, &self.best)].into_iter().chain(validation)
    }

    /// Writes `DIRECTORY/<job>/{final,best,best-validation}.safetensors` and gives their paths. A file is there in full, with
    /// its content on disk, or not at all.
    ///
    /// # Errors
    /// The file system's, with the file's path.
    pub fn write(&self, directory: &Path, job: JobId) -> io::Result<Vec<PathBuf>> {
        let directory = directory.join(job.to_string());
        fs::create_dir_all(&directory).map_err(|error| at(&directory, error))?;
        let mut paths = Vec::new();
        for (selection, snapshot) in self.selections() {
            let path = directory.join(format!("{selection}.safetensors"));
            replace(&path, &snapshot.safetensors(job, selection)?).map_err(|error| at(&path, error))?;
            paths.push(path);
        }
        // The new names are on disk once their directory is.
        File::open(&directory).and_then(|opened| opened.sync_all()).map_err(|error| at(&directory, error))?;
        Ok(paths)
    }
}

impl Snapshot {
    /// The bytes of a safetensors file: every array under its name, running statistics included.
    fn safetensors(&self, job: JobId, selection: At) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = self.weights.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let views = self.weights.plan().entries().iter().map(|entry| {
            let bytes = &bytes[entry.range.start * 4..entry.range.end * 4];
            TensorView::new(Dtype::F32, entry.shape.clone(), bytes).map(|view| (entry.name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let about = [("job", job.to_string()), ("epoch", self.epoch.to_string()), ("selection", selection.to_string())];
        let about: HashMap<String, String> = about.map(|(name, value)| (name.to_owned(), value)).into();
        serialize(views, Some(about)).map_err(io::Error::other)
    }
}

/// Writes beside the file, then takes its place. The temporary name is the process's own, so that two attempts at one job on
/// one disk do not write into each other's.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // What is left of a full disk's file helps nobody; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Plan;
    use crate::train::tests::job;
    use plusminus_core::random::Stream;
    use safetensors::SafeTensors;
    use std::sync::Arc;

    #[test]
    fn files_hold_every_array_under_its_name_and_nothing_is_left_beside_them() {
        let job = job(1, |_| {});
        let dataset = &job.configuration.dataset;
        let network = job.configuration.model.network(dataset.shape(), dataset.classes()).unwrap();
        let weights = Arc::new(Plan::of(&network)).initial(&mut job.streams().generator(Stream::Weights, 0));
        let snapshot = |epoch| Snapshot { epoch, weights: weights.clone() };
        let kept = Kept { last: snapshot(3), best: snapshot(2), best_validation: Some(snapshot(1)) };
        let directory = tempfile::tempdir().unwrap();
        // Twice: the second takes the place of the first.
        kept.write(directory.path(), job.id()).unwrap();
        let paths = kept.write(directory.path(), job.id()).unwrap();
        let mut names: Vec<String> = fs::read_dir(directory.path().join(job.id().to_string()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["best-validation.safetensors", "best.safetensors", "final.safetensors"]);
        let bytes = fs::read(&paths[0]).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), weights.plan().entries().len());
        for entry in weights.plan().entries() {
            let view = file.tensor(&entry.name).unwrap();
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_eq!((view.shape(), &values[..]), (&entry.shape[..], &weights.values()[entry.range.clone()]));
        }
    }
}
