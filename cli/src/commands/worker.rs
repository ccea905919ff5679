//! `plusminus worker`

use crate::arguments::{ResourceArgs, Slots, SupervisionArgs, TrainingArgs, WorkerArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::{signals, terminal};
use plusminus_core::id::WorkerName;
use plusminus_engines::ExecutionOptions;
use plusminus_proto::limits;
use plusminus_trainer::MemoryEstimate;
use plusminus_trainer::checkpoint::CheckpointInterval;
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

pub async fn run(arguments: WorkerArgs) -> Result<Exit, CliError> {
    // A worker cannot know the number of its future jobs, nor their memory.
    let equipment = equip(&arguments.resources, &arguments.training, None, |_| None).await?;
    let devices: Vec<_> = equipment.iter().map(|equipment| equipment.device.clone()).collect();
    limits::devices(&devices).map_err(WorkerError::Limit)?;
    if let Some(name) = &arguments.name {
        limits::worker_name(name).map_err(WorkerError::Limit)?;
    }
    let patience = arguments.patience;
    let state = open_state(arguments.state, arguments.name.as_deref(), patience).await?;
    let SupervisionArgs { stall, grace, checkpoints, checkpoint_every } = arguments.supervision;
    let options = Options {
        coordinator: arguments.coordinator,
        name: state.name(arguments.name, new_name)?,
        state,
        equipment,
        attached: arguments.attached,
        patience,
        grace,
        stall,
        cache: arguments.cache,
        checkpoints,
        runner: runner_options(&arguments.training, checkpoint_every)?,
    };
    let attached = arguments.attached;
    let stop = async move {
        if attached {
            signals::stop_requested_or(standard_input_closed()).await;
        } else {
            signals::stop_requested().await;
        }
    };
    plusminus_worker::run(options, stop).await?;
    Ok(Exit::Success)
}

/// Opens the worker's state directory.
///
/// This is `given`, or the directory of `name` in the user's state directory, or else the first directory of this host that no other
/// worker uses. A worker that is about to leave may still use the first two: they are tried again for the time `patience`.
async fn open_state(
    given: Option<PathBuf>,
    name: Option<&str>,
    patience: Duration,
) -> Result<StateDirectory, WorkerError> {
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

/// Returns the user's directory for persistent state, by the XDG base directory specification.
fn user_state() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(home).unwrap_or_else(|| PathBuf::from(".plusminus-worker"))
}

/// Replaces the characters of a name that have a meaning in paths.
fn as_file_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    name.chars().map(plain).collect()
}

/// Selects devices, slots and threads for `jobs` jobs, if their number is known.
///
/// `need` returns the memory of the largest job under some options, or `None` if it is unknown. Notes tell why GPUs are not used, or
/// why they are slow.
///
/// # Errors
/// If `--device` names a device that this host does not have.
pub async fn equip(
    resources: &ResourceArgs,
    training: &TrainingArgs,
    jobs: Option<usize>,
    need: impl Fn(ExecutionOptions) -> Option<MemoryEstimate>,
) -> Result<Vec<Equipment>, CliError> {
    let ResourceArgs { device, slots: Slots(slots), threads } = resources.clone();
    let engine = training.engine;
    // The survey blocks: an idle driver takes a moment to wake up.
    let found = tokio::task::spawn_blocking(move || match device {
        DeviceSelection::Cpu => Ok(Devices::Processor(None)),
        device => Inventory::here().select(&device, engine),
    });
    let devices = found.await.map_err(|error| CliError::Io { what: "cannot look for GPUs", error: error.into() })??;
    match &devices {
        Devices::Processor(Some(why)) => terminal::note(&format!("training on the CPU: {why}")),
        Devices::Gpus(_, Some(slow)) => terminal::note(&format!("warning: {slow}")),
        Devices::Processor(None) | Devices::Gpus(_, None) => {}
    }
    let options = ExecutionOptions {
        engine: training.engine,
        deterministic: !training.nondeterministic,
        ..ExecutionOptions::default()
    };
    Ok(devices.equip(&Host::here(), SlotRequest { slots, threads, jobs }, options, &need))
}

/// Returns the arguments of a worker that select `equipment`.
pub fn equipment_arguments(equipment: &[Equipment]) -> impl Iterator<Item = OsString> + '_ {
    let names: Vec<&str> = equipment.iter().map(|equipment| &*equipment.device.name).collect();
    let device = [OsString::from("--device"), names.join(",").into()];
    // All devices have the same number of slots and threads.
    let rest = equipment.first().into_iter().flat_map(|Equipment { device, execution, .. }| {
        let (slots, threads) = (device.slots.to_string(), execution.threads.to_string());
        [OsString::from("--slots"), slots.into(), "--threads".into(), threads.into()]
    });
    device.into_iter().chain(rest)
}

/// Returns how the worker starts this program as a runner.
fn runner_options(training: &TrainingArgs, every: CheckpointInterval) -> Result<RunnerOptions, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::Io { what: "cannot find this program's file", error })?;
    let mut arguments = vec![OsString::from("runner"), "--checkpoint-every".into(), every.to_string().into()];
    arguments.extend(training.to_command_line());
    Ok(RunnerOptions { program, arguments })
}

/// Makes a name from the host, the process and a random number: in two containers, host and process may be the same.
fn new_name() -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let plain = |c: char| if WorkerName::is_allowed(c) { c } else { '_' };
    // Shortened, so that the whole name is no longer than a name may be.
    let host: String = host.chars().map(plain).take(40).collect();
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{host}-{}-{random:04x}", std::process::id())
}

/// Completes when standard input is closed.
async fn standard_input_closed() {
    let (sender, closed) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut unused = [0; 64];
        while matches!(stdin.read(&mut unused), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = closed.await;
}
