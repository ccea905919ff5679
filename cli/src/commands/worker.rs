//! `plusminus worker`

use crate::arguments::{self, Device, Slots, Training};
use crate::exit::{CliError, Exit};
use plusminus_trainer::{EngineKind, Means, Memory};
use plusminus_worker::machine::{Division, Machine, Wanted};
use plusminus_worker::runner::RunnerOptions;
use plusminus_worker::{Agent, Options};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

pub async fn run(arguments: arguments::Worker) -> Result<Exit, CliError> {
    let Device::Cpu = arguments.device;
    // Which jobs it will be given is not known, nor what memory they take.
    let division = divide(arguments.slots, &arguments.training, None, |_| None);
    let options = Options {
        coordinator: arguments.coordinator,
        name: arguments.name.unwrap_or_else(a_name),
        slots: division.slots.get(),
        attached: arguments.attached,
        patience: Duration::from_secs_f64(arguments.patience),
        cache: arguments.cache,
        runner: runner(&with(&arguments.training, division))?,
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

/// Jobs at once and threads of each, where so many `jobs` are to be trained of which the largest takes `need` bytes.
pub fn divide(
    Slots(slots): Slots,
    training: &Training,
    jobs: Option<usize>,
    need: impl Fn(Means) -> Option<Memory>,
) -> Division {
    // candle has one thread.
    let single = (training.engine == Some(EngineKind::Candle)).then_some(NonZeroUsize::MIN);
    let wanted = Wanted { slots, threads: training.threads.or(single), jobs };
    Machine::here().divide(wanted, |threads| Some(need(Means { threads, ..means(training) })?.0))
}

/// How jobs are trained at once, in words.
pub fn describe(Division { slots, threads }: Division) -> String {
    let jobs = if slots.get() == 1 { "one job at a time".to_owned() } else { format!("{slots} jobs at once") };
    let threads = if threads.get() == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    format!("{jobs}, {threads} each")
}

/// The same with the threads of `division`.
pub fn with(training: &Training, division: Division) -> Training {
    Training { threads: Some(division.threads), ..training.clone() }
}

/// By what means a runner trains.
pub fn means(training: &Training) -> Means {
    let default = Means::default();
    Means { engine: training.engine, threads: training.threads.unwrap_or(default.threads), ..default }
}

/// How this very program is started as a runner.
fn runner(training: &Training) -> Result<RunnerOptions, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::Io { what: "cannot find this program's file", error })?;
    let mut arguments = vec![OsString::from("runner")];
    arguments.extend(forwarded(training));
    Ok(RunnerOptions { program, arguments, means: means(training) })
}

/// The arguments that say `training` again.
pub fn forwarded(training: &Training) -> impl Iterator<Item = OsString> + '_ {
    let datasets = training.datasets.iter().flat_map(|directory| [OsString::from("--datasets"), directory.into()]);
    let weights = training.weights.iter().flat_map(|directory| [OsString::from("--weights"), directory.into()]);
    let option = |name: &str, value: String| [OsString::from(name), value.into()];
    let threads = training.threads.iter().flat_map(move |threads| option("--threads", threads.to_string()));
    let engine = training.engine.iter().flat_map(move |engine| option("--engine", engine.to_string()));
    datasets.chain(weights).chain(threads).chain(engine)
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
