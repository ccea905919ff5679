//! A loss during training: the interface of a training step, and the state that a loss keeps between steps.

use super::batch::{Batch, BatchLoss, check_lengths, rounded, widened};
use super::{DeviceLoss, Learned};
use crate::methods::noise::TransitionMatrix;

/// The inputs of one training step.
pub struct Step<'a> {
    /// One row per sample, `[samples.len() × classes]`.
    pub logits: &'a [f32],
    /// Given labels, each below the number of classes.
    pub labels: &'a [u32],
    /// Indices of the samples in the training file.
    pub samples: &'a [usize],
    /// The generator of the epoch's [`Stream::Latent`](crate::random::Stream::Latent).
    pub generator: &'a mut dyn rand::Rng,
}

/// The training run that a criterion is created for.
pub struct Setting<'a> {
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Given labels of all samples of the training file. Unused samples may have [`NO_CLASS`](crate::methods::noise::NO_CLASS).
    pub given: &'a [u32],
    /// T for the forward correction, true or estimated. Other losses ignore it, also those that learn T.
    pub transition: Option<TransitionMatrix>,
}

/// A loss with its state.
///
/// # Panics
/// Methods that take logits panic if lengths disagree, a label is not below the number of classes, or a sample is not in the
/// training file.
pub trait Criterion: Send {
    /// Returns the loss of the batch before the step and writes its gradient with respect to the logits.
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64;

    /// As [`Criterion::step`], without changing the state: for diagnostics. If a step draws at random, returns the mean over
    /// draws.
    fn peek(&self, logits: &[f32], labels: &[u32], samples: &[usize], gradient: &mut [f32]) -> f64;

    /// Loss of samples that are not trained on (all validation samples at once) under their given labels.
    fn value(&self, logits: &[f32], labels: &[u32]) -> f64;

    /// The loss and its state for a device that computes steps itself; `None` if no device can. Valid until the state changes by
    /// another method than [`Criterion::learned`].
    fn on_device(&self) -> Option<DeviceLoss> {
        None
    }

    /// Takes over the state that a device reached from [`Criterion::on_device`]. Not called for losses without a state.
    ///
    /// # Errors
    /// If it is not a state of this loss.
    fn learned(&mut self, learned: Learned) -> Result<(), String> {
        Err(format!("expected no state for this loss, found {} steps of another loss", learned.steps))
    }

    /// Whether [`Criterion::start`] must be called before the first step.
    fn wants_start(&self) -> bool {
        false
    }

    /// Receives the logits of all training samples under the initial weights.
    fn start(&mut self, _samples: &[usize], _logits: &[f32]) {}

    /// Whether [`Criterion::review`] must be called before this epoch, counted from 1.
    fn wants_review(&self, _epoch: u32) -> bool {
        false
    }

    /// Receives p_y of these training samples under the weights that are best in validation.
    fn review(&mut self, _samples: &[usize], _p: &[f32]) {}

    /// Which samples of the training file are in use; `None` for all.
    fn kept(&self) -> Option<&[bool]> {
        None
    }

    /// The transition matrix T\[true\]\[given\] that the loss uses or has learned.
    fn transition(&self) -> Option<TransitionMatrix> {
        None
    }

    /// The state for a checkpoint; empty if there is none.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Restores a state.
    ///
    /// # Errors
    /// If it is not a state of this criterion.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() {
            return Ok(());
        }
        Err(format!("expected no state for this loss, found {} bytes of another loss", state.len()))
    }
}

/// A criterion without a state, for losses that depend on a batch alone.
pub(super) struct Stateless<L> {
    pub(super) loss: L,
    pub(super) classes: usize,
}

impl<L: BatchLoss + Send> Criterion for Stateless<L> {
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64 {
        self.peek(step.logits, step.labels, step.samples, gradient)
    }

    fn peek(&self, logits: &[f32], labels: &[u32], _: &[usize], gradient: &mut [f32]) -> f64 {
        value_and_gradient(&self.loss, logits, self.classes, labels, gradient)
    }

    fn value(&self, logits: &[f32], labels: &[u32]) -> f64 {
        value(&self.loss, logits, self.classes, labels)
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        self.loss.on_device()
    }
}

/// Returns the loss of a batch and writes its gradient.
pub(super) fn value_and_gradient(
    loss: &(impl BatchLoss + ?Sized),
    logits: &[f32],
    classes: usize,
    labels: &[u32],
    gradient: &mut [f32],
) -> f64 {
    check_lengths(logits, classes, labels, gradient);
    let logits = widened(logits);
    rounded(gradient, |gradient| loss.batch(Batch { logits: &logits, classes, labels }, Some(gradient)))
}

/// The loss of a batch.
pub(super) fn value(loss: &(impl BatchLoss + ?Sized), logits: &[f32], classes: usize, labels: &[u32]) -> f64 {
    assert_eq!(logits.len(), labels.len() * classes, "one row of logits per label");
    loss.batch(Batch { logits: &widened(logits), classes, labels }, None)
}
