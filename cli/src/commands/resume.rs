//! `plusminus resume SWEEP`

use crate::arguments::{Output, ResumeArgs};
use crate::client::LiveClient;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use plusminus_proto::v1;
use serde_json::json;

pub async fn run(arguments: ResumeArgs) -> Result<Exit, CliError> {
    let sweep = SweepSource::resolve(&arguments.sweep)?.name().to_owned();
    let mut client = LiveClient::open(&arguments.target).await?;
    let request = v1::ResumeRequest { sweep: sweep.clone(), failed: arguments.failed, jobs: arguments.job };
    let queued = client.resume(request).await?.queued;
    match arguments.output {
        Output::Text => terminal::note(&describe(&sweep, queued)),
        Output::Json => terminal::data(&format!("{}\n", json!({ "sweep": sweep, "queued": queued })))?,
    }
    Ok(Exit::Success)
}

fn describe(sweep: &str, queued: u64) -> String {
    match queued {
        0 => format!(
            "{sweep}: no job to queue again; `plusminus status {sweep}` shows its progress, and `--job ID` queues a job \
             that diverged"
        ),
        1 => format!("{sweep}: queued 1 job again; follow it with `plusminus watch {sweep}`"),
        jobs => format!("{sweep}: queued {jobs} jobs again; follow them with `plusminus watch {sweep}`"),
    }
}
