//! `plusminus run SWEEP`: runs a coordinator on the loopback interface and a worker as a child process, and prints the table at the end.

use crate::arguments::{Output, RunArgs};
use crate::client::{Client, LiveClient};
use crate::commands::table::Shown;
use crate::commands::{submit, table, watch, worker};
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::{SweepFile, SweepSource};
use crate::{hints, logging, memory, outcome, signals, terminal};
use plusminus_coordinator::answer::{AnswerError, AtRest, as_submitted};
use plusminus_coordinator::{Coordinator, ServerError, StoreError};
use plusminus_core::job::Job;
use plusminus_core::scheduler::Policy;
use plusminus_core::sweep_file::Sweep;
use plusminus_engines::Device;
use plusminus_proto::v1;
use plusminus_worker::agent::Equipment;
use plusminus_worker::equipment::describe;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// Time for the worker to deliver its reports, after the grace period of its jobs.
const DELIVERY: Duration = Duration::from_secs(10);

/// The longest time that a worker waits for its coordinator.
const DAY: Duration = Duration::from_secs(86_400);

pub async fn run(arguments: RunArgs, verbose: u8) -> Result<Exit, CliError> {
    worker::probe(&arguments.training, &arguments.supervision)?;
    let SweepFile { text, sweep } = find_sweep(&arguments).await?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Other sweeps of the state directory do not train now.
    let policy = Policy { only: Some(sweep.name.clone()), ..Policy::default() };
    let bound = Coordinator::bind(listen, &arguments.state, policy).await;
    let coordinator = bound.map_err(|error| match error {
        ServerError::Store(StoreError::InUse(state)) => {
            CliError::RunInUse(state.display().to_string(), sweep.name.to_string())
        }
        other => other.into(),
    })?;
    worker::probe_state(&arguments.state.join("worker"), None)?;
    let url = format!("http://{}", coordinator.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(coordinator.run(async {
        // A dropped sender also stops the coordinator.
        let _ = stopped.await;
    }));
    let ended = tokio::select! {
        ended = train(&arguments, verbose, &url, &text, &sweep) => ended,
        served = &mut serving => {
            return match served {
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(())) => Err(CliError::Coordinator("it stopped".to_owned())),
                Err(error) => Err(CliError::Coordinator(error.to_string())),
            };
        }
    };
    let _ = stop.send(());
    match serving.await {
        // The cause, such as a full disk, explains more than the lost connection to the coordinator.
        Ok(Err(error)) => Err(error.into()),
        _ => ended,
    }
}

/// Returns the sweep file, or the file that was submitted under the name.
async fn find_sweep(arguments: &RunArgs) -> Result<SweepFile, CliError> {
    match SweepSource::resolve(&arguments.sweep)? {
        SweepSource::File(file) => Ok(*file),
        SweepSource::Name(name) => {
            let neither = || CliError::NeitherFileNorSweep(name.clone(), arguments.state.display().to_string());
            let store = AtRest::open(&arguments.state).map_err(|error| match error {
                StoreError::Absent(_) => neither(),
                other => other.into(),
            })?;
            let mut client = Client::AtRest(Box::new(store));
            let results = client.results(&name, "", None, None).await.map_err(|error| match error {
                CliError::Answer(AnswerError::UnknownSweep { .. }) => neither(),
                other => other,
            })?;
            let sweep = as_submitted(&results.source, &name)?;
            Ok(SweepFile { text: results.source, sweep })
        }
    }
}

