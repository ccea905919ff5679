//! The command line: one type per command and per group of options.
//!
//! *Architecture invariant:* nothing here uses the rest of the program. Commands receive these types, parsed.

mod daemons;
mod jobs;
mod maintenance;
mod output;
mod parse;
mod sweeps;
mod tables;
mod target;
mod training;

pub use daemons::{CoordinatorArgs, RunArgs, RunnerArgs, WorkerArgs};
pub use jobs::{JobsArgs, JobsOutput, STATES};
pub use maintenance::{BackupArgs, CompletionsArgs, ForgetArgs, GcArgs, ManArgs, RestoreArgs, VerifyArgs};
pub use output::Output;
pub use parse::Slots;
pub use sweeps::{CheckArgs, ExplainArgs, OneSweepArgs, ReinstateArgs, ResumeArgs, StatusArgs, WatchArgs};
pub use tables::{CompareArgs, SignificanceArgs, TableArgs, TableOfSweepArgs};
pub use target::{SweepArgs, TargetArgs};
pub use training::{ResourceArgs, SupervisionArgs, TrainingArgs};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsStr;

/// Train every combination of a sweep file under several seeds, and print a table of mean ± std.
///
/// A sweep file names data sets, label noise, losses and seeds. plusminus trains every combination, on one host or on
/// many, keeps every result, and prints mean ± std over the seeds. Data goes to standard output, everything else to
/// standard error.
#[derive(Debug, Parser)]
#[command(name = "plusminus", version, max_term_width = 100)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Show more log lines; repeat for still more. RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a sweep on this host and print its table
    ///
    /// Starts a coordinator and a worker, trains the jobs of the sweep that have no result, and prints the table. Run
    /// again, it trains only what is missing. Ctrl-C stops it cleanly.
    Run(RunArgs),
    /// Check a sweep file and describe what it would train
    ///
    /// Prints every problem of the file with its place and a remedy, or else the jobs, data sets, networks, memory and
    /// table that the file describes.
    Check(CheckArgs),
    /// Print a JSON Schema of sweep files
    ///
    /// Editors with a YAML language server complete and check sweep files with it.
    Schema,
    /// Serve sweeps to workers
    ///
    /// Keeps sweeps, jobs and results in a state directory, and dispatches jobs to the workers that connect. Ctrl-C or
    /// SIGTERM stops it; its workers go on training and reconnect to the next coordinator.
    Coordinator(CoordinatorArgs),
    /// Train the jobs of a coordinator on this host
    ///
    /// Runs until Ctrl-C or SIGTERM. It then writes checkpoints, gives its jobs back and leaves. A second signal ends
    /// it at once.
    Worker(WorkerArgs),
    /// Submit a sweep to a running coordinator
    ///
    /// Jobs that have a result are not trained again. Submitting a changed file under the same name drops the
    /// unfinished jobs that the new file no longer contains.
    #[command(after_help = sweeps::SUBMIT_EXAMPLES)]
    Submit(OneSweepArgs),
    /// Show the progress of sweeps and the connected workers
    Status(StatusArgs),
    /// Follow a sweep until its last job has ended
    ///
    /// Exits with code 1 if jobs failed or were cancelled.
    Watch(WatchArgs),
    /// Print a sweep's table, finished or not
    ///
    /// Given a sweep file, lays out the stored results as this file says, without training.
    Table(TableArgs),
    /// Compare a sweep's table with published results
    ///
    /// Tests for each cell whether the published mean ± std and the sweep's agree, and lists the settings that differ.
    Compare(CompareArgs),
    /// Test which losses of a sweep differ, pair by pair on shared seeds
    Significance(SignificanceArgs),
    /// Queue the failed and cancelled jobs of a sweep again
    ///
    /// If no coordinator runs on the state directory, the jobs are queued in its store for the next `run` or coordinator.
    Resume(ResumeArgs),
    /// End the quarantine of a worker
    ///
    /// A worker that fails what others finish gets few jobs, with growing pauses. `plusminus status` lists such workers.
    /// After a repair, this command makes the coordinator forget the failures.
    Reinstate(ReinstateArgs),
    /// List the jobs of a sweep, all or some
    #[command(after_help = jobs::JOBS_EXAMPLES)]
    Jobs(JobsArgs),
    /// Explain a job's state and list its attempts
    Explain(ExplainArgs),
    /// Copy a state directory, also while its coordinator runs
    Backup(BackupArgs),
    /// Restore a state directory from a backup
    Restore(RestoreArgs),
    /// Check a state directory or a backup for damage
    ///
    /// Checks every stored row against its checksum, results against the epochs that they come from, kept weights
    /// against their digests, and a backup against its manifest. It changes nothing. Exits with code 6 if it finds a
    /// fault.
    Verify(VerifyArgs),
    /// Remove a sweep and its results from a state directory
    ///
    /// Jobs that another sweep lists keep their results. No coordinator may run on the state directory.
    Forget(ForgetArgs),
    /// Remove what no sweep needs from a state directory
    ///
    /// Removes jobs that no sweep lists any more with their results, weights that no job refers to, and unfinished
    /// files. No coordinator may run on the state directory.
    Gc(GcArgs),
    /// Cancel the unfinished jobs of a sweep
    ///
    /// Results are kept, and so are jobs that another sweep wants. `plusminus resume SWEEP` queues the jobs again.
    Cancel(OneSweepArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write one man page per command into a directory
    #[command(hide = true)]
    Man(ManArgs),
    /// Train the jobs that standard input names: the process that a worker starts
    #[command(hide = true)]
    Runner(RunnerArgs),
}

impl Arguments {
    /// Parses the command line and the environment; prints help or what is wrong with them, and exits.
    pub fn of_process() -> Arguments {
        let matches = without_empty_variables(Arguments::command()).get_matches();
        Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// `command` with each option's environment variable ignored if it is empty: an empty variable counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let filled = |arg: Arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg };
    command.mut_args(filled).mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
