//! The work of a runner: trains one assignment and saves its weights.

use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::metric::EpochSelection;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_engines::ExecutionOptions;
use plusminus_proto::convert::{Invalid, required_attempt};
use plusminus_proto::v1;
use plusminus_proto::weights;
use plusminus_trainer as trainer;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The configuration of a runner.
#[derive(Clone, Debug, Default)]
pub struct ChildOptions {
    /// The directories that are searched for data sets.
    pub datasets: Vec<PathBuf>,
    /// The directory to which the weights of every job are saved, if any.
    pub weights: Option<PathBuf>,
    /// The directory for parent weights and kept weights.
    pub cache: PathBuf,
    /// The directory for checkpoints.
    pub checkpoints: PathBuf,
    /// How often a checkpoint is written.
    pub checkpoint_every: trainer::CheckpointInterval,
    /// The device, the engine and the threads of its jobs.
    pub execution: ExecutionOptions,
    /// The number of jobs that are trained at the same time; at least one.
    pub lanes: u32,
}

/// Trains an assignment and saves its weights.
pub(super) fn train(
    assignment: &v1::Assignment,
    cache: &trainer::DatasetCache,
    options: &ChildOptions,
    observer: &mut dyn trainer::Observer,
) -> Result<Facts, Failure> {
    let malformed = |error: Invalid| {
        let advice = "check that coordinator and worker have the same version";
        Failure::new(FailureKind::UserError, format!("malformed assignment: {error}; {advice}"))
    };
    let job = assignment.job().map_err(malformed)?;
    let parent = assignment.parent(&job).map_err(malformed)?;
    let parent = parent.map(|(_, digest)| verified(&options.cache, digest).map(|path| (path, digest))).transpose()?;
    let parent = parent.as_ref().map(|(path, digest)| trainer::ParentWeights { path, digest: *digest });
    let keeps = assignment.keeps().map_err(malformed)?;
    let AttemptId { attempt, .. } = required_attempt(assignment.of.as_ref()).map_err(malformed)?;
    let (directory, every) = (options.checkpoints.as_path(), options.checkpoint_every);
    let checkpoints = Some(trainer::CheckpointOptions { directory, attempt, interval: every });
    let inputs = trainer::TrainInputs { cache, execution: options.execution, parent, checkpoints };
    let trainer::TrainedJob { mut facts, weights, .. } = trainer::train(&job, inputs, observer)?;
    let save = || {
        options.weights.iter().try_for_each(|directory| weights.write_named(directory, job.id()).map(drop))?;
        weights.write_by_digest(&options.cache, job.id(), &keeps)
    };
    facts.kept = until_saved(save, observer)?;
    Ok(facts)
}

/// Saves the weights of a finished training. While the disk fails, it tries again as long as `observer` agrees: otherwise the job would be
/// trained again, only to fail at the same place.
fn until_saved(
    save: impl Fn() -> io::Result<BTreeMap<EpochSelection, Digest>>,
    observer: &mut dyn trainer::Observer,
) -> Result<BTreeMap<EpochSelection, Digest>, Failure> {
    loop {
        let failure = match save() {
            Ok(kept) => return Ok(kept),
            Err(error) => not_saved(&error),
        };
        if failure.kind != FailureKind::Preempted || observer.waiting(&failure.message).is_break() {
            return Err(failure);
        }
    }
}

/// The failure of a job whose weights cannot be saved. A disk error concerns this host only, so the job is requeued; a selection that the job
/// does not have is missing on every host.
fn not_saved(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::InvalidInput => FailureKind::Infrastructure,
        _ => FailureKind::Preempted,
    };
    Failure::new(kind, format!("cannot save the weights: {error}"))
}

/// The path of the parent weights after a check of their digest: the file may have been damaged since it was fetched.
fn verified(cache: &Path, digest: Digest) -> Result<PathBuf, Failure> {
    let path = weights::path(cache, digest);
    let failed = |why: String| {
        let what = format!("the parent weights {}", path.display());
        Failure::new(FailureKind::Preempted, format!("{what} {why}; the next attempt fetches them again"))
    };
    match weights::is_whole(cache, digest) {
        Ok(true) => Ok(path),
        Ok(false) => Err(failed("are damaged or missing".to_owned())),
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::ops::ControlFlow;

    #[test]
    fn damaged_parent_weights_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"weights");
        let path = weights::path(directory.path(), digest);
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(verified(directory.path(), digest).unwrap(), path);
        std::fs::write(&path, b"weighed").unwrap();
        let failure = verified(directory.path(), digest).unwrap_err();
        assert!(failure.kind == FailureKind::Preempted && failure.message.contains("damaged"), "{failure}");
        assert!(!path.exists(), "the next attempt fetches them again");
    }

    #[test]
    fn a_full_disk_for_weights_preempts_the_job() {
        let full = io::Error::from_raw_os_error(28);
        let failure = not_saved(&io::Error::new(full.kind(), format!("final.safetensors: {full}")));
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.starts_with("cannot save the weights: final.safetensors: "), "{failure}");
        let none = io::Error::new(io::ErrorKind::InvalidInput, "the job has no weights at best-validation");
        assert_eq!(not_saved(&none).kind, FailureKind::Infrastructure, "no host has them, so retries are limited");
    }

    /// Agrees to this many tries.
    struct Patience(usize);

    impl trainer::Observer for Patience {
        fn waiting(&mut self, reason: &str) -> ControlFlow<()> {
            assert!(reason.starts_with("cannot save the weights: "), "{reason}");
            match self.0.checked_sub(1) {
                Some(left) => {
                    self.0 = left;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            }
        }
    }

    #[test]
    fn a_finished_training_waits_until_its_weights_can_be_saved() {
        let tries = Cell::new(0);
        let full = || io::Error::from_raw_os_error(28);
        let save = || {
            tries.set(tries.get() + 1);
            if tries.get() < 4 { Err(full()) } else { Ok(BTreeMap::new()) }
        };
        assert_eq!(until_saved(save, &mut Patience(3)), Ok(BTreeMap::new()));
        assert_eq!(tries.take(), 4);
        assert_eq!(until_saved(|| Err(full()), &mut Patience(2)).unwrap_err().kind, FailureKind::Preempted);
        let none = || Err(io::ErrorKind::InvalidInput.into());
        assert_eq!(until_saved(none, &mut Patience(usize::MAX)).unwrap_err().kind, FailureKind::Infrastructure);
    }
}
