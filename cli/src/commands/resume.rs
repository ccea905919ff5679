//! `plusminus resume SWEEP`

use crate::arguments::{Output, ResumeArgs};
use crate::client::LiveClient;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use plusminus_coordinator::answer::AnswerError;
use plusminus_coordinator::{ResumeError, StoreError};
use plusminus_core::id::IdError;
use plusminus_proto::v1;
use serde_json::json;

pub async fn run(arguments: ResumeArgs) -> Result<Exit, CliError> {
    let sweep = SweepSource::resolve(&arguments.sweep)?.name().to_owned();
    let (live, queued) = match LiveClient::running(&arguments.target).await? {
        Some(mut client) => {
            let request = v1::ResumeRequest { sweep: sweep.clone(), failed: arguments.failed, jobs: arguments.job };
            (true, client.resume(request).await?.queued)
        }
        None => (false, at_rest(&arguments, &sweep)?),
    };
    match arguments.output {
        Output::Text => terminal::note(&describe(&sweep, queued, live)),
        Output::Json => terminal::data(&format!("{}\n", json!({ "sweep": sweep, "queued": queued })))?,
    }
    Ok(Exit::Success)
}

/// Queues the jobs in a state directory without a coordinator.
fn at_rest(arguments: &ResumeArgs, sweep: &str) -> Result<u64, CliError> {
    let name = sweep.parse().map_err(|error: IdError| CliError::NotFound(error.to_string()))?;
    let state = &arguments.target.state;
    plusminus_coordinator::resume(state, &name, arguments.failed, &arguments.job).map_err(|error| match error {
        ResumeError::Answer(AnswerError::Store(StoreError::Absent(_))) => {
            CliError::NotRunning(state.display().to_string())
        }
        error => error.into(),
    })
}

fn describe(sweep: &str, queued: u64, live: bool) -> String {
    let then = match live {
        true => format!("follow with `plusminus watch {sweep}`"),
        false => format!("train with `plusminus run {sweep}` or a coordinator on the state directory"),
    };
    match queued {
        0 => format!(
            "{sweep}: no job to queue again; `plusminus status {sweep}` shows its progress, and `--job ID` queues a job \
             that diverged"
        ),
        1 => format!("{sweep}: queued 1 job again; {then}"),
        jobs => format!("{sweep}: queued {jobs} jobs again; {then}"),
    }
}
