//! The steps of an epoch. Inputs and loss are each made on the host or where the engine's device is, as far as that can: a step is the same,
//! and what is drawn for it is drawn in the same order.

use super::{Observer, Progress, Run, diverged, failed, stop_on_break};
use crate::data::{InputPipeline, LoadedDataset, SampleSet, SampleValues, prefetch, shuffle};
use plusminus_core::methods::losses::{Criterion, Step};
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Failure;
use plusminus_core::random::Stream;
use plusminus_engines::{Batch, BatchInputs, DeviceEngine, Engine, EngineError, Samples, StepLoss};
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps after which losses that lie on a device are asked for: seldom, for the device then waits for the host, and often enough that
/// little is computed in vain once one is not finite.
const ASKED: usize = 16;

/// A job's data on its engine's device: the training file, then the data set's own validation samples, then the test file.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceData;

impl DeviceData {
    /// Has the engine hold the data, where it can and they are in memory.
    pub fn of(data: &LoadedDataset, inputs: &InputPipeline, engine: &mut dyn Engine) -> Result<Option<Self>, Failure> {
        let Some(device) = engine.on_device() else { return Ok(None) };
        let Some(samples) = samples(data, inputs) else { return Ok(None) };
        Ok(device.hold_samples(&samples).map_err(failed)?.then_some(DeviceData))
    }

    /// The number of the first sample of these images among all.
    pub fn start(self, data: &LoadedDataset, images: &SampleSet) -> usize {
        let before = parts(data).into_iter().take_while(|part| !std::ptr::eq(*part, images));
        before.map(SampleSet::len).sum()
    }
}

/// All parts, in the order in which a device has them.
fn parts(data: &LoadedDataset) -> Vec<&SampleSet> {
    [Some(&data.train), data.validation.as_ref(), Some(&data.test)].into_iter().flatten().collect()
}

/// What a device would hold; nothing where any of it is in files.
fn samples<'a>(data: &'a LoadedDataset, inputs: &'a InputPipeline) -> Option<Samples<'a>> {
    let parts = parts(data);
    let (table, centre) = inputs.table();
    let bytes = parts.iter().map(|images| match &images.values {
        SampleValues::Bytes(bytes) => Some(&**bytes),
        _ => None,
    });
    let tokens = parts.iter().map(|images| match &images.values {
        SampleValues::Tokens(tokens) => Some(&**tokens),
        _ => None,
    });
    let images = bytes.collect::<Option<_>>().map(|parts| Samples::Images { parts, table, centre });
    images.or_else(|| tokens.collect::<Option<_>>().map(|parts| Samples::Tokens { parts }))
}

/// What takes the steps of an epoch.
struct EpochSteps<'a> {
    engine: &'a mut dyn Engine,
    criterion: &'a mut dyn Criterion,
    /// Given labels of the training file.
    given: &'a [u32],
    /// Whether the engine's device knows the loss.
    known: bool,
    epoch: u32,
    lr: f64,
    dropout: ChaCha8Rng,
    latent: ChaCha8Rng,
    /// Sizes of the batches that have been taken and whose losses are not known yet.
    waiting: VecDeque<usize>,
    /// Steps whose losses are known, and their sum over the samples.
    heard: usize,
    total: f64,
}

