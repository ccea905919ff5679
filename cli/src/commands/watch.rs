//! `plusminus watch SWEEP`

use super::{exit_of, status, tell_failures};
use crate::arguments::{self, Output};
use crate::exit::{CliError, Exit};
use crate::terminal::{self, SweepProgress};
use crate::whose::{LiveClient, Named};
use plusminus_coordinator::answer::as_submitted;
use plusminus_core::sweep_file::Sweep;
use plusminus_proto::v1;

pub async fn run(arguments: arguments::Watch) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let mut client = LiveClient::of(&arguments.whose).await?;
    let sweep = match &named {
        Named::File(file) => file.sweep.clone(),
        Named::Name(name) => as_submitted(&client.source(name).await?, name)?,
    };
    let status = tokio::select! {
        status = follow(&mut client, &sweep, arguments.output) => status?,
        () = super::told_to_stop() => return Ok(Exit::Interrupted),
    };
    tell_failures(&status, sweep.table.diverged);
    Ok(exit_of(&status, sweep.table.diverged))
}

/// Shows a sweep until it has settled, and says how it stands then.
///
/// # Errors
/// If there is no such sweep, or the coordinator goes away.
pub async fn follow(client: &mut LiveClient, sweep: &Sweep, output: Output) -> Result<v1::SweepStatus, CliError> {
    let mut updates = client.watch(sweep.name.as_str()).await?;
    let mut progress = (output == Output::Text).then(|| SweepProgress::new(sweep));
    let mut last = None;
    while let Some(update) = updates.message().await.map_err(|status| client.refused(status, None))? {
        let Some(status) = update.status else { continue };
        match &mut progress {
            Some(progress) => progress.show(&status),
            None => terminal::data(&format!("{}\n", status::sweep_json(&status)))?,
        }
        last = Some(status);
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    last.filter(v1::SweepStatus::is_over)
        .ok_or_else(|| CliError::Coordinator("it has stopped before the sweep was done".to_owned()))
}
