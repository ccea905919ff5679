//! The command line as typed.

use crate::commands;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use plusminus_core::report::Format;
use plusminus_trainer::EngineKind;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

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
    /// Threads of a job, on which its result does not depend [default: the cores, divided by the jobs at once]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    /// Engine that trains [default: the fastest that can run the network]
    #[arg(long, value_name = "NAME", value_parser = engine_parser())]
    pub engine: Option<EngineKind>,
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
    /// Jobs at once: auto is one a core, as many as there are jobs and memory for
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = slots)]
    pub slots: Slots,
    /// Format of the table
    #[arg(long, default_value_t, value_parser = format_parser())]
    pub format: Format,
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
    /// What to train on
    #[arg(long, value_enum, default_value_t)]
    pub device: Device,
    /// Jobs at once: auto is one a core
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = slots)]
    pub slots: Slots,
    /// Name of the worker, no other worker's [default: made from the host's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Directory for weights that jobs build on, kept for jobs to come, this worker's alone [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
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

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
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

/// `table`
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
