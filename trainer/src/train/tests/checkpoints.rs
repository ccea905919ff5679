//! An interrupted job gives the results of an uninterrupted one, whatever happens to its checkpoints.

use super::*;
use crate::checkpoint::{self, CheckpointInterval, TrainingState, remove};
use crate::data::{DataDirectories, LoadedDataset, SampleSet};
use plusminus_core::id::Attempt;
use plusminus_core::job::Parent;
use plusminus_core::methods::losses::{Forward, Lccn, TruncatedGce};
use plusminus_core::methods::networks::{Downsample, InitialWeights};
use plusminus_core::metric::EpochSelection;
use plusminus_engines::EngineKind;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// The data set, read once for all of these tests.
static DATA: LazyLock<DatasetCache> = LazyLock::new(DatasetCache::default);

/// Four epochs of three steps with 60 noisy training samples, 30 held-out samples and 20 test samples.
fn brief(configuration: &mut Configuration) {
    (configuration.train_size, configuration.test_size) = (Some(90), Some(20));
    (configuration.validation, configuration.batch_size, configuration.epochs) = (1.0 / 3.0, 20, 4);
    configuration.noise = Noise::uniform(0.4);
}

fn truncated(configuration: &mut Configuration) {
    brief(configuration);
    configuration.loss = Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.1, start: 1, every: 2 });
    configuration.optimizer = Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 1e-4 };
}

fn lccn(configuration: &mut Configuration) {
    brief(configuration);
    configuration.loss = Loss::Lccn(Lccn { alpha: 1.0, refresh: 2, warm_up: 2 });
}

fn residual(configuration: &mut Configuration) {
    brief(configuration);
    (configuration.train_size, configuration.test_size) = (Some(18), Some(4));
    (configuration.batch_size, configuration.epochs) = (6, 3);
    configuration.model = Model::Resnet20 { shortcut: Downsample::Pad };
    configuration.optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 1e-3, nesterov: true };
    configuration.augment = vec![Augment::Crop(2), Augment::Flip];
    configuration.normalize = Normalize::PixelMean;
}

/// Inputs without checkpoints.
fn train_inputs(kind: EngineKind) -> TrainInputs<'static> {
    TrainInputs {
        cache: &DATA,
        execution: ExecutionOptions { engine: Some(kind), ..ExecutionOptions::default() },
        parent: None,
        checkpoints: None,
    }
}

/// The same with checkpoints in `directory`.
fn with<'a>(train_inputs: TrainInputs<'a>, directory: &'a Path, attempt: u32, interval: &str) -> TrainInputs<'a> {
    let interval: CheckpointInterval = interval.parse().unwrap();
    TrainInputs {
        checkpoints: Some(CheckpointOptions { directory, attempt: Attempt(attempt), interval }),
        ..train_inputs
    }
}

fn fused<'a>(directory: &'a Path, attempt: u32, interval: &str) -> TrainInputs<'a> {
    with(train_inputs(EngineKind::Fused), directory, attempt, interval)
}

/// Stops a training at a given time, and records its progress.
#[derive(Default)]
struct Stopper {
    /// Stop after this epoch.
    after: Option<u32>,
    /// Stop at this epoch and step, or in the evaluation that follows.
    within: Option<(u32, u32)>,
    epochs: Vec<(u32, Measurements)>,
    steps: Vec<(u32, u32)>,
}

impl Stopper {
    fn after(epoch: u32) -> Self {
        Stopper { after: Some(epoch), ..Stopper::default() }
    }

    fn within(epoch: u32, step: u32) -> Self {
        Stopper { within: Some((epoch, step)), ..Stopper::default() }
    }

    /// The epochs that were trained rather than repeated from a checkpoint.
    fn trained(&self) -> Vec<u32> {
        let mut epochs: Vec<u32> = self.steps.iter().map(|(epoch, _)| *epoch).collect();
        epochs.dedup();
        epochs
    }

    fn reported(&self) -> Vec<u32> {
        self.epochs.iter().map(|(epoch, _)| *epoch).collect()
    }
}

impl Observer for Stopper {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.steps.push((progress.epoch, progress.step));
        let stop = self.within == Some((progress.epoch, progress.step));
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        self.epochs.push((epoch, measurements.clone()));
        if self.after == Some(epoch) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The checkpoint files of a job, oldest first.
fn files(directory: &Path, job: &Job) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join(job.id().to_string())).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn preempted(result: Result<TrainedJob, Failure>) {
    let failure = result.map(|_| ()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Preempted, "{failure}");
}

