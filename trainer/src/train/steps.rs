//! The optimiser steps of one epoch.
//!
//! Inputs and loss are each computed on the host or on the engine's device. Where they are computed changes neither the step nor the
//! order of random draws.

use super::failure::{diverged, engine_failure};
use plusminus_core::methods::losses::{Criterion, Step};
use plusminus_core::outcome::Failure;
use plusminus_engines::{Batch, BatchInputs, DeviceEngine, Engine, EngineError, StepLoss};
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;

/// The number of steps after which losses are read from the device. Reading makes the device wait for the host, so it must be rare; a
/// loss that is not finite must still be noticed after few wasted steps.
const STEPS_PER_READ: usize = 16;

/// Takes the steps of one epoch and adds up their losses.
pub(super) struct EpochSteps<'a> {
    engine: &'a mut dyn Engine,
    criterion: &'a mut dyn Criterion,
    /// The given labels of the training file.
    given: &'a [u32],
    /// Whether the engine's device computes the loss.
    loss_on_device: bool,
    epoch: u32,
    lr: f64,
    dropout: ChaCha8Rng,
    latent: ChaCha8Rng,
    /// The sizes of the batches whose losses have not been read, oldest first.
    unread: VecDeque<usize>,
    /// The number of steps whose losses have been read.
    read: usize,
    /// The sum of these losses over all samples.
    total: f64,
}

/// The random streams of an epoch's steps.
pub(super) struct StepStreams {
    pub dropout: ChaCha8Rng,
    pub latent: ChaCha8Rng,
}

impl<'a> EpochSteps<'a> {
    /// Begins `epoch`, with the learning rate `lr`. The loss moves to the engine's device if both support it.
    pub fn new(
        (engine, criterion): (&'a mut dyn Engine, &'a mut dyn Criterion),
        given: &'a [u32],
        (epoch, lr): (u32, f64),
        streams: StepStreams,
    ) -> Result<Self, Failure> {
        let loss_on_device = match (engine.on_device(), criterion.on_device()) {
            (Some(device), Some(loss)) => device.set_loss(&loss, given).map(|()| true).map_err(engine_failure)?,
            _ => false,
        };
        let StepStreams { dropout, latent } = streams;
        let unread = VecDeque::new();
        Ok(EpochSteps {
            engine,
            criterion,
            given,
            loss_on_device,
            epoch,
            lr,
            dropout,
            latent,
            unread,
            read: 0,
            total: 0.0,
        })
    }

    /// Takes the next step.
    pub fn step(&mut self, samples: &[usize], inputs: BatchInputs<'_>) -> Result<(), Failure> {
        let EpochSteps { engine, criterion, given, lr, dropout, latent, .. } = self;
        self.unread.push_back(samples.len());
        let batch = Batch { samples, inputs };
        if self.loss_on_device {
            on_device(*engine)?.step(batch, StepLoss::Device(latent), *lr, dropout).map_err(engine_failure)?;
            return if self.unread.len() < STEPS_PER_READ { Ok(()) } else { self.read_losses() };
        }
        let labels: Vec<u32> = samples.iter().map(|sample| given[*sample]).collect();
        let mut of_logits = |logits: &[f32], gradient: &mut [f32]| {
            criterion.step(Step { logits, labels: &labels, samples, generator: latent }, gradient)
        };
        let loss = match inputs {
            BatchInputs::Host(inputs) => engine.train_step(inputs, &mut of_logits, *lr, dropout).map(Some),
            BatchInputs::Held(_) => on_device(*engine)?.step(batch, StepLoss::Host(&mut of_logits), *lr, dropout),
        };
        loss.map_err(engine_failure)?.map_or(Ok(()), |loss| self.add_loss(loss))
    }

    /// Ends the epoch's steps: returns the sum of the losses over all samples.
    pub fn finish(&mut self) -> Result<f64, Failure> {
        self.read_losses()?;
        Ok(self.total)
    }

    /// Copies what the device's loss has learned into the criterion.
    pub fn copy_learned(&mut self) -> Result<(), Failure> {
        if !self.loss_on_device {
            return Ok(());
        }
        let learned = on_device(self.engine)?.learned().map_err(engine_failure)?;
        let copied = learned.map_or(Ok(()), |learned| self.criterion.learned(learned));
        copied.map_err(|why| {
            engine_failure(EngineError::new(format!("the loss's state on the device does not fit the loss: {why}")))
        })
    }

    /// Adds the losses that wait on the device.
    fn read_losses(&mut self) -> Result<(), Failure> {
        if !self.loss_on_device {
            return Ok(());
        }
        let losses = on_device(self.engine)?.take_losses().map_err(engine_failure)?;
        losses.into_iter().try_for_each(|loss| self.add_loss(loss))
    }

    /// Adds the loss of the oldest unread step.
    fn add_loss(&mut self, loss: f64) -> Result<(), Failure> {
        self.read += 1;
        if !loss.is_finite() {
            let EpochSteps { epoch, lr, read, .. } = self;
            return Err(diverged(&format!("the loss is {loss} in epoch {epoch}, step {read}, at learning rate {lr}")));
        }
        self.total += loss * self.unread.pop_front().unwrap_or_default() as f64;
        Ok(())
    }
}

/// The engine's device. Only an engine with a device holds data or computes a loss there.
fn on_device(engine: &mut dyn Engine) -> Result<&mut dyn DeviceEngine, Failure> {
    engine.on_device().ok_or_else(|| engine_failure(EngineError::new("the engine has no device of its own")))
}
