//! Whole jobs on a device with its own memory, for which the CPU twin stands in. They are compared with jobs on the CPU engine, with
//! interrupted jobs, and with jobs whose data do not fit on the device.

use super::super::context::EngineFactory;
use super::*;
use crate::checkpoint::CheckpointInterval;
use crate::memory::MemoryEstimate;
use plusminus_core::id::Attempt;
use plusminus_core::methods::losses::Criterion;
use plusminus_core::methods::losses::{DeviceLoss, Dmi, DmiMatrix, Gce, Lccn, TruncatedGce};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::twin::Twin;
use plusminus_engines::new_engine_on_device;
use plusminus_engines::testing::SharedTwin;
use std::sync::LazyLock;

/// The data set, read once for all of these tests.
static DATA: LazyLock<DatasetCache> = LazyLock::new(DatasetCache::default);

/// Two epochs of three steps with 50 noisy training samples, 10 held-out samples and 20 test samples. The last batch is smaller.
fn brief(configuration: &mut Configuration) {
    (configuration.train_size, configuration.test_size) = (Some(60), Some(20));
    (configuration.validation, configuration.batch_size, configuration.epochs) = (1.0 / 6.0, 20, 2);
    configuration.noise = Noise::uniform(0.4);
    configuration.augment = vec![Augment::Crop(2), Augment::Flip];
}

fn train_inputs() -> TrainInputs<'static> {
    TrainInputs::new(&DATA, ExecutionOptions::default())
}

/// Engines on devices with that much memory.
fn devices(capacity: Option<usize>) -> Arc<EngineFactory> {
    Arc::new(move |network: &Network, weights: Weights, optimizer: &Optimizer| {
        let mut twin = Twin::new();
        twin.capacity = capacity;
        new_engine_on_device(Box::new(twin), Precision::F32, network, weights, optimizer)
    })
}

fn on_device<'a>(job: &'a Job, train_inputs: TrainInputs<'_>) -> Run<'a> {
    Run::with_engines(job, train_inputs, devices(None)).unwrap()
}

/// The largest relative difference of measurements, and the relative distance of the weights.
fn difference(found: &TrainedJob, expected: &TrainedJob) -> (f64, f64) {
    let rows = found.epochs.iter().zip(&expected.epochs).flat_map(|((_, found), (_, expected))| {
        assert!(found.keys().eq(expected.keys()));
        let measured = |(metric, _): &(&Metric, &f64)| **metric != Metric::ImagesPerSecond;
        let pairs = found.iter().filter(measured).map(|(metric, value)| (*value, expected[metric]));
        pairs.map(|(found, expected)| (found - expected).abs() / expected.abs().max(1e-3)).collect::<Vec<_>>()
    });
    let (found, expected) = (found.weights.last.weights.values(), expected.weights.last.weights.values());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let distance = norm(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    (rows.fold(0.0, f64::max), distance / norm(&mut expected.iter().map(|e| f64::from(*e))))
}

fn lccn() -> Loss {
    Loss::Lccn(Lccn { alpha: 1.0, refresh: 2, warm_up: 2 })
}

fn truncated() -> Loss {
    Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.1, start: 1, every: 1 })
}

#[test]
fn a_job_on_the_device_agrees_with_the_job_on_the_cpu() {
    let losses = [Loss::Cce(Cce {}), truncated(), lccn(), Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Count })];
    for loss in losses {
        let job = job(5, |c| {
            brief(c);
            c.loss = loss.clone();
            c.normalize = Normalize::PixelMean;
        });
        let run = on_device(&job, train_inputs());
        assert!(run.device_data.is_some(), "the device holds the data");
        let found = run.train(&mut ()).unwrap();
        let expected = train(&job, train_inputs(), &mut ()).unwrap();
        let difference = difference(&found, &expected);
        assert!(
            difference.0 < 1e-4 && difference.1 < 1e-5,
            "{loss:?}: measurements and weights differ by {difference:?}"
        );
        assert_eq!(
            Facts { engine: String::new(), weights: String::new(), ..found.facts },
            Facts { engine: String::new(), weights: String::new(), ..expected.facts }
        );
    }
}

/// Stops at this epoch and step.
struct Stop(u32, u32);

