//! Which sweep a command is about, and where its results are.

use clap::Args;
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
pub struct TargetArgs {
    /// State directory; if a coordinator runs on it, the command asks that coordinator
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// URL of the coordinator to ask, instead of a state directory
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
}
