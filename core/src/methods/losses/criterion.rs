//! A loss at work: what a training step asks of it, and what it remembers from step to step.

use super::batch::{Batch, BatchLoss, check_lengths, rounded, widened};
use super::{DeviceLoss, Learned};
use crate::methods::noise::TransitionMatrix;

/// One training step's logits and what belongs to them.
pub struct Step<'a> {
    /// A row a sample, `[samples.len() × classes]`.
    pub logits: &'a [f32],
    /// Given labels, each below the number of classes.
    pub labels: &'a [u32],
    /// Which samples of the training file these are.
    pub samples: &'a [usize],
    /// The epoch's [`Stream::Latent`](crate::random::Stream::Latent).
    pub generator: &'a mut dyn rand::Rng,
}

/// What a criterion is made for.
pub struct Setting<'a> {
    /// How many classes there are, at least 2.
    pub classes: usize,
    /// Given labels of every sample of the training file; those that are never trained on or held out may have
    /// [`NO_CLASS`](crate::methods::noise::NO_CLASS).
    pub given: &'a [u32],
    /// Forward correction's T, true or estimated. No other loss looks at it: one that learns T is not to know it.
    pub transition: Option<TransitionMatrix>,
}

/// A loss with what it has been told and what it has learned since.
///
/// # Panics
/// Every method that takes logits does where lengths disagree, a label is not below the number of classes, or a sample is
/// not of the training file.
pub trait Criterion: Send {
    /// Loss of the batch before the step; writes its gradient with respect to the logits.
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64;

    /// What [`Criterion::step`] would give, and nothing is learned from it: for diagnostics. Where a step draws at random,
    /// this is its mean over the draws.
    fn peek(&self, logits: &[f32], labels: &[u32], samples: &[usize], gradient: &mut [f32]) -> f64;

    /// Loss of samples that are not trained on (all validation samples at once), under their given labels.
    fn value(&self, logits: &[f32], labels: &[u32]) -> f64;

    /// What a device has to know to take the next steps by itself, as [`Criterion::step`] would; nothing where that takes what no device can
    /// do. It holds until anything but [`Criterion::learned`] is asked of the criterion that changes it.
    fn on_device(&self) -> Option<DeviceLoss> {
        None
    }

    /// Takes in what a device has learned that began with [`Criterion::on_device`]. Losses that learn nothing are never told.
    ///
    /// # Errors
    /// That it is no state of this loss.
    fn learned(&mut self, learned: Learned) -> Result<(), String> {
        Err(format!("this loss learns nothing, found {} steps of another loss", learned.steps))
    }

    /// Whether, before the first step, it wants to see what the network makes of every sample that it will be trained on.
    fn wants_start(&self) -> bool {
        false
    }

    /// The logits of all these samples, under the weights that training starts from.
    fn start(&mut self, _samples: &[usize], _logits: &[f32]) {}

    /// Whether, before this epoch (from 1), it wants p_y of every training sample under the weights best in validation
    /// (truncated L_q: pruning).
    fn wants_review(&self, _epoch: u32) -> bool {
        false
    }

    /// p_y (softmax of the given label) of these samples.
    fn review(&mut self, _samples: &[usize], _p: &[f32]) {}

    /// Which samples of the training file are in use, where that is not all of them.
    fn kept(&self) -> Option<&[bool]> {
        None
    }

    /// The transition matrix that it uses or has learned, row-stochastic, T\[true\]\[given\].
    fn transition(&self) -> Option<TransitionMatrix> {
        None
    }

    /// What a checkpoint has to hold beside the weights; empty where there is nothing.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes such a state up again.
    ///
    /// # Errors
    /// That it is another criterion's.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() {
            return Ok(());
        }
        Err(format!("this loss keeps no state: expected none, found {} bytes of another loss", state.len()))
    }
}

/// A loss that a batch alone decides, as a criterion.
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

/// A batch loss and its gradient.
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

/// A batch loss alone.
pub(super) fn value(loss: &(impl BatchLoss + ?Sized), logits: &[f32], classes: usize, labels: &[u32]) -> f64 {
    assert_eq!(logits.len(), labels.len() * classes, "a row of logits for every label");
    loss.batch(Batch { logits: &widened(logits), classes, labels }, None)
}
