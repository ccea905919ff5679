//! Arguments of `jobs`.

use super::target::{SweepArgs, TargetArgs};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

pub(super) const JOBS_EXAMPLES: &str = "\
Examples:
  # List the jobs that failed, with the first lines of their failures
  plusminus jobs fashion-mnist --state failed

  # List the running and queued jobs of one loss under one kind of noise
  plusminus jobs fashion-mnist --state running --state queued --where loss=gce --where noise.rate=0.4

  # List all jobs of a state directory as CSV
  plusminus jobs fashion-mnist --state .plusminus --output csv";

/// The states of jobs.
pub const STATES: [&str; 6] = ["queued", "running", "finished", "failed", "diverged", "cancelled"];

/// The form of a list of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum JobsOutput {
    /// For people.
    #[default]
    Text,
    /// An array, for scripts.
    Json,
    /// One line per job.
    Csv,
}

/// `jobs`
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// The sweep.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// List only jobs in this state (queued, running, finished, failed, diverged or cancelled), repeatable; or the state
    /// directory [default: .plusminus]
    ///
    /// A value that names no state is a state directory, as for other commands. A directory with the name of a state is
    /// given as ./NAME.
    #[arg(long, value_name = "STATE|DIR")]
    pub state: Vec<String>,
    /// URL of the coordinator to ask, instead of a state directory
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
    /// List only jobs whose configuration has this value, repeatable: loss=gce, noise.rate=0.4, seed=3
    ///
    /// KEY is the path of a setting. VALUE is YAML, or the name of a method.
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = condition)]
    pub conditions: Vec<(String, String)>,
    /// Output format
    #[arg(long, alias = "format", value_name = "FORMAT", value_enum, default_value_t)]
    pub output: JobsOutput,
}

impl JobsArgs {
    /// Returns the states to list.
    pub fn states(&self) -> impl Iterator<Item = &String> {
        self.state.iter().filter(|state| STATES.contains(&state.as_str()))
    }

    /// Returns the value of `--state` that names no state of jobs.
    pub fn directory(&self) -> Option<&str> {
        self.state.iter().map(String::as_str).rfind(|state| !STATES.contains(state))
    }

    /// Returns where the results are.
    pub fn target(&self) -> TargetArgs {
        let given = self.directory().map(PathBuf::from);
        let variable = || std::env::var_os("PLUSMINUS_STATE").filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = given.or_else(variable).unwrap_or_else(|| ".plusminus".into());
        TargetArgs { state, coordinator: self.coordinator.clone() }
    }
}

/// Parses `KEY=VALUE`.
fn condition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as loss=gce".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_a_key_and_a_value() {
        assert_eq!(condition("loss=gce"), Ok(("loss".to_owned(), "gce".to_owned())));
        assert_eq!(condition("loss={name: a=b}"), Ok(("loss".to_owned(), "{name: a=b}".to_owned())));
        assert!(condition("loss").is_err() && condition("=gce").is_err());
    }
}
