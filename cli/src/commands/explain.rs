//! `plusminus explain JOB`

use crate::arguments::{Output, Whose};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::Client;
use plusminus_core::outcome::FailureKind;
use plusminus_proto::v1::{self, waiting::Why};
use serde_json::{Value, json};

/// What a configuration is told by.
const TOLD: [&str; 8] = ["dataset", "model", "loss", "noise", "optimizer", "epochs", "batch_size", "parent"];

/// `explain`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job's id, or the beginning of it
    pub job: String,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// What to print
    #[arg(long, alias = "format", value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let mut client = Client::of(&arguments.whose).await?;
    let live = matches!(client, Client::Live(_));
    let job = client.explain(&arguments.job).await?;
    match arguments.output {
        Output::Text => terminal::data(&describe(&job, live))?,
        Output::Json => terminal::data(&format!("{:#}\n", to_json(&job, live)))?,
    }
    Ok(Exit::Success)
}

fn describe(job: &v1::ExplainResponse, live: bool) -> String {
    let sweep = |sweep: &v1::WantedBy| format!("{}{}", sweep.sweep, if sweep.cancelled { " (cancelled)" } else { "" });
    let sweeps: Vec<String> = job.sweeps.iter().map(sweep).collect();
    let sweeps = if sweeps.is_empty() { "no sweep".to_owned() } else { sweeps.join(", ") };
    let facts = [
        ("job", job.job.clone()),
        ("trains", in_short(&job.configuration)),
        ("seed", job.seed.to_string()),
        ("wanted by", sweeps),
        ("state", standing(job, live)),
    ];
    let mut text: String = facts.map(|(what, is)| format!("{what:<9}  {}\n", indented(&is, 11))).concat();
    text.push('\n');
    text + &attempts(&job.attempts, live)
}

/// Further lines begin below the first.
fn indented(text: &str, by: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{:by$}", ""))
}

fn standing(job: &v1::ExplainResponse, live: bool) -> String {
    let text = match job.status() {
        v1::JobStatus::Finished => return "finished: it has its result".to_owned(),
        v1::JobStatus::Dropped => {
            let sweep = job.sweeps.first().map_or("SWEEP", |sweep| sweep.sweep.as_str());
            format!("cancelled: no sweep wants it; `plusminus resume {sweep}` queues it again")
        }
        v1::JobStatus::Failed => failed(job),
        v1::JobStatus::Running => running(job, live),
        v1::JobStatus::Queued if !live => {
            "queued, and no coordinator runs here: start one with `plusminus coordinator`".to_owned()
        }
        v1::JobStatus::Queued => queued(job),
        v1::JobStatus::Unspecified => "unknown to this version of plusminus".to_owned(),
    };
    if job.has_result { format!("has its result, and is trained again for its weights; {text}") } else { text }
}

fn failed(job: &v1::ExplainResponse) -> String {
    let failure = job.failure.clone().unwrap_or_default();
    match FailureKind::from(failure.kind()) {
        FailureKind::Diverged => {
            format!("diverged: {}. That is a result: the same again would end the same", failure.message)
        }
        kind => {
            let sweep = job.sweeps.first().map_or("SWEEP", |sweep| sweep.sweep.as_str());
            let id = beginning(&job.job);
            let again = format!("`plusminus resume {sweep} --job {id}` tries it again");
            format!("failed ({}): {}\n{again}", kind.name(), failure.message.trim_end())
        }
    }
}

fn running(job: &v1::ExplainResponse, live: bool) -> String {
    let running = job.running.clone().unwrap_or_default();
    if !live {
        return format!("was running on {} when its coordinator ended; the next one takes it up again", running.worker);
    }
    let epoch = match (running.progress, &running.last) {
        (Some(progress), _) if progress.epochs > 0 => format!("epoch {} of {}", progress.epoch, progress.epochs),
        (_, Some(last)) => format!("epoch {} is done", last.epoch),
        _ => "it has told nothing yet".to_owned(),
    };
    let (so_long, lease) = (lasted(running.running_milliseconds), lasted(job.lease_milliseconds));
    format!(
        "running on {} for {so_long}: {epoch}; if {} is not heard of it is given up in {lease}",
        running.worker, running.worker
    )
}

