//! `plusminus explain JOB`

use crate::arguments::{ExplainArgs, Output};
use crate::client::Client;
use crate::commands::status::running_json;
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use crate::trouble::{describe_pause, describe_quarantine, pause_json, quarantine_json};
use plusminus_core::display_text::{line, message};
use plusminus_core::outcome::FailureKind;
use plusminus_proto::v1::{self, waiting::Why};
use serde_json::{Value, json};

/// The settings that identify a configuration in one line.
const SHOWN: [&str; 8] = ["dataset", "model", "loss", "noise", "optimizer", "epochs", "batch_size", "parent"];

pub async fn run(arguments: ExplainArgs) -> Result<Exit, CliError> {
    let mut client = Client::open(&arguments.target).await?;
    let live = matches!(client, Client::Live(_));
    let job = client.explain(&arguments.job).await?;
    match arguments.output {
        Output::Text => terminal::data(&describe(&job, live))?,
        Output::Json => terminal::data(&format!("{:#}\n", to_json(&job, live)))?,
    }
    Ok(Exit::Success)
}

fn describe(job: &v1::ExplainResponse, live: bool) -> String {
    let sweep =
        |sweep: &v1::WantedBy| format!("{}{}", line(&sweep.sweep), if sweep.cancelled { " (cancelled)" } else { "" });
    let sweeps: Vec<String> = job.sweeps.iter().map(sweep).collect();
    let sweeps = if sweeps.is_empty() { "no sweep".to_owned() } else { sweeps.join(", ") };
    let facts = [
        ("job", line(&job.job).to_string()),
        ("trains", line(&summarize(&job.configuration)).to_string()),
        ("seed", job.seed.to_string()),
        ("wanted by", sweeps),
        ("state", describe_state(job, live)),
    ];
    let mut text: String = facts.map(|(name, value)| format!("{name:<9}  {}\n", indent(&value, 11))).concat();
    text.push('\n');
    text + &describe_attempts(&job.attempts, live)
}

/// Indents all lines after the first.
fn indent(text: &str, by: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{:by$}", ""))
}

fn describe_state(job: &v1::ExplainResponse, live: bool) -> String {
    let text = match job.status() {
        v1::JobStatus::Finished => return "finished".to_owned(),
        v1::JobStatus::Dropped => {
            let sweep = job.sweeps.first().map_or("SWEEP", |sweep| sweep.sweep.as_str());
            format!("cancelled; `plusminus resume {sweep}` queues it again")
        }
        v1::JobStatus::Failed => describe_failure(job),
        v1::JobStatus::Running => describe_running(job, live),
        v1::JobStatus::Queued if !live => {
            "queued; no coordinator runs here: start one with `plusminus coordinator`".to_owned()
        }
        v1::JobStatus::Queued => describe_queued(job) + &describe_blame(job),
        v1::JobStatus::Unspecified => "unknown to this version of plusminus".to_owned(),
    };
    if job.has_result { format!("finished, and training again because its weights are missing; {text}") } else { text }
}

fn describe_failure(job: &v1::ExplainResponse) -> String {
    let failure = job.failure.clone().unwrap_or_default();
    match FailureKind::from(failure.kind()) {
        FailureKind::Diverged => {
            format!("diverged: {}. This is a result: another attempt would diverge too", line(&failure.message))
        }
        kind => {
            let sweep = job.sweeps.first().map_or("SWEEP", |sweep| sweep.sweep.as_str());
            let id = prefix(&job.job);
            let again = format!("`plusminus resume {sweep} --job {id}` queues it again");
            format!("failed ({}): {}\n{again}", kind.name(), message(&failure.message))
        }
    }
}

fn describe_running(job: &v1::ExplainResponse, live: bool) -> String {
    let running = job.running.clone().unwrap_or_default();
    if !live {
        return format!(
            "was running on {} when its coordinator ended; the next coordinator resumes it",
            line(&running.worker)
        );
    }
    let epoch = match (running.progress, &running.last) {
        (Some(progress), _) if progress.epochs > 0 => format!("epoch {} of {}", progress.epoch, progress.epochs),
        (_, Some(last)) => format!("finished epoch {}", last.epoch),
        _ => "no progress reported yet".to_owned(),
    };
    let (time, lease) = (format_duration(running.running_milliseconds), format_duration(job.lease_milliseconds));
    let worker = line(&running.worker);
    format!("running on {worker} for {time}: {epoch}; without a heartbeat the lease expires in {lease}")
}

