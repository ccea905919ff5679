//! Arguments of the commands that train or serve: `run`, `coordinator`, `worker` and `runner`.

use super::output::format_parser;
use super::parse::{address, coordinator, lease, patience, threads, worker_name};
use super::target::SweepArgs;
use super::training::{ResourceArgs, SupervisionArgs, TrainingArgs};
use clap::Args;
use plusminus_core::report::Format;
use plusminus_engines::Device;
use plusminus_trainer::checkpoint::CheckpointInterval;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

const RUN_EXAMPLES: &str = "\
Examples:
  # Train a sweep, or what is missing of it, and print its table
  plusminus run sweeps/quickstart.yaml

  # Train the small variant of a sweep first
  plusminus run sweeps/gce-table1-cifar-10.yaml --profile smoke --datasets ~/data

  # Train on two GPUs, and write the table for a paper
  plusminus run sweeps/fashion-mnist.yaml --device cuda:0,cuda:1 --format latex > table.tex";

const WORKER_EXAMPLES: &str = "\
Examples:
  # Train the jobs of the coordinator on this host, on all cores
  plusminus worker

  # Train eight jobs at once for a coordinator that an SSH tunnel reaches at port 7600
  plusminus worker --coordinator http://127.0.0.1:7600 --slots 8

  # Share checkpoints with other workers, so that a job resumes on any of them
  plusminus worker --checkpoints /shared/checkpoints --checkpoint-every 5m";

/// `run`
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The sweep to train.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// State directory, where results are kept
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// Format of the table
    #[arg(long, value_name = "FORMAT", default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// Devices, slots and threads.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Data sets, kept weights, engine.
    #[command(flatten)]
    pub training: TrainingArgs,
    /// Checkpoints, stalls, grace period.
    #[command(flatten)]
    pub supervision: SupervisionArgs,
}

/// `coordinator`
#[derive(Debug, Args)]
pub struct CoordinatorArgs {
    /// Address to listen on, on the loopback interface; port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7600", value_parser = address)]
    pub listen: SocketAddr,
    /// State directory, where results are kept
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE", hide_env_values = true)]
    pub state: PathBuf,
    /// Time without a heartbeat after which another worker may take a job, from 1s to 1h; a number alone means seconds
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease)]
    pub lease: Duration,
}

/// `worker`
#[derive(Debug, Args)]
#[command(after_help = WORKER_EXAMPLES)]
pub struct WorkerArgs {
    /// URL of the coordinator, or its HOST:PORT
    #[arg(
        long,
        value_name = "URL",
        env = "PLUSMINUS_COORDINATOR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7600",
        value_parser = coordinator
    )]
    pub coordinator: String,
    /// Name of the worker, unique among workers [default: made from the host's name]
    ///
    /// The name is kept in the state directory: a worker that restarts there has the same name.
    #[arg(long, value_name = "NAME", value_parser = worker_name)]
    pub name: Option<String>,
    /// Directory for reports that are not yet delivered; one per worker [default: in the user's state directory]
    ///
    /// The default is `plusminus/worker-NAME` in $XDG_STATE_HOME or ~/.local/state, or `plusminus/host-HOST` for a
    /// worker without `--name`.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Directory for weights that jobs start from, kept for later jobs; one per worker [default: STATE/cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Time to wait for the coordinator's first answer, from 0 to 1d; a number alone means seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = patience)]
    pub patience: Duration,
    /// Leave when standard input is closed: how `run` stops the worker that it started
    #[arg(long, hide = true)]
    pub attached: bool,
    /// Devices, slots and threads.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Data sets, kept weights, engine.
    #[command(flatten)]
    pub training: TrainingArgs,
    /// Checkpoints, stalls, grace period.
    #[command(flatten)]
    pub supervision: SupervisionArgs,
}

/// `runner`
#[derive(Debug, Args)]
pub struct RunnerArgs {
    /// Directory for weights that jobs start from
    #[arg(long, value_name = "DIR")]
    pub cache: PathBuf,
    /// Directory for checkpoints
    #[arg(long, value_name = "DIR")]
    pub checkpoints: PathBuf,
    /// Least time or number of epochs between checkpoints of a job
    #[arg(long, value_name = "INTERVAL", default_value_t)]
    pub checkpoint_every: CheckpointInterval,
    /// Device to train on: cpu, or a GPU such as cuda:0
    #[arg(long, value_name = "DEVICE")]
    pub device: Device,
    /// Number of threads of each job
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: NonZeroUsize,
    /// Number of jobs that train at once
    #[arg(long, value_name = "N")]
    pub lanes: u32,
    /// Data sets, kept weights, engine.
    #[command(flatten)]
    pub training: TrainingArgs,
}
