//! `plusminus cancel SWEEP`

use crate::arguments::{OneSweepArgs, Output};
use crate::client::LiveClient;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use serde_json::json;

pub async fn run(arguments: OneSweepArgs) -> Result<Exit, CliError> {
    let source = SweepSource::resolve(&arguments.sweep)?;
    let mut client = LiveClient::open(&arguments.target).await?;
    let dropped = client.cancel(source.name()).await?.dropped;
    match arguments.output {
        Output::Text => {
            terminal::note(&format!("{}: dropped {dropped} unfinished jobs; results are kept", source.name()));
        }
        Output::Json => terminal::data(&format!("{}\n", json!({ "sweep": source.name(), "dropped": dropped })))?,
    }
    Ok(Exit::Success)
}
