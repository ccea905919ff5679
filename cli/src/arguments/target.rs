//! Which sweep a command is about, and where its results are.

use super::parse::coordinator;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use std::path::PathBuf;

/// A sweep, by its file or its name.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Sweep file, or the name of a sweep that was submitted before
    pub sweep: String,
    /// Use this profile of the sweep file, such as `smoke`
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// A state directory or a running coordinator.
#[derive(Debug, Args)]
struct WrittenTarget {
    /// State directory; if a coordinator runs on it, the command asks that coordinator
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    state: PathBuf,
    /// URL of the coordinator to ask, or its HOST:PORT, instead of a state directory
    #[arg(long, value_name = "URL", env = "PLUSMINUS_COORDINATOR", hide_env_values = true, value_parser = coordinator)]
    coordinator: Option<String>,
}

/// A state directory or a running coordinator. `--state` on the command line overrides a coordinator in the environment.
#[derive(Debug)]
pub struct TargetArgs {
    /// The state directory.
    pub state: PathBuf,
    /// The URL of the coordinator to ask instead.
    pub coordinator: Option<String>,
}

impl FromArgMatches for TargetArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut target = TargetArgs { state: PathBuf::new(), coordinator: None };
        target.update_from_arg_matches(matches)?;
        Ok(target)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let WrittenTarget { state, coordinator } = WrittenTarget::from_arg_matches(matches)?;
        let is_given = matches.value_source("state") == Some(ValueSource::CommandLine)
            && matches.value_source("coordinator") == Some(ValueSource::EnvVariable);
        *self = TargetArgs { state, coordinator: coordinator.filter(|_| !is_given) };
        Ok(())
    }
}

impl Args for TargetArgs {
    fn augment_args(command: Command) -> Command {
        WrittenTarget::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        WrittenTarget::augment_args_for_update(command)
    }
}
