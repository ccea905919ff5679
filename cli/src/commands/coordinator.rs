//! `plusminus coordinator`

use crate::arguments::CoordinatorArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::signals;
use plusminus_coordinator::Coordinator;
use plusminus_core::scheduler::Policy;

pub async fn run(arguments: CoordinatorArgs) -> Result<Exit, CliError> {
    let policy = Policy { lease: arguments.lease, ..Policy::default() };
    let coordinator = Coordinator::bind(arguments.listen, &arguments.state, policy).await?;
    coordinator.run(signals::stop_requested()).await?;
    Ok(Exit::Success)
}
