//! `plusminus worker`

use crate::arguments::{self, Care, Share, Slots, Training};
use crate::exit::{CliError, Exit};
use crate::terminal;
use plusminus_engines::ExecutionOptions;
use plusminus_trainer::Memory;
use plusminus_trainer::checkpoint::Every;
use plusminus_worker::agent::Equipment;
use plusminus_worker::equipment::{DeviceSelection, Devices, Inventory};
use plusminus_worker::host::{Host, SlotRequest};
use plusminus_worker::runner::RunnerOptions;
use plusminus_worker::{Options, StateDirectory, WorkerError};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

pub async fn run(arguments: arguments::Worker) -> Result<Exit, CliError> {
    // Which jobs it will be given is not known, nor what memory they take.
    let equipment = equip(&arguments.share, &arguments.training, None, |_| None).await?;
    let patience = Duration::from_secs_f64(arguments.patience);
    let state = state(arguments.state, arguments.name.as_deref(), patience).await?;
    let Care { stall, grace, checkpoints, checkpoint_every } = arguments.care;
    let options = Options {
        coordinator: arguments.coordinator,
        name: state.name(arguments.name, a_name)?,
        state,
        equipment,
        attached: arguments.attached,
        patience,
        grace,
        stall,
        cache: arguments.cache,
        checkpoints,
        runner: runner(&arguments.training, checkpoint_every)?,
    };
    let attached = arguments.attached;
    let stop = async move {
        if attached {
            super::told_to_stop_or(standard_input_closes()).await;
        } else {
            super::told_to_stop().await;
        }
    };
    plusminus_worker::run(options, stop).await?;
    Ok(Exit::Success)
}

/// The worker's directory: the one that was asked for, or that of its name in the user's state directory, or, where it has no name, the
/// first there that no other worker has. One that was asked for may be that of a worker which is just leaving.
async fn state(given: Option<PathBuf>, name: Option<&str>, patience: Duration) -> Result<StateDirectory, WorkerError> {
    let home = user_state().join("plusminus");
    let path = match (given, name) {
        (Some(given), _) => given,
        (None, Some(name)) => home.join(format!("worker-{}", as_file_name(name))),
        (None, None) => {
            let host = as_file_name(&gethostname::gethostname().to_string_lossy());
            let mut numbers = 1_u32..;
            loop {
                let number = numbers.next().unwrap_or(u32::MAX);
                let ending = if number == 1 { String::new() } else { format!("-{number}") };
                match StateDirectory::open(&home.join(format!("host-{host}{ending}"))) {
                    Err(WorkerError::StateInUse(_)) if number < u32::MAX => {}
                    opened => return opened,
                }
            }
        }
    };
    let until = Instant::now() + patience;
    loop {
        match StateDirectory::open(&path) {
            Err(WorkerError::StateInUse(_)) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return opened,
        }
    }
}

/// Where programs of this user keep what they must not forget, by the XDG base directory specification.
fn user_state() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(home).unwrap_or_else(|| PathBuf::from(".plusminus-worker"))
}

/// The name with nothing in it that has a meaning in paths.
fn as_file_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    name.chars().map(plain).collect()
}

/// What jobs are trained on here, and how many at once, where so many `jobs` are to be trained, if that is known, and it is known what
/// they `need`. What keeps GPUs from being used, or from being fast, is told.
pub async fn equip(
    share: &Share,
    training: &Training,
    jobs: Option<usize>,
    need: impl Fn(ExecutionOptions) -> Option<Memory>,
) -> Result<Vec<Equipment>, CliError> {
    let Share { device, slots: Slots(slots), threads } = share.clone();
    let engine = training.engine;
    // A driver may take its time.
    let found = tokio::task::spawn_blocking(move || match device {
        DeviceSelection::Cpu => Ok(Devices::Processor(None)),
        device => Inventory::here().select(&device, engine),
    });
    let devices = found.await.map_err(|error| CliError::Io { what: "cannot look for GPUs", error: error.into() })??;
    match &devices {
        Devices::Processor(Some(why)) => terminal::note(&format!("training on the processor: {why}")),
        Devices::Gpus(_, Some(slow)) => terminal::note(&format!("warning: {slow}")),
        Devices::Processor(None) | Devices::Gpus(_, None) => {}
    }
    let execution = ExecutionOptions {
        engine: training.engine,
        deterministic: !training.nondeterministic,
        ..ExecutionOptions::default()
    };
    Ok(devices.equip(&Host::here(), SlotRequest { slots, threads, jobs }, execution, &need))
}

/// The arguments that ask for `equipment` again.
pub fn of_equipment(equipment: &[Equipment]) -> impl Iterator<Item = OsString> + '_ {
    let names: Vec<&str> = equipment.iter().map(|equipment| &*equipment.device.name).collect();
    let device = [OsString::from("--device"), names.join(",").into()];
    // Each device has as many, of as many threads.
    let rest = equipment.first().into_iter().flat_map(|Equipment { device, execution, .. }| {
        let (slots, threads) = (device.slots.to_string(), execution.threads.to_string());
        [OsString::from("--slots"), slots.into(), "--threads".into(), threads.into()]
    });
    device.into_iter().chain(rest)
}

/// How this very program is started as a runner.
fn runner(training: &Training, every: Every) -> Result<RunnerOptions, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::Io { what: "cannot find this program's file", error })?;
    let mut arguments = vec![OsString::from("runner"), "--checkpoint-every".into(), every.to_string().into()];
    arguments.extend(forwarded(training));
    Ok(RunnerOptions { program, arguments })
}

/// The arguments that say `training` again.
pub fn forwarded(training: &Training) -> impl Iterator<Item = OsString> + '_ {
    let datasets = training.datasets.iter().flat_map(|directory| [OsString::from("--datasets"), directory.into()]);
    let weights = training.weights.iter().flat_map(|directory| [OsString::from("--weights"), directory.into()]);
    let option = |name: &str, value: String| [OsString::from(name), value.into()];
    let engine = training.engine.iter().flat_map(move |engine| option("--engine", engine.to_string()));
    datasets.chain(weights).chain(engine).chain(training.nondeterministic.then(|| "--nondeterministic".into()))
}

/// The arguments that say `care` again.
pub fn care(care: &Care) -> Vec<OsString> {
    let Care { stall, grace, checkpoints, checkpoint_every } = care;
    let milliseconds = |time: &Duration| format!("{}ms", time.as_millis());
    let mut arguments: Vec<OsString> = vec!["--stall".into(), milliseconds(stall).into()];
    arguments.extend(["--grace".into(), milliseconds(grace).into()]);
    arguments.extend(["--checkpoint-every".into(), checkpoint_every.to_string().into()]);
    arguments.extend(checkpoints.iter().flat_map(|directory| ["--checkpoints".into(), directory.into()]));
    arguments
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
