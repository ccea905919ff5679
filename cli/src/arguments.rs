//! The command line as typed.

use crate::commands;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use plusminus_core::report::Format;
use plusminus_engines::{Device, EngineKind};
use plusminus_trainer::checkpoint::Every;
use plusminus_worker::equipment::DeviceSelection;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// From a sweep file to a five-seed table.
///
/// A sweep file names datasets, noise, losses and seeds; plusminus trains every combination and prints mean ± std.
#[derive(Debug, Parser)]
#[command(name = "plusminus", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more of what goes on; twice for still more. RUST_LOG overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a sweep on this machine and print its table; run again, train only what is missing
    Run(Run),
    /// Check a sweep file and say what it would train
    Check(Check),
    /// Serve sweeps to workers
    Coordinator(Coordinator),
    /// Train the jobs of a coordinator
    Worker(Worker),
    /// Have a coordinator train a sweep
    Submit(OneSweep),
    /// Show where sweeps and workers stand
    Status(Status),
    /// Follow a sweep until its last job has ended
    Watch(Watch),
    /// Print a sweep's table, finished or not
    Table(Table),
    /// Set a sweep's table beside a published one, and test whether they agree
    Compare(commands::compare::Arguments),
    /// Test which losses of a sweep differ, pair by pair on shared seeds
    Significance(commands::significance::Arguments),
    /// Queue again what a sweep lacks: failed and cancelled jobs
    Resume(commands::resume::Arguments),
    /// Say why a job is where it is, and what has become of its attempts
    Explain(commands::explain::Arguments),
    /// Copy a state directory, also of a running coordinator
    Backup(commands::backup::Backup),
    /// Put a copy of a state directory back
    Restore(commands::backup::Restore),
    /// Drop the unfinished jobs of a sweep
    Cancel(OneSweep),
    /// Train what standard input asks for: what a worker starts
    #[command(hide = true)]
    Runner(Runner),
}

/// Where results are kept, or who keeps them.
#[derive(Debug, Args)]
pub struct Whose {
    /// State directory, whose coordinator is asked if one runs on it
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE")]
    pub state: PathBuf,
    /// URL of the coordinator to ask, in place of a state directory
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
}

/// How jobs are trained on this machine.
#[derive(Clone, Debug, Default, Args)]
pub struct Training {
    /// Directory with data sets, such as DIR/fashion-mnist/train-images-idx3-ubyte.gz
    #[arg(long, value_name = "DIR", env = "PLUSMINUS_DATASETS", value_delimiter = ':')]
    pub datasets: Vec<PathBuf>,
    /// Keep the weights of every job: final, best and best on validation, as DIR/JOB/*.safetensors
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Engine that trains [default: the fastest that can run the network]
    #[arg(long, value_name = "NAME", value_parser = engine_parser())]
    pub engine: Option<EngineKind>,
    /// Let GPUs compute in whichever order is fastest: a job gives other last digits each time, and says so in its engine's name
    #[arg(long)]
    pub nondeterministic: bool,
}

/// On what jobs are trained, and how many at once.
#[derive(Clone, Debug, Args)]
pub struct Share {
    /// What to train on: cpu, cuda (all GPUs), such as cuda:0,cuda:1, or auto: all GPUs, or the processor where there is none
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceSelection,
    /// Jobs at once on each device: auto is one a core, or up to eight on a GPU; no more than there are jobs and memory for
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = slots)]
    pub slots: Slots,
    /// Threads of a job, on which its result does not depend [default: the cores, divided by the jobs at once]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

/// How training processes are looked after.
#[derive(Clone, Debug, Args)]
pub struct Care {
    /// How long a training process may be silent before it is killed and its job tried again; six times as long until its first step
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub stall: Duration,
    /// Directory for checkpoints, from which a job that was interrupted goes on; workers may share one [default: STATE/checkpoints]
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// How often a job is kept, at the end of an epoch: such as 60s, 5m or 10epochs
    #[arg(long, value_name = "HOW", default_value_t)]
    pub checkpoint_every: Every,
    /// How long jobs may take to stop, with a checkpoint, when the worker is told to leave
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub grace: Duration,
}

/// Takes a length of time, such as `90s`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let number = |(unit, seconds): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds);
    let seconds = units.into_iter().find_map(number).filter(|seconds| (0.001..=30.0 * 86_400.0).contains(seconds));
    let wrong = || "expected a time above 0 and up to 30 days, such as 90s, 10m or 2h".to_owned();
    seconds.map(Duration::from_secs_f64).ok_or_else(wrong)
}

