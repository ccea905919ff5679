//! `plusminus cancel SWEEP`

use crate::arguments::{self, Output};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{LiveClient, Named};
use serde_json::json;

pub async fn run(arguments: arguments::OneSweep) -> Result<Exit, CliError> {
    let sweep = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let mut client = LiveClient::of(&arguments.whose).await?;
    let dropped = client.cancel(sweep.name()).await?.dropped;
    match arguments.output {
        Output::Text => {
            terminal::note(&format!("{}: {dropped} unfinished jobs dropped; results are kept", sweep.name()));
        }
        Output::Json => terminal::data(&format!("{}\n", json!({ "sweep": sweep.name(), "dropped": dropped })))?,
    }
    Ok(Exit::Success)
}