fn describe_queued(job: &v1::ExplainResponse) -> String {
    let Some(why) = job.waiting.clone().and_then(|waiting| waiting.why) else { return "queued".to_owned() };
    match why {
        Why::Parent(parent) => {
            let state = match parent.status() {
                v1::JobStatus::Queued => "is queued",
                v1::JobStatus::Running => "is running",
                v1::JobStatus::Finished => "has finished, but has no saved weights yet",
                v1::JobStatus::Failed => "has failed",
                v1::JobStatus::Dropped | v1::JobStatus::Unspecified => "is cancelled",
            };
            let id = prefix(&parent.job);
            format!("queued; waits for its parent job {}, which {state} (`plusminus explain {id}`)", parent.job)
        }
        Why::RetryMilliseconds(wait) => format!(
            "queued; the next attempt starts in {}, after {} of {} allowed failures without progress",
            format_duration(wait),
            job.failures,
            job.failures_allowed
        ),
        Why::Only(sweep) => format!("queued; this coordinator trains only the sweep `{sweep}`"),
        Why::Paused(v1::WaitsForPausedSweep { sweep, paused }) => {
            format!("queued; sweep {sweep} is {}", describe_pause(&sweep, &paused.unwrap_or_default()))
        }
        Why::NoGpu(_) => {
            "queued; its `precision` requires a GPU, and no connected worker has one: start `plusminus worker` \
                          on a host with a GPU"
                .to_owned()
        }
        Why::Turn(turn) => {
            let before = match turn.before {
                0 => "it is next".to_owned(),
                1 => "1 job is before it".to_owned(),
                jobs => format!("{jobs} jobs are before it"),
            };
            let rest = match turn.resting {
                0 => String::new(),
                1 => "; 1 worker gave jobs back and gets none for a while".to_owned(),
                some => format!("; {some} workers gave jobs back and get none for a while"),
            };
            let before = before + &rest;
            match (turn.workers, turn.slots.saturating_sub(turn.busy)) {
                (0, _) => format!("queued; no worker is connected: start one with `plusminus worker`; {before}"),
                (_, 0) if turn.slots == 1 => format!("queued; the only slot is busy; {before}"),
                (_, 0) if turn.slots > 0 => format!("queued; all {} slots are busy; {before}", turn.slots),
                (_, 0) => format!("queued; every worker is leaving; {before}"),
                (_, free) => format!("queued; {free} of {} slots are free; {before}", turn.slots),
            }
        }
    }
}

/// Describes where the job failed, and the workers in quarantine.
fn describe_blame(job: &v1::ExplainResponse) -> String {
    let mut text = String::new();
    if !job.failed_on.is_empty() {
        text += &format!("\nit failed on {}; other workers are preferred", job.failed_on.join(", "));
    }
    job.quarantines.iter().for_each(|quarantine| text += &format!("\n{}", describe_quarantine(quarantine)));
    text
}

fn describe_attempts(attempts: &[v1::AttemptRow], live: bool) -> String {
    if attempts.is_empty() {
        return "no attempt yet\n".to_owned();
    }
    let mut rows = vec![["attempt", "worker", "started", "duration", "epochs", "ended"].map(str::to_owned)];
    for attempt in attempts {
        let length =
            attempt.ended.map_or(String::new(), |ended| format_duration(ended.saturating_sub(attempt.started)));
        let ending = match (attempt.ending.as_str(), live) {
            ("", true) => "running",
            ("", false) => "interrupted with its coordinator",
            (ending, _) => ending,
        };
        let started = format_time(attempt.started);
        let row = [
            attempt.attempt.to_string(),
            line(&attempt.worker).to_string(),
            started,
            length,
            attempt.epochs.to_string(),
            line(ending).to_string(),
        ];
        rows.push(row);
    }
    let widths: [usize; 6] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (row, attempt) in rows.iter().zip(std::iter::once(None).chain(attempts.iter().map(Some))) {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("{}\n", cells.join("  ").trim_end());
        if let Some(attempt) = attempt.filter(|attempt| !attempt.message.is_empty()) {
            text += &format!("         {}\n", indent(&message(&attempt.message).to_string(), 9));
        }
    }
    text
}

