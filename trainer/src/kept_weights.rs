//! The weights that a finished job keeps, and the files that hold them: of the last epoch and of the best ones.

use plusminus_core::id::{Digest, JobId};
use plusminus_core::metric::EpochSelection;
use plusminus_engines::Weights;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The extension of temporary files. Caches remove those that killed processes leave behind.
const TEMPORARY_SUFFIX: &str = ".part";

/// The weights after one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The weights are those after this epoch, counted from 1.
    pub epoch: u32,
    /// All weights, running statistics included.
    pub weights: Weights,
}

/// The weights that a finished job keeps. The earliest epoch wins a tie.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptWeights {
    /// Those of the last epoch.
    pub last: Snapshot,
    /// Those with the highest test accuracy.
    pub best: Snapshot,
    /// Those with the highest validation accuracy; `None` without validation samples.
    pub best_validation: Option<Snapshot>,
    /// Those with the lowest validation loss; `None` without validation samples.
    pub best_validation_loss: Option<Snapshot>,
}

impl KeptWeights {
    /// Every epoch selection for which there are weights.
    pub fn selections(&self) -> impl Iterator<Item = (EpochSelection, &Snapshot)> {
        let accuracy = self.best_validation.as_ref().map(|snapshot| (EpochSelection::BestValidation, snapshot));
        let loss = self.best_validation_loss.as_ref().map(|snapshot| (EpochSelection::BestValidationLoss, snapshot));
        [(EpochSelection::Final, &self.last), (EpochSelection::Best, &self.best)]
            .into_iter()
            .chain(accuracy)
            .chain(loss)
    }

    /// Writes one file for each epoch selection, `DIRECTORY/<job>/<selection>.safetensors`, and returns the paths. Each write is atomic.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn write_named(&self, directory: &Path, job: JobId) -> io::Result<Vec<PathBuf>> {
        let directory = directory.join(job.to_string());
        plusminus_files::create_dir(&directory).map_err(|error| with_path(&directory, error))?;
        let mut paths = Vec::new();
        for (selection, snapshot) in self.selections() {
            let path = directory.join(format!("{selection}.safetensors"));
            let bytes = snapshot.safetensors(job, selection)?;
            plusminus_files::replace(&path, TEMPORARY_SUFFIX, |out| out.write_all(&bytes))
                .map_err(|error| with_path(&path, error))?;
            paths.push(path);
        }
        plusminus_files::sync_dir(&directory).map_err(|error| with_path(&directory, error))?;
        Ok(paths)
    }

    /// Writes the `wanted` selections as `DIRECTORY/<digest>.safetensors`, for child jobs, and returns their digests.
    ///
    /// # Errors
    /// The file system's, with the path; `InvalidInput` if the job has no weights for a selection.
    pub fn write_by_digest(
        &self,
        directory: &Path,
        job: JobId,
        wanted: &BTreeSet<EpochSelection>,
    ) -> io::Result<BTreeMap<EpochSelection, Digest>> {
        let write = |selection: &EpochSelection| {
            let snapshot = self.selections().find(|(own, _)| own == selection).map(|(_, snapshot)| snapshot);
            let missing = || {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the job has no weights for the epoch selection {selection}"),
                )
            };
            let bytes = snapshot.ok_or_else(missing)?.safetensors(job, *selection)?;
            let digest = Digest::of(&bytes);
            let path = directory.join(digest.file_name());
            plusminus_files::replace(&path, TEMPORARY_SUFFIX, |out| out.write_all(&bytes))
                .map_err(|error| with_path(&path, error))?;
            Ok((*selection, digest))
        };
        let written = wanted.iter().map(write).collect::<io::Result<_>>()?;
        plusminus_files::sync_dir(directory).map_err(|error| with_path(directory, error))?;
        Ok(written)
    }
}

impl Snapshot {
    /// The bytes of a safetensors file with every array under its name. The metadata key `plusminus` holds job, epoch and selection as
    /// JSON. It is a single key because the library writes several in any order, and equal weights must give equal files.
    fn safetensors(&self, job: JobId, selection: EpochSelection) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = self.weights.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let views = self.weights.plan().entries().iter().map(|entry| {
            let bytes = &bytes[entry.range.start * 4..entry.range.end * 4];
            TensorView::new(Dtype::F32, entry.shape.clone(), bytes).map(|view| (entry.name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let metadata = json!({"job": job.to_string(), "epoch": self.epoch, "selection": selection.to_string()});
        serialize(views, Some([("plusminus".to_owned(), metadata.to_string())].into())).map_err(io::Error::other)
    }
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::train::tests::job;
    use plusminus_core::job::Job;
    use plusminus_core::random::Stream;
    use plusminus_engines::Plan;
    use safetensors::SafeTensors;
    use std::sync::Arc;

    /// Untrained weights for all selections but one.
    fn kept(job: &Job) -> KeptWeights {
        let dataset = &job.configuration.dataset;
        let network = job.configuration.model.network(dataset.input(), dataset.classes()).unwrap();
        let weights = Arc::new(Plan::of(&network)).initial(&mut job.streams().generator(Stream::Weights, 0));
        let snapshot = |epoch| Snapshot { epoch, weights: weights.clone() };
        KeptWeights {
            last: snapshot(3),
            best: snapshot(2),
            best_validation: Some(snapshot(1)),
            best_validation_loss: None,
        }
    }

    #[test]
    fn files_hold_every_array_and_no_temporary_file_remains() {
        let job = job(1, |_| {});
        let kept = kept(&job);
        let weights = &kept.last.weights;
        let directory = tempfile::tempdir().unwrap();
        // Repeated writes replace the files with equal bytes.
        let write = || {
            let paths = kept.write_named(directory.path(), job.id()).unwrap();
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
        let metadata: serde_json::Value =
            serde_json::from_str(&header.metadata().as_ref().unwrap()["plusminus"]).unwrap();
        assert_eq!(metadata, json!({"job": job.id().to_string(), "epoch": 3, "selection": "final"}));
        let file = SafeTensors::deserialize(&first[0]).unwrap();
        assert_eq!(file.len(), weights.plan().entries().len());
        for entry in weights.plan().entries() {
            let view = file.tensor(&entry.name).unwrap();
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_eq!((view.shape(), &values[..]), (&entry.shape[..], &weights.values()[entry.range.clone()]));
        }
    }

    #[test]
    fn weights_for_child_jobs_are_named_by_their_digest() {
        let job = job(1, |_| {});
        let kept = kept(&job);
        let directory = tempfile::tempdir().unwrap();
        let wanted = BTreeSet::from([EpochSelection::Final, EpochSelection::BestValidation]);
        let written = kept.write_by_digest(directory.path(), job.id(), &wanted).unwrap();
        assert_eq!(written.keys().copied().collect::<BTreeSet<_>>(), wanted);
        for digest in written.values() {
            let bytes = fs::read(directory.path().join(digest.file_name())).unwrap();
            assert_eq!(Digest::of(&bytes), *digest);
        }
        assert_ne!(
            written[&EpochSelection::Final],
            written[&EpochSelection::BestValidation],
            "the file names its selection"
        );
        assert_eq!(kept.write_by_digest(directory.path(), job.id(), &wanted).unwrap(), written);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let other = BTreeSet::from([EpochSelection::BestValidationLoss]);
        let error = kept.write_by_digest(directory.path(), job.id(), &other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "not an error of the file system");
        assert_eq!(error.to_string(), "the job has no weights for the epoch selection best-validation-loss");
    }
}
