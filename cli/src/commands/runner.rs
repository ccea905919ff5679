//! `plusminus runner`: the process that a worker starts to train jobs.

use crate::arguments::{RunnerArgs, TrainingArgs};
use crate::error::CliError;
use crate::exit::Exit;
use plusminus_engines::ExecutionOptions;
use plusminus_worker::runner::{ChildOptions, serve};

pub fn run(arguments: RunnerArgs) -> Result<Exit, CliError> {
    let RunnerArgs { cache, checkpoints, checkpoint_every, device, threads, lanes, training } = arguments;
    let TrainingArgs { datasets, weights, engine, nondeterministic } = training;
    let execution = ExecutionOptions { device, engine, threads, deterministic: !nondeterministic };
    serve(ChildOptions { datasets, weights, cache, checkpoints, checkpoint_every, execution, lanes })
        .map_err(|error| CliError::Io { what: "the worker has closed the connection", error })?;
    Ok(Exit::Success)
}
