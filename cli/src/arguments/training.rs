//! How jobs train on this host: data, engine, devices, supervision of runners.
//!
//! `run` passes these options to the worker that it starts, and a worker passes some of them to its runners. The
//! methods `to_command_line` write them as arguments again.

use super::parse::{Slots, duration, slots, threads};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use plusminus_engines::EngineKind;
use plusminus_trainer::checkpoint::CheckpointInterval;
use plusminus_worker::equipment::DeviceSelection;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Which devices jobs train on, and how many at once.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Device options")]
pub struct ResourceArgs {
    /// Device to train on: cpu, cuda (all GPUs), a list such as cuda:0,cuda:1, or auto
    ///
    /// `auto` takes all GPUs of the host, or the CPU if there is none.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceSelection,
    /// Number of jobs that train at once on each device, from 1 to 1024, or auto
    ///
    /// `auto` takes one slot per core on a CPU and up to eight slots on a GPU, but no more than there are jobs and
    /// memory for.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = slots)]
    pub slots: Slots,
    /// Number of threads of each job, from 1 to 1024; results do not depend on it [default: cores divided by slots]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

/// Data sets, kept weights and the engine.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Training options")]
pub struct TrainingArgs {
    /// Directory with data sets, such as DIR/fashion-mnist/train-images-idx3-ubyte.gz; repeatable
    ///
    /// Several directories may also be separated by `:`. They are searched in order.
    #[arg(long, value_name = "DIR", env = "PLUSMINUS_DATASETS", hide_env_values = true, value_delimiter = ':')]
    pub datasets: Vec<PathBuf>,
    /// Keep the weights of every job as DIR/JOB/*.safetensors: final, best, and best on validation
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Engine that computes the training steps [default: the fastest one that supports the network]
    #[arg(long, value_name = "NAME", value_parser = engine_parser())]
    pub engine: Option<EngineKind>,
    /// Allow faster GPU algorithms whose last digits vary from run to run
    ///
    /// The engine's name, which is stored with each result, then says `nondeterministic`.
    #[arg(long)]
    pub nondeterministic: bool,
}

/// How a worker supervises its runners: checkpoints, stalls, the grace period.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Supervision options")]
pub struct SupervisionArgs {
    /// Kill a runner that reports no progress for this long, and retry its jobs
    ///
    /// Until a runner's first training step, it has six times as long. TIME is a number of seconds, or
    /// numbers with units: 500ms, 90s, 1m30s, 2h or 1d.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub stall: Duration,
    /// Directory for checkpoints, from which interrupted jobs resume [default: STATE/checkpoints]
    ///
    /// Workers may share the directory. A job that moves to another worker then resumes there.
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// Least time or number of epochs between checkpoints of a job, such as 60s, 5m or 10epochs
    ///
    /// Checkpoints are written at the end of an epoch.
    #[arg(long, value_name = "INTERVAL", default_value_t)]
    pub checkpoint_every: CheckpointInterval,
    /// Time that jobs have to write a checkpoint and stop when the worker leaves
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub grace: Duration,
}

impl TrainingArgs {
    /// Returns the arguments that select the same options.
    pub fn to_command_line(&self) -> impl Iterator<Item = OsString> + '_ {
        let datasets = self.datasets.iter().flat_map(|directory| [OsString::from("--datasets"), directory.into()]);
        let weights = self.weights.iter().flat_map(|directory| [OsString::from("--weights"), directory.into()]);
        let option = |name: &str, value: String| [OsString::from(name), value.into()];
        let engine = self.engine.iter().flat_map(move |engine| option("--engine", engine.to_string()));
        datasets.chain(weights).chain(engine).chain(self.nondeterministic.then(|| "--nondeterministic".into()))
    }
}

impl SupervisionArgs {
    /// Returns the arguments that select the same options.
    pub fn to_command_line(&self) -> Vec<OsString> {
        let SupervisionArgs { stall, grace, checkpoints, checkpoint_every } = self;
        let milliseconds = |time: &Duration| format!("{}ms", time.as_millis());
        let mut arguments: Vec<OsString> = vec!["--stall".into(), milliseconds(stall).into()];
        arguments.extend(["--grace".into(), milliseconds(grace).into()]);
        arguments.extend(["--checkpoint-every".into(), checkpoint_every.to_string().into()]);
        arguments.extend(checkpoints.iter().flat_map(|directory| ["--checkpoints".into(), directory.into()]));
        arguments
    }
}

/// Returns the parser of an engine's name.
fn engine_parser() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(EngineKind::ALL.iter().map(|kind| kind.name())).try_map(|name| name.parse::<EngineKind>())
}
