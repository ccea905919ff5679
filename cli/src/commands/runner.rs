//! `plusminus runner`: what a worker starts.

use crate::arguments::{Runner, Training};
use crate::exit::{CliError, Exit};
use plusminus_engines::ExecutionOptions;
use plusminus_worker::runner::{ChildOptions, serve};

pub fn run(arguments: Runner) -> Result<Exit, CliError> {
    let Runner { cache, checkpoints, checkpoint_every, device, threads, lanes, training } = arguments;
    let Training { datasets, weights, engine, nondeterministic } = training;
    let execution = ExecutionOptions { device, engine, threads, deterministic: !nondeterministic };
    serve(ChildOptions { datasets, weights, cache, checkpoints, checkpoint_every, execution, lanes })
        .map_err(|error| CliError::Io { what: "the worker does not listen any more", error })?;
    Ok(Exit::Success)
}
