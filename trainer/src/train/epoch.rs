//! One pass over the training samples.

use super::observer::{Observer, Progress, stop_on_break};
use super::run::Run;
use super::steps::{EpochSteps, StepStreams};
use crate::data::{prefetch, shuffle};
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Failure;
use plusminus_core::random::Stream;
use plusminus_engines::BatchInputs;
use std::time::{Duration, Instant};

impl Run<'_> {
    /// Trains on every training sample once and returns the training loss, learning rate and speed.
    pub(super) fn epoch(&mut self, epoch: u32, observer: &mut dyn Observer) -> Result<Measurements, Failure> {
        let configuration = &*self.job.configuration;
        let streams = self.job.streams();
        let generator = |stream| streams.generator(stream, u64::from(epoch));
        let mut augmentation = generator(Stream::Augmentation);
        let mut order = self.labels.train.clone();
        shuffle(&mut order, &mut generator(Stream::Order));
        let lr = configuration.schedule.lr(configuration.optimizer.lr(), epoch, configuration.epochs);
        let (size, augment) = (configuration.batch_size, &configuration.augment);
        let mut after_step = AfterStep {
            observer,
            epoch,
            epochs: configuration.epochs,
            step: 0,
            steps: self.steps(),
            waited: Duration::ZERO,
        };
        let Run { data, labels, inputs, engine, device_data, criterion, .. } = self;
        let streams = StepStreams { dropout: generator(Stream::Dropout), latent: generator(Stream::Latent) };
        let mut steps = EpochSteps::new((&mut **engine, &mut **criterion), &labels.given, (epoch, lr), streams)?;
        let started = Instant::now();
        if device_data.is_some() {
            for samples in order.chunks(size) {
                let transforms = inputs.draw_transforms(samples.len(), augment, &mut augmentation);
                steps.step(samples, BatchInputs::Held(&transforms))?;
                after_step.report()?;
            }
        } else {
            let make = |samples: &[usize], batch: &mut Vec<f32>| {
                inputs.gather_augmented(&data.train, samples, augment, &mut augmentation, batch).map_err(Failure::from)
            };
            prefetch::for_each_batch(&order, size, make, |samples, inputs| {
                steps.step(samples, BatchInputs::Host(inputs))?;
                after_step.report()
            })?;
        }
        let total = steps.finish()?;
        // At least a nanosecond: a coarse clock must not make the speed infinite.
        let seconds = started.elapsed().saturating_sub(after_step.waited).as_secs_f64().max(1e-9);
        steps.copy_learned()?;
        Ok(Measurements::from([
            (Metric::TrainLoss, total / order.len() as f64),
            (Metric::LearningRate, lr),
            (Metric::ImagesPerSecond, order.len() as f64 / seconds),
        ]))
    }
}

/// Reports every step to the observer.
struct AfterStep<'a> {
    observer: &'a mut dyn Observer,
    epoch: u32,
    epochs: u32,
    /// Completed steps.
    step: u32,
    /// The steps of the epoch.
    steps: u32,
    /// Time spent in the observer, which may wait for a lease. It does not count towards the speed.
    waited: Duration,
}

impl AfterStep<'_> {
    fn report(&mut self) -> Result<(), Failure> {
        self.step += 1;
        let AfterStep { epoch, epochs, step, steps, .. } = *self;
        let asked = Instant::now();
        let flow = self.observer.progress(Progress { epoch, epochs, step, steps });
        self.waited += asked.elapsed();
        stop_on_break(flow, || format!("in epoch {epoch} of {epochs}, after step {step} of {steps}"))
    }
}
