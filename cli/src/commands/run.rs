//! `plusminus run SWEEP`: a coordinator on loopback, a worker as a child process, the table at the end.

use super::{exit_of, hints, memory, submit, table, tell_failures, watch, worker};
use crate::arguments::{self, Output};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{Client, LiveClient, Named, SweepFile};
use plusminus_coordinator::answer::{AnswerError, AtRest, as_submitted};
use plusminus_coordinator::{Coordinator, StoreError};
use plusminus_core::scheduler::Policy;
use plusminus_core::sweep_file::Sweep;
use plusminus_engines::Device;
use plusminus_proto::v1;
use plusminus_worker::agent::Equipment;
use plusminus_worker::equipment::describe;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// How long the worker may take to leave, after its jobs should have stopped.
const DELIVERY: Duration = Duration::from_secs(10);

pub async fn run(arguments: arguments::Run, verbose: u8) -> Result<Exit, CliError> {
    let SweepFile { text, sweep } = file(&arguments).await?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Whatever else waits in the state directory is not what was asked for now.
    let policy = Policy { only: Some(sweep.name.clone()), ..Policy::default() };
    let coordinator = Coordinator::bind(listen, &arguments.state, policy).await?;
    let url = format!("http://{}", coordinator.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(coordinator.run(async {
        // Dropped or used, it means the same.
        let _ = stopped.await;
    }));
    let ended = tokio::select! {
        ended = train(&arguments, verbose, &url, &text, &sweep) => ended,
        served = &mut serving => {
            return match served {
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(())) => Err(CliError::Coordinator("it has stopped".to_owned())),
                Err(error) => Err(CliError::Coordinator(error.to_string())),
            };
        }
    };
    let _ = stop.send(());
    match serving.await {
        // Why the store failed says more than that nobody answers.
        Ok(Err(error)) => Err(error.into()),
        _ => ended,
    }
}

/// The sweep file, or the one that was submitted under the name.
async fn file(arguments: &arguments::Run) -> Result<SweepFile, CliError> {
    match Named::new(&arguments.sweep, arguments.profile.as_deref())? {
        Named::File(file) => Ok(*file),
        Named::Name(name) => {
            let neither = || CliError::NeitherFileNorSweep(name.clone(), arguments.state.display().to_string());
            let store = AtRest::open(&arguments.state).map_err(|error| match error {
                StoreError::Absent(_) => neither(),
                other => other.into(),
            })?;
            let mut client = Client::AtRest(Box::new(store));
            let results = client.results(&name, None, None).await.map_err(|error| match error {
                CliError::Answer(AnswerError::UnknownSweep { .. }) => neither(),
                other => other,
            })?;
            let sweep = as_submitted(&results.source, &name)?;
            Ok(SweepFile { text: results.source, sweep })
        }
    }
}

async fn train(
    arguments: &arguments::Run,
    verbose: u8,
    url: &str,
    text: &str,
    sweep: &Sweep,
) -> Result<Exit, CliError> {
    let mut client = LiveClient::connect(url).await?;
    let submitted = client.submit(text, sweep.name.as_str()).await?;
    terminal::note(&submit::describe(&submitted));
    hints::tell(sweep);
    let left = (submitted.jobs - submitted.finished) as usize;
    // Winners have further jobs once they are known.
    let later = sweep.jobs_in_all().saturating_sub(submitted.jobs as usize);
    let need = |means| memory::largest(sweep, means);
    let equipment = worker::equip(&arguments.share, &arguments.training, Some(left.max(later)), need).await?;
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
    let (mut worker, leash) = start_worker(arguments, &equipment, verbose, url)?;
    let status = tokio::select! {
        status = watch::follow(&mut client, sweep, Output::Text) => Some(status?),
        () = super::told_to_stop() => None,
        ended = worker.wait() => {
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(CliError::WorkerEnded(how));
        }
    };
    if status.is_none() {
        terminal::note("stopping; run it again to carry on");
    }
    stop_worker(worker, leash, arguments.care.grace + DELIVERY).await;
    finish(arguments, client, sweep, status).await
}

async fn finish(
    arguments: &arguments::Run,
    client: LiveClient,
    sweep: &Sweep,
    status: Option<v1::SweepStatus>,
) -> Result<Exit, CliError> {
    let Some(status) = status else { return Ok(Exit::Interrupted) };
    let named = Named::File(Box::new(SweepFile { text: String::new(), sweep: sweep.clone() }));
    let table = table::of(&mut Client::Live(client), &named, None, None).await?;
    table::print(&table, arguments.format)?;
    tell_failures(&status, sweep.table.diverged);
    Ok(exit_of(&status, sweep.table.diverged))
}

/// Starts the worker. It leaves when the pipe to it is closed, however this process ends.
fn start_worker(
    arguments: &arguments::Run,
    equipment: &[Equipment],
    verbose: u8,
    url: &str,
) -> Result<(Child, Option<ChildStdin>), CliError> {
    let failed = |error| CliError::Io { what: "cannot start the worker process", error };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        // Always the same name: what a run that was killed left in hand is settled when the next one's worker connects.
        .args(["worker", "--attached", "--name", "run", "--coordinator", url])
        .args([OsStr::new("--state"), arguments.state.join("worker").as_os_str()])
        .args(worker::care(&arguments.care))
        // The worker of a run that was killed may not have left yet.
        .args(["--patience", &(arguments.care.grace + 2 * DELIVERY).as_secs_f64().min(86_400.0).to_string()])
        .args(worker::of_equipment(equipment))
        .args(worker::forwarded(&arguments.training))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    match (verbose, std::env::var_os("RUST_LOG")) {
        (0, None) => command.env("RUST_LOG", "warn"),
        _ => command.args(vec!["-v"; usize::from(verbose)]),
    };
    // Ctrl-C is for this process, which tells its worker.
    #[cfg(unix)]
    command.process_group(0);
    let mut worker = command.spawn().map_err(failed)?;
    // Taken out, because waiting for a child closes what it still has.
    let leash = worker.stdin.take();
    Ok((worker, leash))
}

async fn stop_worker(mut worker: Child, leash: Option<ChildStdin>, patience: Duration) {
    drop(leash);
    if tokio::time::timeout(patience, worker.wait()).await.is_err() {
        let _ = worker.start_kill();
    }
}