/// Trains a job in as many attempts as it has epochs. Each is stopped after one epoch or during the next.
fn in_pieces(job: &Job, train_inputs: TrainInputs<'_>, whole: &TrainedJob) {
    let directory = tempfile::tempdir().unwrap();
    let epochs = job.configuration.epochs;
    for epoch in 1..epochs {
        // Stops at an epoch's end, in a first step, or in a last step or evaluation. No checkpoint is due at any of them.
        let mut stopper = match epoch % 3 {
            1 => Stopper::after(epoch),
            2 => Stopper::within(epoch + 1, 1),
            _ => Stopper::within(epoch + 1, 3),
        };
        preempted(train(job, with(train_inputs, directory.path(), epoch, "1000epochs"), &mut stopper));
        assert_eq!(stopper.reported(), (1..=epoch).collect::<Vec<_>>(), "attempt {epoch}");
        assert_eq!(stopper.trained().first(), Some(&epoch), "attempt {epoch}");
        assert_eq!(files(directory.path(), job).len(), 2.min(epoch as usize));
    }
    let mut last = Stopper::default();
    let trained = train(job, with(train_inputs, directory.path(), epochs, "1000epochs"), &mut last).unwrap();
    assert_eq!(repeatable(&trained), repeatable(whole));
    assert_eq!((last.trained(), &last.epochs), (vec![epochs], &trained.epochs));
}

#[test]
fn a_job_interrupted_in_every_epoch_gives_the_same_bytes() {
    for kind in [EngineKind::Fused, EngineKind::Candle] {
        for change in [brief, truncated, lccn, residual] {
            let job = job(4, change);
            let whole = train(&job, train_inputs(kind), &mut ()).unwrap();
            in_pieces(&job, train_inputs(kind), &whole);
        }
    }
}

#[test]
fn one_interruption_after_any_epoch_changes_nothing() {
    let job = job(4, truncated);
    let whole = train(&job, train_inputs(EngineKind::Fused), &mut ()).unwrap();
    for epoch in 1..=4 {
        let directory = tempfile::tempdir().unwrap();
        let first = train(&job, fused(directory.path(), 1, "1epochs"), &mut Stopper::after(epoch));
        match epoch {
            // As if the process was killed before it could report.
            4 => assert_eq!(repeatable(&first.unwrap()), repeatable(&whole)),
            _ => preempted(first),
        }
        let mut second = Stopper::default();
        let trained = train(&job, fused(directory.path(), 2, "1epochs"), &mut second).unwrap();
        assert_eq!(repeatable(&trained), repeatable(&whole), "after epoch {epoch}");
        assert_eq!(second.trained(), (epoch + 1..=4).collect::<Vec<_>>());
        assert_eq!(second.reported(), [1, 2, 3, 4]);
    }
}

#[test]
fn a_stop_while_epochs_are_repeated_loses_nothing() {
    let job = job(4, brief);
    let directory = tempfile::tempdir().unwrap();
    preempted(train(&job, fused(directory.path(), 1, "1epochs"), &mut Stopper::after(3)));
    let before = files(directory.path(), &job);
    let mut stopper = Stopper::after(2);
    preempted(train(&job, fused(directory.path(), 2, "1epochs"), &mut stopper));
    assert_eq!((stopper.reported(), stopper.trained()), (vec![1, 2], vec![]));
    assert_eq!(files(directory.path(), &job), before);
}

#[test]
fn checkpoints_follow_the_interval_and_can_be_removed() {
    let job = job(4, brief);
    for (interval, left) in [("1epochs", vec![3, 4]), ("3epochs", vec![3]), ("1000s", vec![])] {
        let directory = tempfile::tempdir().unwrap();
        train(&job, fused(directory.path(), 7, interval), &mut ()).unwrap();
        let names = left.iter().map(|epoch| format!("epoch-{epoch}-attempt-7.checkpoint"));
        let root = directory.path().join(job.id().to_string());
        assert_eq!(files(directory.path(), &job), names.map(|name| root.join(name)).collect::<Vec<_>>(), "{interval}");
        remove(directory.path(), job.id()).unwrap();
        assert!(!root.exists());
    }
}

/// A directory with checkpoints after epochs 2 and 3.
fn after_three(job: &Job) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    preempted(train(job, fused(directory.path(), 1, "1epochs"), &mut Stopper::after(3)));
    directory
}

/// The epoch after which an attempt would resume.
fn resumes_after(job: &Job, train_inputs: TrainInputs<'_>) -> u32 {
    Run::new(job, train_inputs).unwrap().state.epoch()
}

