//! `plusminus submit SWEEP`

use crate::arguments::{self, Output};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{LiveClient, Named};
use plusminus_proto::v1;
use serde_json::json;

pub async fn run(arguments: arguments::OneSweep) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let mut client = LiveClient::of(&arguments.whose).await?;
    let name = named.name().to_owned();
    let text = match named {
        Named::File(file) => {
            super::hints::tell(&file.sweep);
            file.text
        }
        Named::Name(name) => client.source(&name).await?,
    };
    let submitted = client.submit(&text, &name).await?;
    match arguments.output {
        Output::Text => terminal::note(&describe(&submitted)),
        Output::Json => {
            let v1::SubmitResponse { sweep, jobs, new, finished, requeued, dropped } = submitted;
            let answer = json!({
                "sweep": sweep, "jobs": jobs, "new": new, "finished": finished, "requeued": requeued, "dropped": dropped,
            });
            terminal::data(&format!("{answer}\n"))?;
        }
    }
    Ok(Exit::Success)
}

/// What became of a submission, in words.
pub fn describe(submitted: &v1::SubmitResponse) -> String {
    let mut text = format!("{}: {} jobs", submitted.sweep, submitted.jobs);
    let parts = [
        (submitted.new, "new"),
        (submitted.finished, "finished before"),
        (submitted.requeued, "tried again"),
        (submitted.jobs - submitted.new - submitted.finished - submitted.requeued, "known already"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !parts.is_empty() {
        text += &format!(" ({})", parts.join(", "));
    }
    if submitted.dropped > 0 {
        text += &format!("; {} unfinished jobs of the sweep that had this name are dropped", submitted.dropped);
    }
    text
}