/// Jobs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(pub Option<NonZeroU32>);

fn slots(text: &str) -> Result<Slots, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Slots(None)),
        Ok(number @ 1..=1024) => Ok(Slots(NonZeroU32::new(number))),
        _ => Err("expected `auto` or a number from 1 to 1024".to_owned()),
    }
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1024);
    number.ok_or_else(|| "expected a number from 1 to 1024".to_owned())
}

/// Takes the name of an engine.
fn engine_parser() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(EngineKind::ALL.iter().map(|kind| kind.name())).try_map(|name| name.parse::<EngineKind>())
}

/// Takes the level of a test.
///
/// # Errors
/// Unless it is above 0 and below 1.
pub fn level(text: &str) -> Result<f64, String> {
    let level = text.parse().ok().filter(|level: &f64| *level > 0.0 && *level < 1.0);
    level.ok_or_else(|| "expected a number above 0 and below 1, such as 0.05".to_owned())
}

/// What a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Takes the name of a table's format.
pub fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.iter().map(|format| format.name()))
        .map(|name| Format::named(&name).unwrap_or_default())
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// State directory, where results are kept
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE")]
    pub state: PathBuf,
    /// On what, and how many at once.
    #[command(flatten)]
    pub share: Share,
    /// Format of the table
    #[arg(long, default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// How runners are looked after.
    #[command(flatten)]
    pub care: Care,
    /// Data sets, weights, means.
    #[command(flatten)]
    pub training: Training,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// Sweep file
    pub sweep: PathBuf,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// List the jobs
    #[arg(long)]
    pub jobs: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `coordinator`
#[derive(Debug, Args)]
pub struct Coordinator {
    /// Address to listen on, of the loopback interface; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7600", value_parser = address)]
    pub listen: SocketAddr,
    /// State directory, where results are kept
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE")]
    pub state: PathBuf,
    /// Seconds without a sign of life after which an attempt is given to another worker
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub lease: u64,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7600".to_owned())
}

/// `worker`
#[derive(Debug, Args)]
pub struct Worker {
    /// URL of the coordinator
    #[arg(long, value_name = "URL", env = "PLUSMINUS_COORDINATOR", default_value = "http://127.0.0.1:7600")]
    pub coordinator: String,
    /// On what, and how many at once.
    #[command(flatten)]
    pub share: Share,
    /// Name of the worker, no other worker's [default: made from the host's name, and kept in the state directory]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Directory for what the worker has yet to report, this worker's alone [default: one by its name in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Directory for weights that jobs build on, kept for jobs to come, this worker's alone [default: STATE/cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// How runners are looked after.
    #[command(flatten)]
    pub care: Care,
    /// Seconds to wait for the coordinator to answer at first
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = patience)]
    pub patience: f64,
    /// Leave when standard input is closed: what `run` starts its worker with
    #[arg(long, hide = true)]
    pub attached: bool,
    /// Data sets, weights, means.
    #[command(flatten)]
    pub training: Training,
}

/// `runner`
#[derive(Debug, Args)]
pub struct Runner {
    /// Directory for weights that jobs build on
    #[arg(long, value_name = "DIR")]
    pub cache: PathBuf,
    /// Directory for checkpoints
    #[arg(long, value_name = "DIR")]
    pub checkpoints: PathBuf,
    /// How often a job is kept
    #[arg(long, value_name = "HOW", default_value_t)]
    pub checkpoint_every: Every,
    /// What to train on: cpu, or a GPU such as cuda:0
    #[arg(long, value_name = "DEVICE")]
    pub device: Device,
    /// Threads of each job
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: NonZeroUsize,
    /// Jobs at once
    #[arg(long, value_name = "N")]
    pub lanes: u32,
    /// Data sets, weights, means.
    #[command(flatten)]
    pub training: Training,
}

fn patience(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 86400".to_owned()),
    }
}

/// `submit` and `cancel`
#[derive(Debug, Args)]
pub struct OneSweep {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// Sweep file, or the name of a sweep submitted before [default: all]
    pub sweep: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// What to print: json prints a line whenever something changes
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `table`, and what `compare` and `significance` make theirs of
#[derive(Debug, Args)]
pub struct Table {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// Format
    #[arg(long, default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// Metric in place of the sweep file's
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Epoch in place of the sweep file's: final, best, best-validation, best-validation-loss, or a mean such as last-10-mean
    #[arg(long, value_name = "WHICH")]
    pub at: Option<String>,
}
