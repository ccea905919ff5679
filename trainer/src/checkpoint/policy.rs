//! Decides when a training writes a checkpoint and which files it then removes.
//!
//! The policy reads no clock and touches no file: events and the time come in, an action goes out.

use super::interval::CheckpointInterval;
use plusminus_core::id::Attempt;
use std::time::Duration;

/// The number of checkpoints that stay on disk. If the newest turns out to be damaged, the job resumes from the one before.
const KEPT: usize = 2;

/// Identifies a checkpoint among those of a job. A later epoch is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckpointId {
    /// The number of completed epochs.
    pub epoch: u32,
    /// The attempt that wrote the checkpoint.
    pub attempt: Attempt,
}

/// What has happened in a training.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckpointEvent<'a> {
    /// The training resumed from `checkpoint`, whose content has `epoch` completed epochs.
    Resumed { checkpoint: CheckpointId, epoch: u32 },
    /// An epoch is complete.
    EpochEnded { epoch: u32 },
    /// The training ends before its last epoch, after `epoch` completed ones, and a retry may succeed. `unwritten`: the state after
    /// `epoch` is in memory and not on disk.
    Interrupted { epoch: u32, unwritten: bool },
    /// A checkpoint is on disk. `existing` are all of the job's checkpoints there.
    Written { checkpoint: CheckpointId, existing: &'a [CheckpointId] },
}

/// What the training does about its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointAction {
    /// Nothing.
    Nothing,
    /// Hold the state in memory until the next epoch's end, in case the training is interrupted.
    Hold,
    /// Write the state to disk; hold it as long as that fails.
    Write,
    /// Remove these checkpoints. It may fail: the next removal includes them.
    Remove(Vec<CheckpointId>),
}

/// The policy of one attempt: write at an interval and on interruption, and keep the last two usable checkpoints.
///
/// It removes no checkpoint of a later attempt, because this attempt may be stale. It leaves the checkpoints of a finished job: the
/// caller removes them once the result is safe.
#[derive(Debug)]
pub(crate) struct CheckpointPolicy {
    interval: CheckpointInterval,
    attempt: Attempt,
    /// The epoch and time of the last write, successful or not, or of the start.
    last_write: (u32, Duration),
    /// The checkpoints that this attempt resumed from or wrote, the newest last; at most [`KEPT`].
    usable: Vec<CheckpointId>,
}

impl CheckpointPolicy {
    /// A policy for a training that starts at time `now`, from its first epoch.
    pub fn new(interval: CheckpointInterval, attempt: Attempt, now: Duration) -> Self {
        CheckpointPolicy { interval, attempt, last_write: (0, now), usable: Vec::new() }
    }

