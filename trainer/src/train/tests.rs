//! Whole jobs: repeatability, progress, failures.

mod checkpoints;
mod criteria;
mod diagnostics;
mod files;
mod noise;
mod on_device;

use super::run::{Run, Subset};
use super::{Observer, ParentWeights, Progress, TrainInputs, TrainedJob, train};
use crate::checkpoint::CheckpointOptions;
use crate::data::{DatasetCache, shuffle};
use crate::kept_weights::KeptWeights;
use plusminus_core::diagnostics::Diagnostic;
use plusminus_core::id::Digest;
use plusminus_core::job::{Configuration, Job};
use plusminus_core::methods::augment::{Augment, Normalize};
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::methods::losses::{Cce, Loss};
use plusminus_core::methods::networks::Model;
use plusminus_core::methods::noise::Noise;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::schedule::Schedule;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::random::Stream;
use plusminus_engines::testing::cross_entropy;
use plusminus_engines::{ExecutionOptions, Weights};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A job on the data set in the binary. `change` modifies its configuration.
pub(crate) fn job(seed: u64, change: impl FnOnce(&mut Configuration)) -> Job {
    let mut configuration = Configuration {
        dataset: Dataset::FashionMnist10k,
        model: Model::Cnn { dropout: 0.5 },
        initial_weights: None,
        loss: Loss::Cce(Cce {}),
        noise: Noise::None,
        noise_seed: None,
        optimizer: Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.0, nesterov: false },
        schedule: Schedule::Constant,
        epochs: 1,
        batch_size: 100,
        train_size: None,
        test_size: None,
        validation: 0.0,
        split: Default::default(),
        augment: Vec::new(),
        normalize: Normalize::Unit,
        precision: Default::default(),
        diagnostics: Vec::new(),
        parent: None,
    };
    change(&mut configuration);
    let cell = configuration.cell();
    Job::new(Arc::new(configuration), cell, seed)
}

/// Makes a job fast enough for a test: 400 training samples, the rest held out.
fn small(configuration: &mut Configuration) {
    configuration.validation = 0.95;
    configuration.noise = Noise::uniform(0.4);
}

fn train_with(job: &Job, execution: ExecutionOptions, observer: &mut dyn Observer) -> Result<TrainedJob, Failure> {
    train(job, TrainInputs::new(&DatasetCache::default(), execution), observer)
}

/// The weights in a file that a job kept.
fn parent_weights(path: &Path) -> ParentWeights<'_> {
    ParentWeights { path, digest: Digest::of(&std::fs::read(path).unwrap()) }
}

fn run_of(job: &Job, execution: ExecutionOptions) -> Run<'_> {
    Run::new(job, TrainInputs::new(&DatasetCache::default(), execution)).unwrap()
}

fn trained(job: &Job) -> TrainedJob {
    train_with(job, ExecutionOptions::default(), &mut ()).unwrap()
}

/// Records progress, and stops the job after a number of calls.
#[derive(Default)]
struct Recorder {
    /// In training and in evaluations.
    progress: Vec<Progress>,
    epochs: Vec<(u32, Measurements)>,
    /// The number of calls of `progress` after which to stop.
    stop_after: Option<usize>,
}

impl Recorder {
    /// Epoch and step, without repetitions.
    fn steps(&self) -> Vec<(u32, u32)> {
        let mut steps: Vec<_> = self.progress.iter().map(|progress| (progress.epoch, progress.step)).collect();
        steps.dedup();
        steps
    }
}

impl Observer for Recorder {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.progress.push(progress);
        if self.stop_after == Some(self.progress.len()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        self.epochs.push((epoch, measurements.clone()));
        ControlFlow::Continue(())
    }
}

/// The results that do not depend on the clock.
fn repeatable(trained: &TrainedJob) -> (Facts, Vec<Measurements>, &KeptWeights) {
    let rows = trained.epochs.iter().map(|(_, row)| {
        let mut row = row.clone();
        row.remove(&Metric::ImagesPerSecond);
        row
    });
    (trained.facts.clone(), rows.collect(), &trained.weights)
}

#[test]
fn a_job_gives_equal_bytes_twice_and_others_with_another_seed() {
    let augmented = |c: &mut Configuration| {
        small(c);
        c.epochs = 2;
        c.augment = vec![Augment::Crop(2), Augment::Flip];
    };
    let (first, again, other) = (trained(&job(1, augmented)), trained(&job(1, augmented)), trained(&job(2, augmented)));
    assert_eq!(repeatable(&first), repeatable(&again));
    assert_ne!(first.facts.weights, other.facts.weights);
    assert_eq!(first.facts.weights, first.weights.last.weights.digest());
}

/// The fused engine with that many threads.
fn threads(number: usize) -> ExecutionOptions {
    ExecutionOptions { threads: number.try_into().unwrap(), ..ExecutionOptions::default() }
}

