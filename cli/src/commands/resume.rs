//! `plusminus resume SWEEP`

use crate::arguments::{Output, Whose};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{LiveClient, Named};
use plusminus_proto::v1;
use serde_json::json;

/// `resume`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Queue failed jobs alone, but for those that diverged, which would again
    #[arg(long, conflicts_with = "job")]
    pub failed: bool,
    /// Queue this job, whyever it has failed: its id, or the beginning of it; may be given several times
    #[arg(long, value_name = "ID")]
    pub job: Vec<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// What to print
    #[arg(long, alias = "format", value_enum, default_value_t)]
    pub output: Output,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let (sweep, jobs) = (named.name().to_owned(), arguments.job);
    let mut client = LiveClient::of(&arguments.whose).await?;
    let request = v1::ResumeRequest { sweep: sweep.clone(), failed: arguments.failed, jobs };
    let queued = client.resume(request).await?.queued;
    match arguments.output {
        Output::Text => terminal::note(&describe(&sweep, queued)),
        Output::Json => terminal::data(&format!("{}\n", json!({ "sweep": sweep, "queued": queued })))?,
    }
    Ok(Exit::Success)
}

/// What came of it, in words.
fn describe(sweep: &str, queued: u64) -> String {
    match queued {
        0 => format!(
            "{sweep}: there is nothing to queue again; `plusminus status {sweep}` says where it stands. A job that diverged \
             would again: `--job ID` queues it all the same"
        ),
        1 => format!("{sweep}: 1 job is queued again; follow it with `plusminus watch {sweep}`"),
        jobs => format!("{sweep}: {jobs} jobs are queued again; follow them with `plusminus watch {sweep}`"),
    }
}
