//! Arguments of the commands about sweeps and jobs: `check`, `submit`, `status`, `watch`, `resume`, `reinstate`, `explain`,
//! `cancel`.

use super::output::Output;
use super::target::{SweepArgs, TargetArgs};
use clap::Args;
use std::path::PathBuf;

pub(super) const SUBMIT_EXAMPLES: &str = "\
Examples:
  # Hand a sweep to the coordinator that runs on .plusminus, and follow it
  plusminus submit sweeps/fashion-mnist.yaml
  plusminus watch fashion-mnist

  # Hand the small variant of a sweep to another coordinator
  plusminus submit sweeps/fashion-mnist.yaml --profile smoke --coordinator http://127.0.0.1:7601";

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Sweep file
    pub sweep: PathBuf,
    /// Use this profile of the sweep file, such as `smoke`
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// List the jobs, with their ids and memory
    #[arg(long)]
    pub jobs: bool,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `submit` and `cancel`
#[derive(Debug, Args)]
pub struct OneSweepArgs {
    /// The sweep to submit or to cancel.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// The coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Sweep file, or the name of a sweep that was submitted before [default: all sweeps]
    pub sweep: Option<String>,
    /// Where the results are.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The sweep to follow.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// The coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format; json prints one line per change
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The sweep to resume.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Queue only failed jobs, without those that diverged: they would diverge again
    #[arg(long, conflicts_with = "job")]
    pub failed: bool,
    /// Queue this job, whatever its failure: its id, or a prefix of it; repeatable
    #[arg(long, value_name = "ID")]
    pub job: Vec<String>,
    /// The coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, alias = "format", value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `reinstate`
#[derive(Debug, Args)]
pub struct ReinstateArgs {
    /// Name of the worker, as `plusminus status` shows it
    pub worker: String,
    /// The coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Id of the job, or a prefix of it
    pub job: String,
    /// Where the results are.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, alias = "format", value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}
