//! How a finished sweep is reported: its exit code, failed jobs and diverged jobs.

use crate::exit::Exit;
use crate::terminal;
use crate::trouble::describe_pause;
use plusminus_core::outcome::FailureKind;
use plusminus_core::sweep_file::Divergence;
use plusminus_proto::v1;

/// Returns the exit code of a command whose sweep has ended.
pub fn exit_code(status: &v1::SweepStatus, policy: Divergence) -> Exit {
    // A divergence is a result unless the sweep file says otherwise.
    let failed = match policy {
        Divergence::Exclude | Divergence::Count => status.failed_otherwise(),
        Divergence::Fail => status.failed,
    };
    if status.cancelled || status.paused.is_some() || failed + status.dropped > 0 {
        Exit::JobsFailed
    } else {
        Exit::Success
    }
}

/// Prints why jobs of a sweep failed, one line per reason, and how many diverged. Says so if its dispatch is paused.
pub fn print_failures(status: &v1::SweepStatus, policy: Divergence) {
    if let Some(paused) = &status.paused {
        terminal::error(&format!("{} is {}", status.sweep, describe_pause(&status.sweep, paused)));
    }
    let kind = |failed: &v1::FailureCount| failed.failure.as_ref().map(|failure| FailureKind::from(failure.kind()));
    let (diverged, failures): (Vec<_>, Vec<_>) =
        status.failures.iter().partition(|failed| kind(failed) == Some(FailureKind::Diverged));
    for failed in failures {
        let Some(failure) = &failed.failure else { continue };
        let kind = FailureKind::from(failure.kind()).name();
        terminal::error(&format!("{} failed ({kind}): {}", count_jobs(failed.jobs), failure.message));
    }
    // The status lists the most frequent reasons only. Diverged jobs may be among the rest.
    let listed: u64 = diverged.iter().map(|failed| failed.jobs).sum();
    let others = status.other_failures.saturating_sub(status.diverged.saturating_sub(listed));
    if others > 0 {
        terminal::error(&format!("{others} more jobs failed for other reasons"));
    }
    let example = diverged.first().and_then(|failed| failed.failure.as_ref());
    print_diverged(status.diverged, policy, example.map(|failure| failure.message.as_str()));
}

/// Prints how many jobs diverged and how the table treats them: an error if they fail the sweep, otherwise a note.
pub fn print_diverged(number: u64, policy: Divergence, example: Option<&str>) {
    let example = example.map(|message| format!(", such as: {message}")).unwrap_or_default();
    let text =
        |what: &str| format!("{} diverged (table.diverged is {}: {what}){example}", count_jobs(number), policy.name());
    match policy {
        _ if number == 0 => {}
        Divergence::Exclude => terminal::note(&text("left out of means")),
        Divergence::Count => terminal::note(&text("epochs finished before count")),
        Divergence::Fail => terminal::error(&text("no mean in their cells")),
    }
}

/// Formats a number of jobs: "1 job", "2 jobs".
fn count_jobs(number: u64) -> String {
    if number == 1 { "1 job".to_owned() } else { format!("{number} jobs") }
}
