//! Trains a job from its first epoch, or from its last checkpoint, to its last epoch.

use super::context::RunState;
use super::failure::{diverged, engine_failure};
use super::inputs::TrainInputs;
use super::observer::{Observer, Progress, stop_on_break};
use super::run::Run;
use crate::kept_weights::{KeptWeights, Snapshot};
use plusminus_core::job::Job;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure};

/// The result of a job that was trained to its last epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedJob {
    /// Sample counts, digests, engine and the like.
    pub facts: Facts,
    /// The measurements of every epoch, from epoch 1.
    pub epochs: Vec<(u32, Measurements)>,
    /// The weights of the last epoch and of the best ones.
    pub weights: KeptWeights,
}

/// Trains `job` to its last epoch. If `train_inputs` has checkpoints, training resumes from the last usable one. `observer` then
/// receives the epochs of the checkpoint again, from epoch 1, before training continues.
///
/// Checkpoints are written at the interval in `train_inputs`, and when the job is stopped or fails in a way that a retry may avoid.
/// The caller removes them ([`checkpoint::remove`](crate::checkpoint::remove)) once the result is safe. A checkpoint that cannot be
/// written is logged and does not end the training.
///
/// The result depends on the job and the engine alone. It does not depend on the number of threads, on other jobs, on interruptions
/// or on the observer. With candle it also depends on the kind of processor, because each kind has its own matrix product; the facts
/// name it.
///
/// # Errors
/// - `UserError`: the data set is missing or wrong, or the configuration cannot be trained.
/// - `Diverged`: the loss, a weight or a measurement is no longer finite.
/// - `Preempted`: `observer` returned `Break`, or this host cannot run the engine.
/// - `OutOfMemory`: the device's memory is too small.
/// - `Infrastructure`: the device fails, or the system cannot read data that exist
///   ([`DataError::is_transient`](crate::data::DataError::is_transient)).
pub fn train(job: &Job, train_inputs: TrainInputs<'_>, observer: &mut dyn Observer) -> Result<TrainedJob, Failure> {
    Run::new(job, train_inputs)?.train(observer)
}

impl Run<'_> {
    pub(super) fn train(mut self, observer: &mut dyn Observer) -> Result<TrainedJob, Failure> {
        let epochs = self.job.configuration.epochs;
        let mut state = std::mem::take(&mut self.state);
        let done = state.epoch();
        if done == 0 {
            let position = Progress { epoch: 1, epochs, step: 0, steps: self.steps() };
            self.start(&mut || {
                stop_on_break(observer.progress(position), || "in the review before the first epoch".to_owned())
            })?;
        }
        for (epoch, row) in &state.rows {
            let flow = observer.epoch(*epoch, row);
            if done < epochs {
                stop_on_break(flow, || format!("before it resumed after epoch {done} of {epochs}"))?;
            }
        }
        for epoch in done + 1..=epochs {
            if let Err(failure) = self.full_epoch(epoch, &mut state, observer) {
                if let Some(writer) = self.checkpoint_writer.as_mut().filter(|_| failure.kind.is_transient()) {
                    writer.interrupted(&state);
                }
                return Err(failure);
            }
        }
        self.checkpoint_writer = None;
        let weights = self.engine.weights().map_err(engine_failure)?;
        self.facts.weights = weights.digest();
        let weights = state.best.into_kept_weights(Snapshot { epoch: epochs, weights });
        Ok(TrainedJob { facts: self.facts, epochs: state.rows, weights })
    }

    /// Trains one epoch with its review, evaluation and checkpoint. On failure, `state` is unchanged, unless `observer` stops the job
    /// after this epoch: then the epoch is complete.
    pub(super) fn full_epoch(
        &mut self,
        epoch: u32,
        state: &mut RunState,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let epochs = self.job.configuration.epochs;
        let before = Progress { epoch, epochs, step: 0, steps: self.steps() };
        self.review(epoch, &state.best, &mut || {
            stop_on_break(observer.progress(before), || format!("in the review before epoch {epoch} of {epochs}"))
        })?;
        let mut measurements = self.epoch(epoch, observer)?;
        let done = Progress { step: self.steps(), ..before };
        self.evaluate(epoch, &mut measurements, &mut || {
            stop_on_break(observer.progress(done), || format!("in the evaluation after epoch {epoch} of {epochs}"))
        })?;
        // Nothing interrupts the epoch from here on, so the previous epoch's state can go before this one's is copied.
        if let Some(writer) = &mut self.checkpoint_writer {
            writer.discard_held();
        }
        let engine_state =
            self.checkpoint_writer.is_some().then(|| self.engine.checkpoint()).transpose().map_err(engine_failure)?;
        let weights = match &engine_state {
            Some(engine_state) => engine_state.weights.clone(),
            None => self.engine.weights().map_err(engine_failure)?,
        };
        if !weights.are_finite() {
            return Err(diverged(&format!("a weight is no longer finite after epoch {epoch}")));
        }
        if let Some((metric, value)) = measurements.iter().find(|(_, value)| !value.is_finite()) {
            return Err(diverged(&format!("{metric} is {value} after epoch {epoch}")));
        }
        state.best.update(&measurements, epoch, &weights);
        let flow = observer.epoch(epoch, &measurements);
        state.rows.push((epoch, measurements));
        if let Some((writer, engine_state)) = self.checkpoint_writer.as_mut().zip(engine_state) {
            writer.epoch_ended(state, engine_state, self.criterion.state());
        }
        // A stop after the last epoch comes too late.
        if epoch < epochs { stop_on_break(flow, || format!("after epoch {epoch} of {epochs}")) } else { Ok(()) }
    }
}
