//! `plusminus coordinator`

use crate::arguments;
use crate::exit::{CliError, Exit};
use plusminus_coordinator::Coordinator;
use plusminus_core::scheduler::Policy;
use std::time::Duration;

pub async fn run(arguments: arguments::Coordinator) -> Result<Exit, CliError> {
    let policy = Policy { lease: Duration::from_secs(arguments.lease), ..Policy::default() };
    let coordinator = Coordinator::bind(arguments.listen, &arguments.state, policy).await?;
    coordinator.run(super::told_to_stop()).await?;
    Ok(Exit::Success)
}