async fn train(arguments: &RunArgs, verbose: u8, url: &str, text: &str, sweep: &Sweep) -> Result<Exit, CliError> {
    let mut client = LiveClient::connect(url).await?;
    let submitted = client.submit(text, sweep.name.as_str()).await?;
    submit::print(&submitted);
    hints::print(sweep);
    if let Some(directory) = &arguments.training.weights
        && let Some(note) = without_weights(directory, sweep, submitted.finished)
    {
        terminal::note(&note);
    }
    let left = (submitted.jobs - submitted.finished) as usize;
    // Once hyper-parameters are selected, the selected cells have further jobs.
    let later = sweep.jobs_in_all().saturating_sub(submitted.jobs as usize);
    let need = |options| memory::largest(sweep, options);
    let equipment = worker::equip(&arguments.resources, &arguments.training, Some(left.max(later)), need).await?;
    let wants_gpu = || sweep.trained().into_iter().map(|cell| cell.configuration.precision).find(|p| p.needs_gpu());
    if left > 0
        && equipment.iter().all(|equipment| equipment.execution.device == Device::Cpu)
        && let Some(precision) = wants_gpu()
    {
        return Err(CliError::NoGpu(precision.name()));
    }
    if left > 0 {
        describe(&equipment).iter().for_each(|line| terminal::note(line));
    }
    let (mut worker, stdin) = start_worker(arguments, &equipment, verbose, url)?;
    let status = tokio::select! {
        status = watch::follow(&mut client, sweep, Output::Text) => Some(status?),
        () = signals::stop_requested() => None,
        ended = worker.wait() => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(CliError::WorkerEnded(status));
        }
    };
    if status.is_none() {
        terminal::note("stopping; run the same command again to resume");
    }
    stop_worker(worker, stdin, arguments.supervision.grace + DELIVERY).await;
    finish(arguments, client, sweep, status).await
}

/// Tells that jobs have finished before, and left no weights in `directory`.
fn without_weights(directory: &Path, sweep: &Sweep, finished: u64) -> Option<String> {
    let saved = |job: &Job| directory.join(job.id().to_string()).join("final.safetensors").exists();
    let saved = if finished == 0 { 0 } else { sweep.jobs().filter(saved).count() as u64 };
    let missing = finished.checked_sub(saved).filter(|missing| *missing > 0)?;
    let jobs = if missing == 1 { "1 job".to_owned() } else { format!("{missing} jobs") };
    Some(format!(
        "{jobs} had finished before: no weights of them are written to {}, because finished jobs are not trained again; to \
         train them for their weights, run the sweep with another --state",
        directory.display()
    ))
}

/// Prints the table of the sweep, if it has ended.
async fn finish(
    arguments: &RunArgs,
    client: LiveClient,
    sweep: &Sweep,
    status: Option<v1::SweepStatus>,
) -> Result<Exit, CliError> {
    let Some(status) = status else { return Ok(Exit::Interrupted) };
    let source = SweepSource::File(Box::new(SweepFile { text: String::new(), sweep: sweep.clone() }));
    let table = table::fetch(&mut Client::Live(client), &source, Shown::default()).await?.table;
    table::print(&table, arguments.format)?;
    outcome::print_failures(&status, sweep.table.diverged);
    Ok(outcome::exit_code(&status, sweep.table.diverged))
}

/// Starts the worker and returns it with its standard input. When this is closed, however this process ends, the worker leaves.
fn start_worker(
    arguments: &RunArgs,
    equipment: &[Equipment],
    verbose: u8,
    url: &str,
) -> Result<(Child, Option<ChildStdin>), CliError> {
    let failed = |error| CliError::Io { what: "cannot start the worker process", error };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        // Always the same name: when the worker of the next run connects, jobs of a killed run are requeued.
        .args(["worker", "--attached", "--name", "run", "--coordinator", url])
        .args([OsStr::new("--state"), arguments.state.join("worker").as_os_str()])
        .args(arguments.supervision.to_command_line())
        // The worker of a killed run may not have left yet.
        .args(["--patience", &(arguments.supervision.grace + 2 * DELIVERY).min(DAY).as_secs_f64().to_string()])
        .args(worker::equipment_arguments(equipment))
        .args(arguments.training.to_command_line())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    match (verbose, logging::filter()) {
        (0, None) => command.env("RUST_LOG", "warn"),
        _ => command.args(vec!["-v"; usize::from(verbose)]),
    };
    // Ctrl-C signals the whole process group, but only this process may stop its worker.
    #[cfg(unix)]
    command.process_group(0);
    let mut worker = command.spawn().map_err(failed)?;
    // Waiting for a child closes its standard input, unless it was taken before.
    let stdin = worker.stdin.take();
    Ok((worker, stdin))
}

/// Asks the worker to leave, and kills it if it has not left after `patience`.
async fn stop_worker(mut worker: Child, stdin: Option<ChildStdin>, patience: Duration) {
    drop(stdin);
    if tokio::time::timeout(patience, worker.wait()).await.is_err() {
        let _ = worker.start_kill();
    }
}
