//! The weights that a finished job leaves: at its last epoch, at its best, and at its best in validation.

use crate::file;
use plusminus_core::id::{Digest, JobId};
use plusminus_core::metric::EpochSelection;
use plusminus_engines::Weights;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
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
    /// After the epoch with the lowest validation loss, the earliest of equals; where there are validation samples.
    pub best_validation_loss: Option<Snapshot>,
}

impl Kept {
    /// Each selection that the job has.
    pub fn selections(&self) -> impl Iterator<Item = (EpochSelection, &Snapshot)> {
        let accuracy = self.best_validation.as_ref().map(|snapshot| (EpochSelection::BestValidation, snapshot));
        let loss = self.best_validation_loss.as_ref().map(|snapshot| (EpochSelection::BestValidationLoss, snapshot));
        [(EpochSelection::Final, &self.last), (EpochSelection::Best, &self.best)]
            .into_iter()
            .chain(accuracy)
            .chain(loss)
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
            let bytes = snapshot.safetensors(job, selection)?;
            file::replace(&path, |out| out.write_all(&bytes)).map_err(|error| at(&path, error))?;
            paths.push(path);
        }
        // The new names are on disk once their directory is.
        file::sync(&directory).map_err(|error| at(&directory, error))?;
        Ok(paths)
    }

    /// Writes the `wanted` selections as `DIRECTORY/<digest>.safetensors`, for jobs that build on them, and gives their digests.
    ///
    /// # Errors
    /// The file system's, with the file's path; `InvalidInput` where the job has no such selection.
    pub fn leave(
        &self,
        directory: &Path,
        job: JobId,
        wanted: &BTreeSet<EpochSelection>,
    ) -> io::Result<BTreeMap<EpochSelection, Digest>> {
        let leave = |selection: &EpochSelection| {
            let snapshot = self.selections().find(|(at, _)| at == selection).map(|(_, snapshot)| snapshot);
            let missing =
                || io::Error::new(io::ErrorKind::InvalidInput, format!("the job has no weights at {selection}"));
            let bytes = snapshot.ok_or_else(missing)?.safetensors(job, *selection)?;
            let digest = Digest::of(&bytes);
            let path = directory.join(digest.file_name());
            file::replace(&path, |out| out.write_all(&bytes)).map_err(|error| at(&path, error))?;
            Ok((*selection, digest))
        };
        let left = wanted.iter().map(leave).collect::<io::Result<_>>()?;
        file::sync(directory).map_err(|error| at(directory, error))?;
        Ok(left)
    }
}

impl Snapshot {
    /// The bytes of a safetensors file: every array under its name, running statistics included, and what it is of as JSON
    /// under `plusminus`. One key, for the library writes several in any order, and equal weights shall give equal files.
    fn safetensors(&self, job: JobId, selection: EpochSelection) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = self.weights.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let views = self.weights.plan().entries().iter().map(|entry| {
            let bytes = &bytes[entry.range.start * 4..entry.range.end * 4];
            TensorView::new(Dtype::F32, entry.shape.clone(), bytes).map(|view| (entry.name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let about = json!({"job": job.to_string(), "epoch": self.epoch, "selection": selection.to_string()});
        serialize(views, Some([("plusminus".to_owned(), about.to_string())].into())).map_err(io::Error::other)
    }
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::train::tests::job;
    use plusminus_core::job::Job;
    use plusminus_core::random::Stream;
    use plusminus_engines::Plan;
    use safetensors::SafeTensors;
    use std::sync::Arc;

    /// Weights that are not trained, as those of a job that has all but one selection.
    fn kept(job: &Job) -> Kept {
        let dataset = &job.configuration.dataset;
        let network = job.configuration.model.network(dataset.input(), dataset.classes()).unwrap();
        let weights = Arc::new(Plan::of(&network)).initial(&mut job.streams().generator(Stream::Weights, 0));
        let snapshot = |epoch| Snapshot { epoch, weights: weights.clone() };
        Kept { last: snapshot(3), best: snapshot(2), best_validation: Some(snapshot(1)), best_validation_loss: None }
    }

    #[test]
    fn files_hold_every_array_under_its_name_and_nothing_is_left_beside_them() {
        let job = job(1, |_| {});
        let kept = kept(&job);
        let weights = &kept.last.weights;
        let directory = tempfile::tempdir().unwrap();
        // Several times: each takes the place of the one before, with equal bytes.
        let write = || {
            let paths = kept.write(directory.path(), job.id()).unwrap();
            (paths.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), paths)
        };
        let (first, paths) = write();
        (0..4).for_each(|_| assert_eq!(write().0, first));
        let mut names: Vec<String> = fs::read_dir(directory.path().join(job.id().to_string()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["best-validation.safetensors", "best.safetensors", "final.safetensors"]);
        assert!(paths[0].ends_with("final.safetensors"));
        let (_, header) = SafeTensors::read_metadata(&first[0]).unwrap();
        let about: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["plusminus"]).unwrap();
        assert_eq!(about, json!({"job": job.id().to_string(), "epoch": 3, "selection": "final"}));
        let file = SafeTensors::deserialize(&first[0]).unwrap();
        assert_eq!(file.len(), weights.plan().entries().len());
        for entry in weights.plan().entries() {
            let view = file.tensor(&entry.name).unwrap();
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_eq!((view.shape(), &values[..]), (&entry.shape[..], &weights.values()[entry.range.clone()]));
        }
    }

    #[test]
    fn weights_that_are_left_for_others_are_called_by_what_is_in_them() {
        let job = job(1, |_| {});
        let kept = kept(&job);
        let directory = tempfile::tempdir().unwrap();
        let wanted = BTreeSet::from([EpochSelection::Final, EpochSelection::BestValidation]);
        let left = kept.leave(directory.path(), job.id(), &wanted).unwrap();
        assert_eq!(left.keys().copied().collect::<BTreeSet<_>>(), wanted);
        for digest in left.values() {
            let bytes = fs::read(directory.path().join(digest.file_name())).unwrap();
            assert_eq!(Digest::of(&bytes), *digest);
        }
        assert_ne!(left[&EpochSelection::Final], left[&EpochSelection::BestValidation], "which is said in the file");
        assert_eq!(kept.leave(directory.path(), job.id(), &wanted).unwrap(), left);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let other = BTreeSet::from([EpochSelection::BestValidationLoss]);
        let error = kept.leave(directory.path(), job.id(), &other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "not the file system's");
        assert_eq!(error.to_string(), "the job has no weights at best-validation-loss");
    }
}