impl EpochSteps<'_> {
    /// The next step.
    fn step(&mut self, samples: &[usize], inputs: BatchInputs<'_>) -> Result<(), Failure> {
        let EpochSteps { engine, criterion, given, lr, dropout, latent, .. } = self;
        self.waiting.push_back(samples.len());
        let batch = Batch { samples, inputs };
        if self.known {
            on_device(*engine)?.step(batch, StepLoss::Device(latent), *lr, dropout).map_err(failed)?;
            return if self.waiting.len() < ASKED { Ok(()) } else { self.hear() };
        }
        let labels: Vec<u32> = samples.iter().map(|sample| given[*sample]).collect();
        let mut of_logits = |logits: &[f32], gradient: &mut [f32]| {
            criterion.step(Step { logits, labels: &labels, samples, generator: latent }, gradient)
        };
        let loss = match inputs {
            BatchInputs::Host(inputs) => engine.train_step(inputs, &mut of_logits, *lr, dropout).map(Some),
            BatchInputs::Held(_) => on_device(*engine)?.step(batch, StepLoss::Host(&mut of_logits), *lr, dropout),
        };
        loss.map_err(failed)?.map_or(Ok(()), |loss| self.take(loss))
    }

    /// Takes in the losses of all steps so far that lie on the device.
    fn hear(&mut self) -> Result<(), Failure> {
        if !self.known {
            return Ok(());
        }
        let losses = on_device(self.engine)?.take_losses().map_err(failed)?;
        losses.into_iter().try_for_each(|loss| self.take(loss))
    }

    /// Takes in the loss of the first step whose loss is not known.
    fn take(&mut self, loss: f64) -> Result<(), Failure> {
        self.heard += 1;
        if !loss.is_finite() {
            let EpochSteps { epoch, lr, heard, .. } = self;
            return Err(diverged(&format!("the loss is {loss} in epoch {epoch}, step {heard}, at learning rate {lr}")));
        }
        self.total += loss * self.waiting.pop_front().unwrap_or_default() as f64;
        Ok(())
    }

    /// Brings back what the device's loss has learned.
    fn learn(&mut self) -> Result<(), Failure> {
        if !self.known {
            return Ok(());
        }
        let learned = on_device(self.engine)?.learned().map_err(failed)?;
        let taken = learned.map_or(Ok(()), |learned| self.criterion.learned(learned));
        taken.map_err(|why| failed(EngineError::new(format!("what the loss learned on the device is wrong: {why}"))))
    }
}

/// What holds the data or knows the loss is an engine with a device of its own.
fn on_device(engine: &mut dyn Engine) -> Result<&mut dyn DeviceEngine, Failure> {
    engine.on_device().ok_or_else(|| failed(EngineError::new("it has no device of its own")))
}

impl Run<'_> {
    /// One pass over the training samples.
    pub(super) fn epoch(&mut self, epoch: u32, observer: &mut dyn Observer) -> Result<Measurements, Failure> {
        let configuration = &*self.job.configuration;
        let streams = self.job.streams();
        let generator = |stream| streams.generator(stream, u64::from(epoch));
        let mut augmentation = generator(Stream::Augmentation);
        let mut order = self.labels.train.clone();
        shuffle(&mut order, &mut generator(Stream::Order));
        let lr = configuration.schedule.lr(configuration.optimizer.lr(), epoch, configuration.epochs);
        let (epochs, count) = (configuration.epochs, self.steps());
        let (size, augment) = (configuration.batch_size, &configuration.augment);
        let Run { data, labels, inputs, engine, held, criterion, .. } = self;
        let known = match (engine.on_device(), criterion.on_device()) {
            (Some(device), Some(loss)) => device.set_loss(&loss, &labels.given).map(|()| true).map_err(failed)?,
            _ => false,
        };
        let mut steps = EpochSteps {
            engine: &mut **engine,
            criterion: &mut **criterion,
            given: &labels.given,
            known,
            epoch,
            lr,
            dropout: generator(Stream::Dropout),
            latent: generator(Stream::Latent),
            waiting: VecDeque::new(),
            heard: 0,
            total: 0.0,
        };
        let (mut step, started) = (0, Instant::now());
        // In which `observer` had the training wait, for a lease perhaps: that says nothing of its speed.
        let mut waited = Duration::ZERO;
        let mut taken = || {
            step += 1;
            let asked = Instant::now();
            let flow = observer.progress(Progress { epoch, epochs, step, steps: count });
            waited += asked.elapsed();
            stop_on_break(flow, || format!("in epoch {epoch} of {epochs}, after step {step} of {count}"))
        };
        if held.is_some() {
            for samples in order.chunks(size) {
                let transforms = inputs.transforms(samples.len(), augment, &mut augmentation);
                steps.step(samples, BatchInputs::Held(&transforms))?;
                taken()?;
            }
        } else {
            let make = |samples: &[usize], batch: &mut Vec<f32>| {
                inputs.gather_augmented(&data.train, samples, augment, &mut augmentation, batch).map_err(Failure::from)
            };
            prefetch::for_each_batch(&order, size, make, |samples, inputs| {
                steps.step(samples, BatchInputs::Host(inputs))?;
                taken()
            })?;
        }
        steps.hear()?;
        // A clock too coarse to see the epoch must not make the speed infinite.
        let seconds = started.elapsed().saturating_sub(waited).as_secs_f64().max(1e-9);
        steps.learn()?;
        Ok(Measurements::from([
            (Metric::TrainLoss, steps.total / order.len() as f64),
            (Metric::LearningRate, lr),
            (Metric::ImagesPerSecond, order.len() as f64 / seconds),
        ]))
    }
}