#[test]
fn a_damaged_checkpoint_is_skipped_for_the_one_before() {
    let job = job(4, lccn);
    let whole = train(&job, train_inputs(EngineKind::Fused), &mut ()).unwrap();
    let directory = after_three(&job);
    let [second, third] = files(directory.path(), &job).try_into().unwrap();
    let damage = |path: &Path| fs::write(path, &fs::read(path).unwrap()[1..]).unwrap();
    damage(&third);
    let mut stopper = Stopper::default();
    let trained = train(&job, fused(directory.path(), 2, "1epochs"), &mut stopper).unwrap();
    assert_eq!((repeatable(&trained), stopper.trained()), (repeatable(&whole), vec![3, 4]));
    assert!(!third.exists(), "there are two usable ones now");
    fs::copy(&files(directory.path(), &job)[0], &second).unwrap();
    files(directory.path(), &job).iter().for_each(|file| damage(file));
    let mut stopper = Stopper::default();
    let trained = train(&job, fused(directory.path(), 3, "1epochs"), &mut stopper).unwrap();
    assert_eq!((repeatable(&trained), stopper.trained()), (repeatable(&whole), vec![1, 2, 3, 4]));
}

#[test]
fn a_checkpoint_of_another_engine_data_or_job_is_not_used() {
    let one = job(4, brief);
    let directory = after_three(&one);
    assert_eq!(resumes_after(&one, fused(directory.path(), 2, "1epochs")), 3);
    let candle = with(train_inputs(EngineKind::Candle), directory.path(), 2, "1epochs");
    assert_eq!(resumes_after(&one, candle), 0);
    // Written by an engine with the same reproducibility key on another processor.
    let file = &files(directory.path(), &one)[1];
    let plan = Arc::clone(run_of(&one, ExecutionOptions::default()).engine.weights().unwrap().plan());
    let mut saved = checkpoint::read(file, one.id(), &plan).unwrap();
    saved.origin.facts.engine = "fused on something else".to_owned();
    let parts = saved.best.each_ref().map(|best| best.as_ref().map(|(value, snapshot)| (*value, snapshot)));
    let state = TrainingState { engine: &saved.engine, criterion: &saved.criterion, best: parts, rows: &saved.rows };
    checkpoint::write(&mut fs::File::create(file).unwrap(), &saved.origin, state).unwrap();
    assert_eq!(resumes_after(&one, fused(directory.path(), 2, "1epochs")), 3);
    let data = DATA.get(&Dataset::FashionMnist10k).unwrap();
    let SampleSet { mut labels, .. } = data.train.clone();
    labels[0] = (labels[0] + 1) % 10;
    let changed = LoadedDataset::new(SampleSet { labels, ..data.train.clone() }, data.test.clone());
    let cache = DatasetCache::holding(Dataset::FashionMnist10k, changed);
    assert_eq!(resumes_after(&one, TrainInputs { cache: &cache, ..fused(directory.path(), 2, "1epochs") }), 0);
    let other = job(5, brief);
    let [from, to] = [&one, &other].map(|job| directory.path().join(job.id().to_string()));
    fs::rename(from, to).unwrap();
    assert_eq!(resumes_after(&other, fused(directory.path(), 2, "1epochs")), 0);
}

#[test]
fn a_failed_checkpoint_is_retried_and_does_not_end_the_training() {
    /// Removes the obstacle after an epoch.
    struct Mender<'a>(u32, &'a Path);
    impl Observer for Mender<'_> {
        fn epoch(&mut self, epoch: u32, _: &Measurements) -> ControlFlow<()> {
            if epoch == self.0 {
                fs::remove_file(self.1).unwrap();
            }
            ControlFlow::Continue(())
        }
    }
    let job = job(4, brief);
    let whole = train(&job, train_inputs(EngineKind::Fused), &mut ()).unwrap();
    for (mended, left) in [(9, 0), (4, 1), (2, 2)] {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("checkpoints");
        fs::write(&blocked, b"a file where a directory should be").unwrap();
        let trained = train(&job, fused(&blocked, 1, "1epochs"), &mut Mender(mended, &blocked)).unwrap();
        assert_eq!(repeatable(&trained), repeatable(&whole));
        assert_eq!(files(&blocked, &job).len(), left);
    }
    // A checkpoint that could not be written when it was due is written when the job is stopped.
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("checkpoints");
    fs::write(&blocked, b"a file where a directory should be").unwrap();
    let mut run = Run::new(&job, fused(&blocked, 1, "1epochs")).unwrap();
    let mut state = std::mem::take(&mut run.state);
    run.full_epoch(1, &mut state, &mut ()).unwrap();
    fs::remove_file(&blocked).unwrap();
    run.checkpoint_writer.unwrap().interrupted(&state);
    assert_eq!(resumes_after(&job, fused(&blocked, 2, "1epochs")), 1);
}

