//! `plusminus watch SWEEP`

use crate::arguments::{Output, WatchArgs};
use crate::client::LiveClient;
use crate::commands::status::sweep_json;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal::{self, SweepProgress};
use crate::{outcome, signals};
use plusminus_coordinator::answer::as_submitted;
use plusminus_core::sweep_file::Sweep;
use plusminus_proto::v1;

pub async fn run(arguments: WatchArgs) -> Result<Exit, CliError> {
    let source = SweepSource::resolve(&arguments.sweep)?;
    let mut client = LiveClient::open(&arguments.target).await?;
    let sweep = match &source {
        SweepSource::File(file) => file.sweep.clone(),
        SweepSource::Name(name) => as_submitted(&client.source(name).await?, name)?,
    };
    let status = tokio::select! {
        status = follow(&mut client, &sweep, arguments.output) => status?,
        () = signals::stop_requested() => return Ok(Exit::Interrupted),
    };
    outcome::print_failures(&status, sweep.table.diverged);
    Ok(outcome::exit_code(&status, sweep.table.diverged))
}

/// Shows a sweep's progress until its last job has ended, and returns its last status.
///
/// # Errors
/// If there is no such sweep, or the coordinator stops before.
pub async fn follow(client: &mut LiveClient, sweep: &Sweep, output: Output) -> Result<v1::SweepStatus, CliError> {
    let mut updates = client.watch(sweep.name.as_str()).await?;
    let mut progress = (output == Output::Text).then(|| SweepProgress::new(sweep));
    let mut last = None;
    while let Some(update) = updates.message().await.map_err(|status| client.refused(status, None))? {
        let Some(status) = update.status else { continue };
        match &mut progress {
            Some(progress) => progress.show(&status),
            None => terminal::data(&format!("{}\n", sweep_json(&status)))?,
        }
        last = Some(status);
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    last.filter(v1::SweepStatus::is_over)
        .ok_or_else(|| CliError::Coordinator("it stopped before the sweep ended".to_owned()))
}
