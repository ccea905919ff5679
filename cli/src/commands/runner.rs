//! `plusminus runner`: what a worker starts.

use crate::arguments::{Runner, Training};
use crate::exit::{CliError, Exit};
use plusminus_worker::runner::{ChildOptions, serve};

pub fn run(Runner { cache, checkpoints, checkpoint_every, training }: Runner) -> Result<Exit, CliError> {
    let means = super::worker::means(&training);
    let Training { datasets, weights, .. } = training;
    serve(ChildOptions { datasets, weights, cache, checkpoints, checkpoint_every, means })
        .map_err(|error| CliError::Io { what: "the worker does not listen any more", error })?;
    Ok(Exit::Success)
}