#[test]
fn a_resumed_job_does_not_need_the_files_of_its_start() {
    let files = tempfile::tempdir().unwrap();
    let parent = job(4, brief);
    let of_parent = train(&parent, train_inputs(EngineKind::Fused), &mut ()).unwrap();
    of_parent.weights.write_named(files.path(), parent.id()).unwrap();
    let weights = files.path().join(parent.id().to_string()).join("final.safetensors");
    fs::copy(&weights, files.path().join("named.safetensors")).unwrap();
    let cache = DatasetCache::new(DataDirectories { directories: vec![files.path().to_owned()] });
    let built_on = |configuration: &mut Configuration| {
        let of = Parent { configuration: (*parent.configuration).clone(), at: EpochSelection::Final };
        configuration.parent = Some(Box::new(of));
    };
    let estimated = job(4, |c| {
        brief(c);
        built_on(c);
        c.loss = Loss::Forward(Forward::Estimated { percentile: 97.0 });
    });
    let latent = job(4, |c| {
        lccn(c);
        built_on(c);
    });
    let named = job(4, |c| {
        brief(c);
        c.initial_weights = Some(InitialWeights { file: "named.safetensors".to_owned(), blake3: None });
    });
    let directory = tempfile::tempdir().unwrap();
    let jobs = [(estimated, Some(&weights)), (latent, Some(&weights)), (named, None)];
    let started = jobs.map(|(job, file)| {
        let train_inputs = TrainInputs {
            cache: &cache,
            parent: file.map(|file| parent_weights(file)),
            ..train_inputs(EngineKind::Fused)
        };
        let whole = train(&job, train_inputs, &mut ()).unwrap();
        preempted(train(&job, with(train_inputs, directory.path(), 1, "1epochs"), &mut Stopper::after(2)));
        (job, whole)
    });
    files.close().unwrap();
    for (job, whole) in started {
        let mut stopper = Stopper::default();
        let train_inputs = TrainInputs { cache: &cache, ..fused(directory.path(), 2, "1epochs") };
        let trained = train(&job, train_inputs, &mut stopper).unwrap();
        assert_eq!((repeatable(&trained), stopper.trained()), (repeatable(&whole), vec![3, 4]));
    }
}

#[test]
fn a_checkpoint_from_other_parent_weights_is_not_used() {
    let place = tempfile::tempdir().unwrap();
    let parent = job(4, brief);
    let left = train(&parent, train_inputs(EngineKind::Fused), &mut ()).unwrap().weights;
    left.write_named(place.path(), parent.id()).unwrap();
    let [last, best] = ["final", "best-validation"]
        .map(|name| place.path().join(parent.id().to_string()).join(name).with_extension("safetensors"));
    let child = job(4, |c| {
        lccn(c);
        c.parent = Some(Box::new(Parent { configuration: (*parent.configuration).clone(), at: EpochSelection::Final }));
    });
    let directory = tempfile::tempdir().unwrap();
    let given = |file, attempt| TrainInputs {
        parent: Some(parent_weights(file)),
        ..fused(directory.path(), attempt, "1epochs")
    };
    preempted(train(&child, given(&last, 1), &mut Stopper::after(2)));
    assert_eq!(resumes_after(&child, given(&last, 2)), 2);
    assert_eq!(resumes_after(&child, given(&best, 2)), 0, "it starts again from these weights");
    // The second attempt got no parent weights, but its checkpoint still has their digest.
    preempted(train(&child, fused(directory.path(), 2, "1epochs"), &mut Stopper::after(3)));
    assert_eq!([&last, &best].map(|file| resumes_after(&child, given(file, 3))), [3, 0]);
}

#[test]
fn a_diverged_job_writes_no_checkpoint_and_diverges_again() {
    let job = job(1, |c| {
        brief(c);
        c.optimizer = Optimizer::Sgd { lr: 1e12, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    });
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(|attempt| train(&job, fused(directory.path(), attempt, "1epochs"), &mut ()));
    assert_eq!(first.unwrap_err().kind, FailureKind::Diverged);
    assert_eq!(second.unwrap_err().kind, FailureKind::Diverged);
    assert!(files(directory.path(), &job).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_checkpoint_with_any_damage_is_skipped_for_the_one_before(
        place in any::<prop::sample::Index>(), flip in any::<u8>(), cut in any::<bool>()
    ) {
        static LEFT: LazyLock<(Job, tempfile::TempDir, Vec<u8>)> = LazyLock::new(|| {
            let job = job(4, truncated);
            let directory = after_three(&job);
            let bytes = fs::read(&files(directory.path(), &job)[1]).unwrap();
            (job, directory, bytes)
        });
        let (job, directory, bytes) = &*LEFT;
        let mut bytes = bytes.clone();
        let place = place.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] ^= flip.max(1) }
        fs::write(&files(directory.path(), job)[1], bytes).unwrap();
        let run = Run::new(job, fused(directory.path(), 2, "1epochs")).unwrap();
        prop_assert_eq!(run.state.epoch(), 2);
        let older = Run::new(job, fused(directory.path(), 2, "1epochs")).unwrap();
        prop_assert_eq!(run.engine.checkpoint().unwrap(), older.engine.checkpoint().unwrap());
    }
}