impl Observer for Stop {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        let here = (progress.epoch, progress.step) == (self.0, self.1);
        if here { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_job_interrupted_on_the_device_gives_the_same_bytes() {
    for loss in [truncated(), lccn()] {
        let job = job(6, |c| {
            brief(c);
            (c.loss, c.epochs) = (loss.clone(), 3);
        });
        let undisturbed = on_device(&job, train_inputs()).train(&mut ()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let with = |attempt| {
            let interval: CheckpointInterval = "1epochs".parse().unwrap();
            let checkpoints = CheckpointOptions { directory: directory.path(), attempt: Attempt(attempt), interval };
            TrainInputs { checkpoints: Some(checkpoints), ..train_inputs() }
        };
        for (attempt, stop) in [(1, Stop(2, 2)), (2, Stop(3, 1))] {
            let failure = on_device(&job, with(attempt)).train(&mut { stop }).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Preempted, "{failure}");
        }
        let run = on_device(&job, with(3));
        assert_eq!(run.state.epoch(), 2, "it resumes");
        assert_eq!(repeatable(&run.train(&mut ()).unwrap()), repeatable(&undisturbed), "{loss:?}");
    }
}

#[test]
fn data_that_do_not_fit_on_the_device_give_the_same_bytes() {
    let job = job(7, |c| {
        brief(c);
        c.loss = truncated();
    });
    let held = on_device(&job, train_inputs()).train(&mut ()).unwrap();
    let run = Run::with_engines(&job, train_inputs(), devices(Some(1 << 20))).unwrap();
    assert!(run.device_data.is_none());
    assert_eq!(repeatable(&run.train(&mut ()).unwrap()), repeatable(&held));
}

#[test]
fn the_estimate_of_device_memory_is_exact() {
    for (loss, normalize) in [(truncated(), Normalize::PixelMean), (lccn(), Normalize::Unit)] {
        let job = job(7, |c| {
            brief(c);
            (c.epochs, c.loss, c.normalize) = (1, loss, normalize);
        });
        let shared = SharedTwin::default();
        let device = shared.clone();
        let factory = move |network: &Network, weights: Weights, optimizer: &Optimizer| {
            new_engine_on_device(Box::new(device.clone()), Precision::F32, network, weights, optimizer)
        };
        Run::with_engines(&job, train_inputs(), Arc::new(factory)).unwrap().train(&mut ()).unwrap();
        let taken = shared.lock().bytes();
        assert_eq!(
            MemoryEstimate::on_device(&job.configuration),
            Some(MemoryEstimate(taken)),
            "{:?}",
            job.configuration.loss
        );
    }
}

/// A loss that no device supports.
struct HostOnly(Box<dyn Criterion>);

impl Criterion for HostOnly {
    fn step(&mut self, step: plusminus_core::methods::losses::Step<'_>, gradient: &mut [f32]) -> f64 {
        self.0.step(step, gradient)
    }

    fn peek(&self, logits: &[f32], labels: &[u32], samples: &[usize], gradient: &mut [f32]) -> f64 {
        self.0.peek(logits, labels, samples, gradient)
    }

    fn value(&self, logits: &[f32], labels: &[u32]) -> f64 {
        self.0.value(logits, labels)
    }
}

#[test]
fn a_loss_without_device_support_runs_on_the_host() {
    let job = job(8, |c| {
        brief(c);
        c.loss = Loss::Gce(Gce { q: 0.7 });
    });
    let supported = on_device(&job, train_inputs());
    assert!(matches!(supported.criterion.on_device(), Some(DeviceLoss::Powers { .. })));
    let supported = supported.train(&mut ()).unwrap();
    for capacity in [None, Some(0)] {
        let mut run = Run::with_engines(&job, train_inputs(), devices(capacity)).unwrap();
        run.criterion = Box::new(HostOnly(run.criterion));
        let difference = difference(&run.train(&mut ()).unwrap(), &supported);
        assert!(difference.0 < 1e-5 && difference.1 < 1e-6, "{difference:?}");
    }
}

/// Records the last progress.
#[derive(Default)]
struct Last(Option<Progress>);

impl Observer for Last {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.0 = Some(progress);
        ControlFlow::Continue(())
    }
}

#[test]
fn divergence_on_the_device_names_the_step_and_ends_the_epoch() {
    let job = job(1, |c| {
        brief(c);
        (c.epochs, c.batch_size) = (3, 2);
        c.optimizer = Optimizer::Sgd { lr: 1e12, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    });
    let mut last = Last::default();
    let failure = on_device(&job, train_inputs()).train(&mut last).unwrap_err();
    let expected = train(&job, train_inputs(), &mut ()).unwrap_err();
    assert_eq!((failure.kind, &failure.message), (FailureKind::Diverged, &expected.message));
    assert!(failure.message.contains("in epoch 1, step "), "{failure}");
    assert_eq!(last.0.map(|progress| (progress.epoch, progress.step)), Some((1, 15)), "losses are read after 16 steps");
}
