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
use plusminus_worker::probe::Place;
use plusminus_worker::runner::RunnerOptions;
use plusminus_worker::shortage;
use plusminus_worker::{Options, StateDirectory, WorkerError};
use std::ffi::OsString;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub async fn run(arguments: WorkerArgs) -> Result<Exit, CliError> {
    probe(&arguments.training, &arguments.supervision)?;
    // Before the worker connects: it must not find out later that it cannot notice the end of `run`.
    let input_closed = if arguments.attached { Some(standard_input_closed()?) } else { None };
    // A worker cannot know the number of its future jobs, nor their memory.
    let equipment = equip(&arguments.resources, &arguments.training, None, |_| None).await?;
    let devices: Vec<_> = equipment.iter().map(|equipment| equipment.device.clone()).collect();
    limits::devices(&devices).map_err(WorkerError::Limit)?;
    if let Some(name) = &arguments.name {
        limits::worker_name(name).map_err(WorkerError::Limit)?;
    }
    let patience = arguments.patience;
    let state = open_state(arguments.state, arguments.name.as_deref(), patience).await?;
    probe_state(state.path(), arguments.cache.as_deref())?;
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
    let stop = async move {
        match input_closed {
            Some(closed) => signals::stop_requested_or(closed).await,
            None => signals::stop_requested().await,
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

/// Tests the directories that the options name and that runners must write, before anything is trained.
///
/// # Errors
/// If one of them cannot be written.
pub fn probe(training: &TrainingArgs, supervision: &SupervisionArgs) -> Result<(), WorkerError> {
    let weights = training.weights.as_deref().map(|directory| ("the directory for weights", "--weights", directory));
    let checkpoints = supervision.checkpoints.as_deref();
    let checkpoints = checkpoints.map(|directory| ("the directory for checkpoints", "--checkpoints", directory));
    probe_all(weights.into_iter().chain(checkpoints))
}

/// Tests the directories that are in the worker's state directory unless options name others.
///
/// # Errors
/// If one of them cannot be written.
pub fn probe_state(state: &Path, cache: Option<&Path>) -> Result<(), WorkerError> {
    let (own_cache, checkpoints) = (state.join("cache"), state.join("checkpoints"));
    let what = "the worker's state directory";
    let of_state = [state, &checkpoints].map(|directory| (what, "--state", directory));
    let cache =
        cache.map_or((what, "--state", &*own_cache), |cache| ("the directory for kept weights", "--cache", cache));
    probe_all(of_state.into_iter().chain([cache]))
}

fn probe_all<'a>(places: impl IntoIterator<Item = (&'static str, &'static str, &'a Path)>) -> Result<(), WorkerError> {
    for (what, option, directory) in places {
        Place { what, option, directory }.probe()?;
    }
    Ok(())
}

/// Returns a future that completes when standard input is closed.
///
/// # Errors
/// If standard input is no pipe, and the thread that reads it cannot be started.
fn standard_input_closed() -> Result<impl Future<Output = ()>, CliError> {
    let (sender, closed) = tokio::sync::oneshot::channel();
    #[cfg(unix)]
    let sender = {
        use std::os::fd::AsFd;
        use tokio::net::unix::pipe::Receiver;
        let pipe = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
        match pipe {
            Ok(pipe) => {
                // Without a thread: the limit of processes may leave none.
                tokio::spawn(async move {
                    let mut unused = [0; 64];
                    loop {
                        if pipe.readable().await.is_err() {
                            break;
                        }
                        match pipe.try_read(&mut unused) {
                            Ok(0) => break,
                            Ok(_) => {}
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(_) => break,
                        }
                    }
                    let _ = sender.send(());
                });
                None
            }
            Err(_) => Some(sender),
        }
    };
    #[cfg(not(unix))]
    let sender = Some(sender);
    if let Some(sender) = sender {
        let read = move || {
            let mut stdin = std::io::stdin().lock();
            let mut unused = [0; 64];
            while matches!(stdin.read(&mut unused), Ok(1..)) {}
            let _ = sender.send(());
        };
        let started = thread::Builder::new().name("input".into()).spawn(read);
        started
            .map_err(|error| CliError::NoThreads(shortage::describe("a thread that reads standard input", &error)))?;
    }
    Ok(async move { drop(closed.await) })
}
