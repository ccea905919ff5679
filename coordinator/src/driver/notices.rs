//! Logs what the scheduler tells operators, one line each.

use plusminus_core::scheduler::{Notice, PausedSweep};
use tracing::{info, warn};

pub(super) fn log(notice: &Notice) {
    match notice {
        Notice::Quarantined { worker, quarantine, now } => {
            let seconds = quarantine.until.since(*now).as_secs_f64();
            let then = if quarantine.probation { ", then one job as a probe" } else { "" };
            let (cause, pauses) = (quarantine.cause.name(), quarantine.pauses);
            warn!(
                %worker, cause, pauses, reason = quarantine.reason,
                "a worker is in quarantine: no jobs for {seconds:.1} s{then}; `plusminus reinstate` lifts it"
            );
        }
        Notice::QuarantineEnded { worker, lifted: true } => info!(%worker, "a user ended the quarantine of a worker"),
        Notice::QuarantineEnded { worker, lifted: false } => {
            info!(%worker, "the quarantine of a worker ended: it finished a job");
        }
        Notice::SweepPaused { sweep, paused: PausedSweep { failure, jobs, .. } } => warn!(
            %sweep, %failure,
            "the dispatch of a sweep is paused: its first {jobs} jobs all failed alike; `plusminus resume` goes on"
        ),
        Notice::SweepReleased { sweep } => info!(%sweep, "the dispatch of a paused sweep goes on"),
    }
}