    /// The action for an event at time `now`, which is measured from any fixed point.
    pub fn decide(&mut self, now: Duration, event: CheckpointEvent<'_>) -> CheckpointAction {
        match event {
            CheckpointEvent::Resumed { checkpoint, epoch } => {
                self.last_write = (epoch, now);
                self.usable.push(checkpoint);
                CheckpointAction::Nothing
            }
            CheckpointEvent::EpochEnded { epoch } => {
                let (last_epoch, last_time) = self.last_write;
                if !self.interval.is_due(epoch - last_epoch, now.saturating_sub(last_time)) {
                    return CheckpointAction::Hold;
                }
                self.last_write = (epoch, now);
                CheckpointAction::Write
            }
            CheckpointEvent::Interrupted { unwritten: false, .. } => CheckpointAction::Nothing,
            CheckpointEvent::Interrupted { epoch, unwritten: true } => {
                self.last_write = (epoch, now);
                CheckpointAction::Write
            }
            CheckpointEvent::Written { checkpoint, existing } => {
                self.usable.push(checkpoint);
                self.usable.drain(..self.usable.len().saturating_sub(KEPT));
                let superseded = |id: &&CheckpointId| id.attempt <= self.attempt && !self.usable.contains(id);
                CheckpointAction::Remove(existing.iter().filter(superseded).copied().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn policy(interval: &str, attempt: u32) -> CheckpointPolicy {
        CheckpointPolicy::new(interval.parse().unwrap(), Attempt(attempt), START)
    }

    fn id(epoch: u32, attempt: u32) -> CheckpointId {
        CheckpointId { epoch, attempt: Attempt(attempt) }
    }

    /// The action at an epoch's end, `seconds` after the start.
    fn epoch_ended(policy: &mut CheckpointPolicy, epoch: u32, seconds: u64) -> CheckpointAction {
        policy.decide(START + Duration::from_secs(seconds), CheckpointEvent::EpochEnded { epoch })
    }

    /// The checkpoints that are removed after `checkpoint` was written beside `existing`.
    fn removed(
        policy: &mut CheckpointPolicy,
        checkpoint: CheckpointId,
        existing: &[CheckpointId],
    ) -> Vec<CheckpointId> {
        match policy.decide(START, CheckpointEvent::Written { checkpoint, existing }) {
            CheckpointAction::Remove(removed) => removed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_interval_of_epochs_counts_from_the_last_write() {
        let mut policy = policy("3epochs", 1);
        let actions: Vec<bool> =
            (1..=7).map(|epoch| epoch_ended(&mut policy, epoch, 0) == CheckpointAction::Write).collect();
        assert_eq!(actions, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn an_interval_of_time_counts_from_the_last_write() {
        let mut policy = policy("60s", 1);
        let written = [30, 59, 60, 100, 119, 121, 180]
            .into_iter()
            .zip(1..)
            .filter(|(seconds, epoch)| epoch_ended(&mut policy, *epoch, *seconds) == CheckpointAction::Write);
        assert_eq!(written.map(|(seconds, _)| seconds).collect::<Vec<_>>(), [60, 121]);
    }

    #[test]
    fn a_resumed_training_counts_from_its_checkpoint() {
        let mut policy = policy("2epochs", 2);
        assert_eq!(
            policy.decide(START, CheckpointEvent::Resumed { checkpoint: id(5, 1), epoch: 5 }),
            CheckpointAction::Nothing
        );
        assert_eq!(epoch_ended(&mut policy, 6, 0), CheckpointAction::Hold);
        assert_eq!(epoch_ended(&mut policy, 7, 0), CheckpointAction::Write);
    }

    #[test]
    fn a_failed_write_is_retried_after_another_interval() {
        let mut policy = policy("2epochs", 1);
        assert_eq!(epoch_ended(&mut policy, 2, 0), CheckpointAction::Write);
        // Nothing reports that it was written.
        assert_eq!(epoch_ended(&mut policy, 3, 0), CheckpointAction::Hold);
        assert_eq!(epoch_ended(&mut policy, 4, 0), CheckpointAction::Write);
    }

    #[test]
    fn an_interruption_writes_the_state_unless_it_is_on_disk() {
        let mut policy = policy("1000epochs", 1);
        assert_eq!(epoch_ended(&mut policy, 1, 0), CheckpointAction::Hold);
        let interrupted = |unwritten| CheckpointEvent::Interrupted { epoch: 1, unwritten };
        assert_eq!(policy.decide(START, interrupted(true)), CheckpointAction::Write);
        assert_eq!(policy.decide(START, interrupted(false)), CheckpointAction::Nothing);
    }

    #[test]
    fn the_last_two_checkpoints_are_kept() {
        let mut policy = policy("1epochs", 1);
        assert_eq!(removed(&mut policy, id(1, 1), &[id(1, 1)]), []);
        assert_eq!(removed(&mut policy, id(2, 1), &[id(2, 1), id(1, 1)]), []);
        assert_eq!(removed(&mut policy, id(5, 1), &[id(5, 1), id(2, 1), id(1, 1)]), [id(1, 1)]);
    }

    #[test]
    fn a_damaged_checkpoint_is_removed_once_there_is_a_second_usable_one() {
        let mut policy = policy("1epochs", 2);
        // The checkpoint after epoch 9 was damaged, so the training resumed from the one before.
        policy.decide(START, CheckpointEvent::Resumed { checkpoint: id(8, 1), epoch: 8 });
        let existing = [id(9, 2), id(9, 1), id(8, 1)];
        assert_eq!(removed(&mut policy, id(9, 2), &existing), [id(9, 1)]);
    }

    #[test]
    fn a_stale_attempt_removes_no_checkpoint_of_a_later_one() {
        let mut stale = policy("1epochs", 1);
        let existing = [id(7, 1), id(6, 1), id(5, 1), id(4, 2), id(3, 2)];
        stale.decide(START, CheckpointEvent::Written { checkpoint: id(6, 1), existing: &[] });
        assert_eq!(removed(&mut stale, id(7, 1), &existing), [id(5, 1)]);
        let mut later = policy("1epochs", 2);
        later.decide(START, CheckpointEvent::Written { checkpoint: id(4, 2), existing: &[] });
        let existing = [id(7, 1), id(6, 1), id(5, 2), id(4, 2), id(3, 2)];
        assert_eq!(removed(&mut later, id(5, 2), &existing), [id(7, 1), id(6, 1), id(3, 2)]);
    }
}
