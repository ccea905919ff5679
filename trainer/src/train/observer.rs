//! The interface between the training loop and its caller: progress goes out, a request to stop comes back.

use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Failure, FailureKind};
use std::ops::ControlFlow;

/// The position of a job in its training. All numbers count from 1; `step` is 0 before the first step of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The current epoch.
    pub epoch: u32,
    /// The epochs of the job.
    pub epochs: u32,
    /// Completed steps of this epoch.
    pub step: u32,
    /// The steps of every epoch.
    pub steps: u32,
}

/// Receives the progress of a job and can stop it: `Break` ends the job as preempted. By default, a method does nothing.
pub trait Observer {
    /// Called after every step, and with the last step's numbers between the batches of an evaluation, which takes minutes for a
    /// large network. It must be cheap.
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        let _ = progress;
        ControlFlow::Continue(())
    }

    /// Called after every evaluation. A job that resumes first repeats the epochs of its checkpoint, from epoch 1. A stop after the
    /// last epoch has no effect, because the job is done.
    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        let _ = (epoch, measurements);
        ControlFlow::Continue(())
    }

    /// Called after the training, when its weights cannot be saved for this reason. `Continue` asks for another try, and comes after a
    /// pause; `Break` gives up.
    fn waiting(&mut self, reason: &str) -> ControlFlow<()> {
        let _ = reason;
        ControlFlow::Break(())
    }
}

/// Ignores everything.
impl Observer for () {}

/// Called between the batches of an evaluation. An error ends the evaluation and the job.
pub(super) type StopCheck<'a> = &'a mut dyn FnMut() -> Result<(), Failure>;

/// Turns an observer's `Break` into a failure of the kind `Preempted`. `position` completes the message "stopped …".
pub(super) fn stop_on_break(flow: ControlFlow<()>, position: impl FnOnce() -> String) -> Result<(), Failure> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Failure::new(FailureKind::Preempted, format!("stopped {}", position()))),
    }
}
