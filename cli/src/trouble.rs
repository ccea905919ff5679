//! Describes workers in quarantine and paused sweeps, for people and as JSON.

use plusminus_core::outcome::FailureKind;
use plusminus_proto::v1;
use serde_json::{Value, json};

/// Explains why the dispatch of a sweep is paused.
pub fn describe_pause(sweep: &str, paused: &v1::PausedSweep) -> String {
    let failure = paused.failure.clone().unwrap_or_default();
    let (jobs, kind) = (paused.jobs, FailureKind::from(failure.kind()).name());
    format!(
        "paused: the first {jobs} jobs all failed alike ({kind}: {}); repair the cause, then `plusminus resume {sweep}` goes on",
        failure.message.lines().next().unwrap_or_default()
    )
}

/// Explains the quarantine of a worker.
pub fn describe_quarantine(quarantine: &v1::Quarantine) -> String {
    let v1::Quarantine { worker, pause_milliseconds, pauses, probation, cause, reason, .. } = quarantine;
    let why = match cause.as_str() {
        "returned" => "it gave jobs back",
        "flapping" => "its process keeps ending",
        "silent" => "it keeps falling silent",
        _ => "it failed what others may finish",
    };
    let next = match (pause_milliseconds.div_ceil(1000), probation) {
        (0, _) => "now gets one job at a time".to_owned(),
        (seconds, true) => format!("gets no jobs for {seconds} s, then one at a time"),
        (seconds, false) => format!("gets no jobs for {seconds} s"),
    };
    let times = if *pauses == 1 { "1 pause".to_owned() } else { format!("{pauses} pauses") };
    format!(
        "worker {worker} is in quarantine because {why} ({times}): {next}; last: {reason}; `plusminus reinstate {worker}` \
         lifts it"
    )
}

/// Returns a quarantine as `--output json` prints it.
pub fn quarantine_json(quarantine: &v1::Quarantine) -> Value {
    json!({
        "worker": quarantine.worker, "since_ms": quarantine.since, "pause_ms": quarantine.pause_milliseconds,
        "pauses": quarantine.pauses, "one_job_at_a_time": quarantine.probation, "cause": quarantine.cause,
        "reason": quarantine.reason,
    })
}

/// Returns a pause of a sweep as `--output json` prints it.
pub fn pause_json(paused: &v1::PausedSweep) -> Value {
    let failure = paused.failure.clone().unwrap_or_default();
    let kind = FailureKind::from(failure.kind()).name();
    json!({ "since_ms": paused.since, "jobs": paused.jobs, "kind": kind, "message": failure.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_says_why_and_what_comes_next() {
        let quarantine = v1::Quarantine {
            worker: "w".into(),
            pause_milliseconds: 3_500,
            pauses: 3,
            probation: true,
            cause: "failures".into(),
            reason: "infrastructure: the runner process was ended by signal 11".into(),
            ..v1::Quarantine::default()
        };
        let text = describe_quarantine(&quarantine);
        assert!(text.contains("3 pauses") && text.contains("no jobs for 4 s, then one at a time"), "{text}");
        assert!(text.contains("signal 11") && text.contains("plusminus reinstate w"), "{text}");
        assert_eq!(quarantine_json(&quarantine)["one_job_at_a_time"], true);
    }

    #[test]
    fn a_paused_sweep_says_why_and_how_to_go_on() {
        let failure = v1::Failure { kind: v1::FailureKind::UserError.into(), message: "no data\nmore".into() };
        let paused = v1::PausedSweep { failure: Some(failure), jobs: 20, since: 5 };
        let text = describe_pause("s", &paused);
        assert!(text.starts_with("paused: the first 20 jobs all failed alike (user-error: no data);"), "{text}");
        assert!(text.contains("plusminus resume s"), "{text}");
    }
}
