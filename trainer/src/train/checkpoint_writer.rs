//! Writes the checkpoints of a training: performs what the checkpoint policy decides.

use super::context::RunState;
use crate::checkpoint::{
    self, CheckpointAction, CheckpointEvent, CheckpointId, CheckpointOptions, CheckpointOrigin, CheckpointPolicy,
    CheckpointStore, TrainingState,
};
use plusminus_core::id::Attempt;
use plusminus_engines::Checkpoint;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::time::Instant;

/// Writes the checkpoints of one attempt.
///
/// An error is logged and changes nothing else, because the training is worth more than its checkpoints.
pub(super) struct CheckpointWriter {
    policy: CheckpointPolicy,
    store: CheckpointStore,
    origin: CheckpointOrigin,
    attempt: Attempt,
    /// The policy's time counts from here.
    started: Instant,
    /// The state of engine and criterion after the last epoch; `None` once it has been written.
    held: Option<(Checkpoint, Vec<u8>)>,
    /// The kinds of errors that have been logged. Each is logged once.
    logged: BTreeSet<ErrorKind>,
}

impl CheckpointWriter {
    /// A writer for a training that starts now: from `resumed`, a checkpoint whose content has that many epochs, or from its first
    /// epoch.
    pub fn new(
        options: CheckpointOptions<'_>,
        store: CheckpointStore,
        origin: CheckpointOrigin,
        resumed: Option<(CheckpointId, u32)>,
    ) -> Self {
        let (started, attempt) = (Instant::now(), options.attempt);
        let mut policy = CheckpointPolicy::new(options.interval, attempt, started.elapsed());
        if let Some((checkpoint, epoch)) = resumed {
            policy.decide(started.elapsed(), CheckpointEvent::Resumed { checkpoint, epoch });
        }
        CheckpointWriter { policy, store, origin, attempt, started, held: None, logged: BTreeSet::new() }
    }

    /// Drops the held state before the next epoch's is copied, so that memory holds one of them.
    pub fn discard_held(&mut self) {
        self.held = None;
    }

    /// An epoch is complete and recorded in `state`.
    pub fn epoch_ended(&mut self, state: &RunState, engine: Checkpoint, criterion: Vec<u8>) {
        self.held = Some((engine, criterion));
        self.handle(CheckpointEvent::EpochEnded { epoch: state.epoch() }, state);
    }

    /// The training stops after the epochs in `state`, and a retry may succeed.
    pub fn interrupted(&mut self, state: &RunState) {
        self.handle(CheckpointEvent::Interrupted { epoch: state.epoch(), unwritten: self.held.is_some() }, state);
    }

    fn handle(&mut self, event: CheckpointEvent<'_>, state: &RunState) {
        let action = self.policy.decide(self.started.elapsed(), event);
        match self.perform(action, state) {
            Err(error) if self.logged.insert(error.kind()) => tracing::warn!(
                "cannot write a checkpoint to {} after epoch {}: {error}; training continues and tries again. If it is interrupted \
                 before then, the epochs since the last checkpoint are trained again",
                self.store.directory().display(),
                state.epoch()
            ),
            _ => {}
        }
    }

    fn perform(&mut self, action: CheckpointAction, state: &RunState) -> io::Result<()> {
        match action {
            CheckpointAction::Nothing | CheckpointAction::Hold => Ok(()),
            CheckpointAction::Write => self.write(state),
            CheckpointAction::Remove(checkpoints) => {
                self.store.remove(&checkpoints);
                Ok(())
            }
        }
    }

    /// Writes the held state, if any, and then removes what the policy no longer keeps.
    fn write(&mut self, state: &RunState) -> io::Result<()> {
        let Some((engine, criterion)) = &self.held else { return Ok(()) };
        let training = TrainingState { engine, criterion, best: state.best.parts(), rows: &state.rows };
        let checkpoint = CheckpointId { epoch: state.epoch(), attempt: self.attempt };
        self.store.write(checkpoint, |out| checkpoint::write(out, &self.origin, training))?;
        let listed = self.store.list();
        let existing = listed.as_deref().unwrap_or_default();
        let written = CheckpointEvent::Written { checkpoint, existing };
        let action = self.policy.decide(self.started.elapsed(), written);
        self.perform(action, state)?;
        listed?;
        self.held = None;
        Ok(())
    }
}
