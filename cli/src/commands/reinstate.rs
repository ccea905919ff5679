//! `plusminus reinstate WORKER`

use crate::arguments::{Output, ReinstateArgs};
use crate::client::LiveClient;
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use serde_json::json;

pub async fn run(arguments: ReinstateArgs) -> Result<Exit, CliError> {
    let mut client = LiveClient::open(&arguments.target).await?;
    let was_in_quarantine = client.reinstate(&arguments.worker).await?.was_in_quarantine;
    let worker = arguments.worker;
    match arguments.output {
        Output::Text if was_in_quarantine => {
            terminal::note(&format!("worker {worker} is out of quarantine and gets jobs again"));
        }
        Output::Text => terminal::note(&format!("worker {worker} was not in quarantine; its failures are forgotten")),
        Output::Json => {
            let answer = json!({ "worker": worker, "was_in_quarantine": was_in_quarantine });
            terminal::data(&format!("{answer}\n"))?;
        }
    }
    Ok(Exit::Success)
}