fn queued(job: &v1::ExplainResponse) -> String {
    let Some(why) = job.waiting.clone().and_then(|waiting| waiting.why) else { return "queued".to_owned() };
    match why {
        Why::Parent(parent) => {
            let is = match parent.status() {
                v1::JobStatus::Queued => "is queued",
                v1::JobStatus::Running => "is running",
                v1::JobStatus::Finished => "has finished without leaving the weights yet",
                v1::JobStatus::Failed => "has failed",
                v1::JobStatus::Dropped | v1::JobStatus::Unspecified => "is not wanted any more",
            };
            let id = beginning(&parent.job);
            format!("waits for what it builds on: job {}, which {is}; `plusminus explain {id}` says why", parent.job)
        }
        Why::RetryMilliseconds(wait) => format!(
            "is tried again in {}: it has failed {} of {} times without getting further",
            lasted(wait),
            job.failures,
            job.failures_allowed
        ),
        Why::Only(sweep) => format!("queued, and this coordinator trains `{sweep}` and nothing else"),
        Why::NoGpu(_) => "queued, and only a GPU can train it (`precision`), which no connected worker has: start \
                          `plusminus worker` on a machine with one"
            .to_owned(),
        Why::Turn(turn) => {
            let before = match turn.before {
                0 => "it is the next".to_owned(),
                1 => "1 job comes before it".to_owned(),
                jobs => format!("{jobs} jobs come before it"),
            };
            let rest = match turn.resting {
                0 => String::new(),
                1 => "; a worker gave back what it was given and is given nothing for a while".to_owned(),
                some => format!("; {some} workers gave back what they were given and are given nothing for a while"),
            };
            let before = before + &rest;
            match (turn.workers, turn.slots.saturating_sub(turn.busy)) {
                (0, _) => format!("queued, and no worker is connected: start one with `plusminus worker`; {before}"),
                (_, 0) if turn.slots == 1 => format!("queued: the only slot is busy; {before}"),
                (_, 0) if turn.slots > 0 => format!("queued: all {} slots are busy; {before}", turn.slots),
                (_, 0) => format!("queued: every worker is leaving; {before}"),
                (_, free) => format!("queued: {free} of {} slots are free; {before}", turn.slots),
            }
        }
    }
}

fn attempts(attempts: &[v1::AttemptRow], live: bool) -> String {
    if attempts.is_empty() {
        return "no attempt has been made yet\n".to_owned();
    }
    let mut rows = vec![["attempt", "worker", "began", "lasted", "epochs", "ended"].map(str::to_owned)];
    for attempt in attempts {
        let length = attempt.ended.map_or(String::new(), |ended| lasted(ended.saturating_sub(attempt.started)));
        let ending = match (attempt.ending.as_str(), live) {
            ("", true) => "running",
            ("", false) => "with its coordinator, or yet to be taken up",
            (ending, _) => ending,
        };
        let began = moment(attempt.started);
        let row = [
            attempt.attempt.to_string(),
            attempt.worker.clone(),
            began,
            length,
            attempt.epochs.to_string(),
            ending.to_owned(),
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
            text += &format!("         {}\n", indented(&attempt.message, 9));
        }
    }
    text
}

/// As much of an id as is mostly enough.
fn beginning(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A configuration by its most telling parts.
fn in_short(configuration: &str) -> String {
    let Ok(Value::Object(parts)) = serde_json::from_str(configuration) else { return configuration.to_owned() };
    let part = |key: &&str| {
        let value = parts.get(*key)?;
        Some(match *key {
            "parent" => "builds on another job".to_owned(),
            "epochs" => format!("{value} epochs"),
            "batch_size" => format!("batches of {value}"),
            "noise" => format!("noise {}", value_in_short(value)?),
            _ => value_in_short(value)?,
        })
    };
    TOLD.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// `{"name": "gce", "q": 0.7}` as `gce (q 0.7)`.
fn value_in_short(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(parts) => {
            let name = ["name", "kind"].iter().find_map(|key| parts.get(*key)?.as_str()).unwrap_or_default();
            let simple = |(key, value): (&String, &Value)| {
                let told = !["name", "kind"].contains(&key.as_str()) && (value.is_number() || value.is_string());
                told.then(|| format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            };
            let rest: Vec<String> = parts.iter().filter_map(simple).collect();
            let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
            Some(format!("{name}{rest}").trim().to_owned()).filter(|text| !text.is_empty())
        }
        other => Some(other.to_string()),
    }
}

/// A length of time, to two units.
fn lasted(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A moment in UTC.
fn moment(milliseconds: u64) -> String {
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
        "running": job.running.as_ref().map(super::status::running_json),
        "lease_ms": job.running.as_ref().map(|_| job.lease_milliseconds),
        "failures": job.failures,
        "failures_allowed": job.failures_allowed,
        "attempts": job.attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