/// The digest of a ResNet's weights after two steps of the engine. An epoch with its evaluation would take a minute.
fn two_steps_of_a_resnet(seed: u64, execution: ExecutionOptions) -> String {
    let job = job(seed, |c| {
        c.model = Model::Resnet20 { shortcut: plusminus_core::methods::networks::Downsample::Pad };
    });
    let mut run = run_of(&job, execution);
    let (mut batch, mut dropout) = (Vec::new(), job.streams().generator(Stream::Dropout, 1));
    for start in [0, 8] {
        let samples: Vec<usize> = (start..start + 8).collect();
        run.inputs.gather(&run.data.train, &samples, &mut batch).unwrap();
        let labels = &run.labels.given[start..start + 8];
        run.engine.train_step(&batch, &mut cross_entropy(labels), 0.1, &mut dropout).unwrap();
    }
    run.engine.weights().unwrap().digest()
}

#[test]
fn a_resnet_trained_twice_gives_equal_bytes() {
    assert_eq!(two_steps_of_a_resnet(1, threads(1)), two_steps_of_a_resnet(1, threads(1)));
    assert_ne!(two_steps_of_a_resnet(1, threads(1)), two_steps_of_a_resnet(2, threads(1)));
}

#[test]
fn no_result_depends_on_the_number_of_threads() {
    let job = job(3, |c| {
        // The last batch takes the remaining 22 samples.
        (c.train_size, c.batch_size, c.validation) = (Some(150), 32, 0.2);
        c.noise = Noise::uniform(0.4);
    });
    let with = |number| train_with(&job, threads(number), &mut ()).unwrap();
    let (one, resnet) = (with(1), two_steps_of_a_resnet(3, threads(1)));
    for number in [2, 3] {
        assert_eq!(repeatable(&with(number)), repeatable(&one), "{number} threads");
        assert_eq!(two_steps_of_a_resnet(3, threads(number)), resnet, "{number} threads, ResNet");
    }
}

#[test]
fn prefetched_batches_give_the_bytes_of_batches_made_in_between() {
    let job = job(4, |c| {
        small(c);
        c.batch_size = 150;
        c.augment = vec![Augment::Crop(4), Augment::Flip];
        c.normalize = Normalize::PixelMean;
    });
    let run = || run_of(&job, ExecutionOptions::default());
    let (mut prefetched, mut in_between) = (run(), run());
    let mut batch = Vec::new();
    for epoch in [1, 2] {
        let loss = prefetched.epoch(epoch, &mut ()).unwrap()[&Metric::TrainLoss];
        let generator = |stream| job.streams().generator(stream, u64::from(epoch));
        let mut order = in_between.labels.train.clone();
        shuffle(&mut order, &mut generator(Stream::Order));
        let (mut augmentation, mut dropout) = (generator(Stream::Augmentation), generator(Stream::Dropout));
        let Run { data, labels, inputs, engine, .. } = &mut in_between;
        let mut total = 0.0;
        for samples in order.chunks(150) {
            let augment = &job.configuration.augment;
            inputs.gather_augmented(&data.train, samples, augment, &mut augmentation, &mut batch).unwrap();
            let labels: Vec<u32> = samples.iter().map(|sample| labels.given[*sample]).collect();
            let loss = engine.train_step(&batch, &mut cross_entropy(&labels), 0.05, &mut dropout).unwrap();
            total += loss * samples.len() as f64;
        }
        assert_eq!(loss, total / 400.0);
        assert_eq!(prefetched.engine.weights().unwrap().digest(), in_between.engine.weights().unwrap().digest());
    }
}

#[test]
fn a_train_size_limits_training_and_counts() {
    let job = job(3, |c| {
        small(c);
        (c.train_size, c.test_size) = (Some(60), Some(40));
        c.validation = 0.5;
        c.batch_size = 20;
    });
    let mut recorder = Recorder::default();
    let trained = train_with(&job, ExecutionOptions::default(), &mut recorder).unwrap();
    assert_eq!(trained.facts.samples, Samples { train: 30, validation: 30, test: 40 });
    assert_eq!(recorder.steps(), [(1, 1), (1, 2)]);
}

#[test]
fn an_observer_receives_every_step_and_epoch() {
    let job = job(3, |c| {
        small(c);
        c.epochs = 2;
        c.batch_size = 150;
    });
    let mut recorder = Recorder::default();
    let trained = train_with(&job, ExecutionOptions::default(), &mut recorder).unwrap();
    let samples = Samples { train: 400, validation: 7_600, test: 2_000 };
    assert_eq!(trained.facts.samples, samples);
    assert_eq!(trained.facts.data, DatasetCache::default().get(&Dataset::FashionMnist10k).unwrap().digest);
    assert!(trained.facts.engine.starts_with("fused "), "{}", trained.facts.engine);
    assert_eq!(recorder.steps(), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]);
    assert!(recorder.progress.iter().all(|progress| (progress.epochs, progress.steps) == (2, 3)));
    assert_eq!(recorder.epochs, trained.epochs);
    let row = &recorder.epochs[1].1;
    let plain = Metric::ALL.iter().filter(|metric| Diagnostic::of(**metric).is_none());
    assert!(row.keys().eq(plain), "every metric without a diagnostic is measured: {row:?}");
    assert!((0.3..0.5).contains(&trained.facts.noise_rate));
    assert_eq!(trained.facts.parameters, trained.weights.last.weights.plan().trained());
}

