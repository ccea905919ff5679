//! `plusminus runner`: what a worker starts.

use crate::arguments::Training;
use crate::exit::{CliError, Exit};
use plusminus_worker::runner::{ChildOptions, serve};

pub fn run(arguments: Training) -> Result<Exit, CliError> {
    let means = super::worker::means(&arguments);
    let options = ChildOptions { datasets: arguments.datasets, weights: arguments.weights, means };
    serve(options).map_err(|error| CliError::Io { what: "the worker does not listen any more", error })?;
    Ok(Exit::Success)
}
