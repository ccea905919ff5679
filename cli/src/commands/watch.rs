//! `plusminus watch SWEEP`

use super::{status, table, tell_failures};
use crate::arguments::{self, Output};
use crate::exit::{CliError, Exit};
use crate::terminal::{self, SweepProgress};
use crate::whose::{Client, LiveClient, Named};
use plusminus_core::spec::Sweep;
use plusminus_proto::v1;

pub async fn run(arguments: arguments::Watch) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep)?;
    let client = LiveClient::of(&arguments.whose).await?;
    let mut client = Client::Live(client);
    let sweep = match &named {
        Named::File(file) => file.sweep.clone(),
        Named::Name(name) => table::submitted(&mut client, name).await?,
    };
    let Client::Live(mut client) = client else { return Ok(Exit::Internal) };
    let status = tokio::select! {
        status = follow(&mut client, &sweep, arguments.output) => status?,
        () = super::told_to_stop() => return Ok(Exit::Interrupted),
    };
    tell_failures(&status);
    Ok(if status.failed > 0 { Exit::JobsFailed } else { Exit::Success })
}

/// Shows a sweep until it has settled, and says how it stands then.
///
/// # Errors
/// If there is no such sweep, or the coordinator goes away.
pub async fn follow(client: &mut LiveClient, sweep: &Sweep, output: Output) -> Result<v1::SweepStatus, CliError> {
    let mut updates = client.watch(sweep.name.as_str()).await?;
    let mut progress = (output == Output::Text).then(|| SweepProgress::new(sweep));
    let mut last = None;
    while let Some(update) =
        updates.message().await.map_err(|status| CliError::Coordinator(status.message().to_owned()))?
    {
        let Some(status) = update.status else { continue };
        match &mut progress {
            Some(progress) => progress.show(&status),
            None => terminal::data(&format!("{}\n", status::sweep_json(&status))),
        }
        last = Some(status);
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    let settled = last.filter(|status| status.queued + status.running == 0);
    settled.ok_or_else(|| CliError::Coordinator("it has stopped before the sweep was done".to_owned()))
}
