//! Arguments of the commands about state directories and the program itself: `backup`, `restore`, `verify`, `forget`, `gc`, `completions`, `man`.

use super::output::Output;
use super::target::SweepArgs;
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

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Directory that `plusminus backup` created [default: the state directory]
    #[arg(value_name = "BACKUP")]
    pub backup: Option<PathBuf>,
    /// State directory to check; a coordinator may run on it
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `forget`
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The sweep to remove.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Remove the sweep even if jobs of it wait or run
    #[arg(long)]
    pub force: bool,
    /// What to remove from.
    #[command(flatten)]
    pub removal: GcArgs,
}

/// `gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// State directory; no coordinator may run on it
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
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
