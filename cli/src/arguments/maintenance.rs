//! Arguments of the commands about state directories and the program itself: `backup`, `restore`, `completions`, `man`.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

/// `backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Directory to create; it is itself a state directory, which `plusminus table SWEEP --state DIR` reads
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    /// State directory to copy; a coordinator may run on it
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
}

/// `restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Directory that `plusminus backup` created
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// State directory to restore into
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// Replace the sweeps of the state directory, and keep their store beside the new one
    #[arg(long)]
    pub force: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to print the script for
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write into; it is created if it does not exist
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}