#[test]
fn metrics_without_samples_are_not_measured() {
    let job = job(3, |c| {
        c.batch_size = 10_000;
        c.optimizer = Optimizer::Sgd { lr: 1e-3, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    });
    // A batch larger than the training file makes one step.
    let mut recorder = Recorder::default();
    let trained = train_with(&job, ExecutionOptions::default(), &mut recorder).unwrap();
    assert_eq!(recorder.steps(), [(1, 1)]);
    for metric in [Metric::NoisyAccuracy, Metric::RecoveredAccuracy, Metric::ValidationLoss, Metric::ValidationAccuracy]
    {
        assert!(!recorder.epochs[0].1.contains_key(&metric), "{metric}");
    }
    assert!(trained.weights.best_validation.is_none());
    assert_eq!((trained.facts.noise_rate, trained.facts.samples.validation), (0.0, 0));
}

#[test]
fn training_learns() {
    let job = job(0, |c| {
        c.validation = 0.75;
        c.epochs = 2;
        c.batch_size = 50;
    });
    let trained = trained(&job);
    let accuracy = trained.epochs[1].1[&Metric::TestAccuracy];
    assert!(accuracy > 0.6, "{accuracy} after two epochs of 2,000 images");
    assert!(trained.epochs[1].1[&Metric::TrainLoss] < trained.epochs[0].1[&Metric::TrainLoss]);
}

#[test]
fn a_stopped_job_is_preempted() {
    let job = job(1, small);
    // Four steps, then 400 + 7,600 + 2,000 samples in evaluation batches of 250.
    for (calls, when) in [
        (2, "in epoch 1 of 1, after step 2 of 4"),
        (5, "in the evaluation after epoch 1 of 1"),
        (30, "in the evaluation after epoch 1 of 1"),
    ] {
        let mut recorder = Recorder { stop_after: Some(calls), ..Recorder::default() };
        let failure = train_with(&job, ExecutionOptions::default(), &mut recorder).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.contains(when), "{}", failure.message);
        assert_eq!((recorder.progress.len(), recorder.epochs.len()), (calls, 0), "nothing happens after a stop");
    }
}

#[test]
fn a_far_too_high_learning_rate_diverges() {
    let job = job(1, |c| {
        small(c);
        c.epochs = 5;
        c.optimizer = Optimizer::Sgd { lr: 1e12, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    });
    let failure = train_with(&job, ExecutionOptions::default(), &mut ()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Diverged);
    assert!(
        failure.message.contains("epoch 1") && failure.message.contains("lower optimizer.lr"),
        "{}",
        failure.message
    );
}

#[test]
fn an_impossible_configuration_is_the_users_error() {
    let kind = |job: Job| train_with(&job, ExecutionOptions::default(), &mut ()).unwrap_err().kind;
    assert_eq!(kind(job(0, |c| c.validation = 0.99999)), FailureKind::UserError);
    assert_eq!(kind(job(0, |c| c.epochs = 0)), FailureKind::UserError);
    assert_eq!(kind(job(0, |c| c.batch_size = 0)), FailureKind::UserError);
    let constants = Normalize::Constants { mean: vec![0.5; 3], std: vec![0.5; 3] };
    assert_eq!(kind(job(0, |c| c.normalize = constants)), FailureKind::UserError);
}

/// Makes the training wait after every step, as an expired lease does, and adds up the time.
#[derive(Default)]
struct Slow(Duration);

impl Observer for Slow {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        if progress.step > 0 {
            let started = Instant::now();
            std::thread::sleep(Duration::from_millis(400));
            self.0 += started.elapsed();
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn time_spent_waiting_for_a_lease_does_not_count_for_the_speed() {
    let job = job(1, |c| (c.train_size, c.test_size, c.batch_size) = (Some(20), Some(10), 5));
    let (mut slow, started) = (Slow::default(), Instant::now());
    let trained = train_with(&job, ExecutionOptions::default(), &mut slow).unwrap();
    // An upper bound for the time of the steps, because it includes the evaluation.
    let busy = started.elapsed() - slow.0;
    let speed = trained.epochs[0].1[&Metric::ImagesPerSecond];
    assert!(speed >= 20.0 / busy.as_secs_f64(), "{speed} images/s, {busy:?}");
}
