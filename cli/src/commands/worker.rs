//! `plusminus worker`

use crate::arguments::{self, Device, Training};
use crate::exit::{CliError, Exit};
use plusminus_worker::runner::RunnerOptions;
use plusminus_worker::{Agent, Options};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::thread;
use std::time::Duration;

pub async fn run(arguments: arguments::Worker) -> Result<Exit, CliError> {
    let Device::Cpu = arguments.device;
    let options = Options {
        coordinator: arguments.coordinator,
        name: arguments.name.unwrap_or_else(a_name),
        slots: arguments.slots.unwrap_or_else(cores),
        attached: arguments.attached,
        patience: Duration::from_secs_f64(arguments.patience),
        runner: runner(&arguments.training)?,
    };
    let attached = arguments.attached;
    let stop = async move {
        tokio::select! {
            () = super::told_to_stop() => {}
            () = standard_input_closes(), if attached => {}
        }
    };
    Agent::run(options, stop).await?;
    Ok(Exit::Success)
}

/// One job a core trains faster than several threads a job.
pub fn cores() -> u32 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// How this very program is started as a runner.
fn runner(training: &Training) -> Result<RunnerOptions, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::Io { what: "cannot find this program's file", error })?;
    let mut arguments = vec![OsString::from("runner")];
    arguments.extend(forwarded(training));
    Ok(RunnerOptions { program, arguments })
}

/// The arguments that say `training` again.
pub fn forwarded(training: &Training) -> impl Iterator<Item = OsString> + '_ {
    let datasets = training.datasets.iter().flat_map(|directory| [OsString::from("--datasets"), directory.into()]);
    let weights = training.weights.iter().flat_map(|directory| [OsString::from("--weights"), directory.into()]);
    datasets.chain(weights)
}

/// The host's name, the process, and a few letters that no other worker has: two containers may agree in the others.
fn a_name() -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let letters = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{host}-{}-{letters:04x}", std::process::id())
}

async fn standard_input_closes() {
    let (sender, closed) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut unused = [0; 64];
        while matches!(stdin.read(&mut unused), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = closed.await;
}
