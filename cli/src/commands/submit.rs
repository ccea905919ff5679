//! `plusminus submit SWEEP`

use crate::arguments::{OneSweepArgs, Output};
use crate::client::LiveClient;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::{hints, terminal};
use plusminus_proto::v1;
use serde_json::json;

pub async fn run(arguments: OneSweepArgs) -> Result<Exit, CliError> {
    let source = SweepSource::resolve(&arguments.sweep)?;
    let mut client = LiveClient::open(&arguments.target).await?;
    let name = source.name().to_owned();
    let text = match source {
        SweepSource::File(file) => {
            hints::print(&file.sweep);
            file.text
        }
        SweepSource::Name(name) => client.source(&name).await?,
    };
    let submitted = client.submit(&text, &name).await?;
    match arguments.output {
        Output::Text => print(&submitted),
        Output::Json => {
            let v1::SubmitResponse {
                sweep, jobs, new, finished, requeued, dropped, replaced, replaced_finished, ..
            } = submitted;
            let answer = json!({
                "sweep": sweep, "jobs": jobs, "new": new, "finished": finished, "requeued": requeued, "dropped": dropped,
                "replaced": replaced, "replaced_finished": replaced_finished,
            });
            terminal::data(&format!("{answer}\n"))?;
        }
    }
    Ok(Exit::Success)
}

/// Describes a submission: its jobs, by what the coordinator knew of them before.
fn describe(submitted: &v1::SubmitResponse) -> String {
    let mut text = format!("{}: {} jobs", submitted.sweep, submitted.jobs);
    let parts = [
        (submitted.new, "new"),
        (submitted.finished, "finished before"),
        (submitted.requeued, "queued again"),
        (submitted.jobs - submitted.new - submitted.finished - submitted.requeued, "submitted before"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !parts.is_empty() {
        text += &format!(" ({})", parts.join(", "));
    }
    if submitted.dropped > 0 {
        text += &format!("; dropped {} unfinished jobs that the new file does not contain", submitted.dropped);
    }
    text
}

/// Prints what a submission did, and which jobs of another file it replaced.
pub fn print(submitted: &v1::SubmitResponse) {
    terminal::note(&describe(submitted));
    if let Some(replaced) = describe_replaced(submitted) {
        terminal::note(&replaced);
    }
}

/// Describes the jobs of another file under the same name; nothing if there are none.
fn describe_replaced(submitted: &v1::SubmitResponse) -> Option<String> {
    let v1::SubmitResponse { sweep, replaced, replaced_finished, .. } = submitted;
    let jobs = match replaced {
        0 => return None,
        1 => "1 other job".to_owned(),
        many => format!("{many} other jobs"),
    };
    let stored = match replaced_finished {
        0 => "none of them has a result".to_owned(),
        finished => format!(
            "{finished} of them finished; their results stay in the store, and `plusminus table FILE` with the earlier file \
             shows them"
        ),
    };
    Some(format!("`{sweep}` was submitted before from another file, with {jobs}, {stored}"))
}