/// Returns a prefix of an id that is almost always unique.
fn prefix(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Formats the settings that identify a configuration.
fn summarize(configuration: &str) -> String {
    let Ok(Value::Object(parts)) = serde_json::from_str(configuration) else { return configuration.to_owned() };
    let part = |key: &&str| {
        let value = parts.get(*key)?;
        Some(match *key {
            "parent" => "starts from a parent job".to_owned(),
            "epochs" => format!("{value} epochs"),
            "batch_size" => format!("batches of {value}"),
            "noise" => format!("noise {}", summarize_value(value)?),
            _ => summarize_value(value)?,
        })
    };
    SHOWN.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// Formats a value: `{"name": "gce", "q": 0.7}` as `gce (q 0.7)`.
fn summarize_value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(parts) => {
            let name = ["name", "kind"].iter().find_map(|key| parts.get(*key)?.as_str()).unwrap_or_default();
            let simple = |(key, value): (&String, &Value)| {
                let shown = !["name", "kind"].contains(&key.as_str()) && (value.is_number() || value.is_string());
                shown.then(|| format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            };
            let rest: Vec<String> = parts.iter().filter_map(simple).collect();
            let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
            Some(format!("{name}{rest}").trim().to_owned()).filter(|text| !text.is_empty())
        }
        other => Some(other.to_string()),
    }
}

/// Formats a duration with two units.
fn format_duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Formats milliseconds since 1970 as a time in UTC.
fn format_time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (mut year, mut days) = (1970_u64, seconds / 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1)
}

fn to_json(job: &v1::ExplainResponse, live: bool) -> Value {
    let state = match job.status() {
        v1::JobStatus::Unspecified => "unknown",
        v1::JobStatus::Queued => "queued",
        v1::JobStatus::Running => "running",
        v1::JobStatus::Finished => "finished",
        v1::JobStatus::Failed => "failed",
        v1::JobStatus::Dropped => "cancelled",
    };
    let kind = |failure: &v1::Failure| FailureKind::from(failure.kind()).name();
    let waiting = job.waiting.clone().and_then(|waiting| waiting.why).map(|why| match why {
        Why::Parent(parent) => json!({ "for": "parent", "parent": parent.job }),
        Why::RetryMilliseconds(wait) => json!({ "for": "retry", "retry_ms": wait }),
        Why::Only(sweep) => json!({ "for": "other-sweep", "only": sweep }),
        Why::Paused(v1::WaitsForPausedSweep { sweep, paused }) => {
            json!({ "for": "paused-sweep", "sweep": sweep, "paused": paused.as_ref().map(pause_json) })
        }
        Why::NoGpu(_) => json!({ "for": "gpu" }),
        Why::Turn(turn) => json!({
            "for": "slot", "before": turn.before, "workers": turn.workers, "slots": turn.slots, "busy": turn.busy,
            "resting": turn.resting,
        }),
    });
    let attempt = |attempt: &v1::AttemptRow| {
        json!({
            "attempt": attempt.attempt,
            "worker": attempt.worker,
            "started_ms": attempt.started,
            "ended_ms": attempt.ended,
            "epochs": attempt.epochs,
            "ending": Some(&attempt.ending).filter(|ending| !ending.is_empty()),
            "message": Some(&attempt.message).filter(|message| !message.is_empty()),
        })
    };
    json!({
        "coordinator_running": live,
        "job": job.job,
        "cell": job.cell,
        "seed": job.seed,
        "configuration": serde_json::from_str::<Value>(&job.configuration).unwrap_or(Value::Null),
        "sweeps": job.sweeps.iter().map(|by| json!({ "sweep": by.sweep, "cancelled": by.cancelled })).collect::<Vec<_>>(),
        "state": state,
        "has_result": job.has_result,
        "failure": job.failure.as_ref().map(|failure| json!({ "kind": kind(failure), "message": failure.message })),
        "waiting": waiting,
        "running": job.running.as_ref().map(running_json),
        "lease_ms": job.running.as_ref().map(|_| job.lease_milliseconds),
        "failures": job.failures,
        "failures_allowed": job.failures_allowed,
        "failed_on": job.failed_on,
        "quarantines": job.quarantines.iter().map(quarantine_json).collect::<Vec<_>>(),
        "attempts": job.attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
