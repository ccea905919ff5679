//! The runner's end: trains the jobs that arrive on standard input, one at a time in each lane.

use super::framing::{DEVICE_FAILED, read_message, write_message};
use super::lease_gate::LeaseGate;
use crate::clock;
use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::convert::{self, Invalid, required_attempt};
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_proto::weights;
use plusminus_trainer as trainer;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The shortest time between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The stack size of a lane in bytes: that of a program's main thread.
const STACK: usize = 8 << 20;

/// The configuration of a runner.
#[derive(Clone, Debug, Default)]
pub struct ChildOptions {
    /// The directories that are searched for data sets.
    pub datasets: Vec<PathBuf>,
    /// The directory to which the weights of every job are saved, if any.
    pub weights: Option<PathBuf>,
    /// The directory for parent weights and kept weights.
    pub cache: PathBuf,
    /// The directory for checkpoints.
    pub checkpoints: PathBuf,
    /// How often a checkpoint is written.
    pub checkpoint_every: trainer::CheckpointInterval,
    /// The device, the engine and the threads of its jobs.
    pub execution: ExecutionOptions,
    /// The number of jobs that are trained at the same time; at least one.
    pub lanes: u32,
}

/// Trains the jobs that arrive on standard input until it is closed. On SIGTERM it stops its jobs as on a request to stop, and exits.
///
/// # Errors
/// If standard output is closed, or a thread cannot be started.
pub fn serve(options: ChildOptions) -> io::Result<()> {
    let cache = trainer::DatasetCache::new(trainer::DataDirectories { directories: options.datasets.clone() });
    let (lanes, device) = (options.lanes, options.execution.device);
    let shared = Arc::new((options, cache));
    serve_with(lanes, device, || {
        let shared = Arc::clone(&shared);
        move |assignment, observer| train(assignment, &shared.1, &shared.0, observer)
    })
}

/// Like [`serve`], with another training function: `lane` is called once per lane and returns the function that trains its assignments and
/// reports to the observer. The process exits if `device` has failed.
///
/// # Errors
/// As for [`serve`].
pub fn serve_with<T>(lanes: u32, device: Device, lane: impl Fn() -> T) -> io::Result<()>
where
    T: FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure> + Send + 'static,
{
    lower_priority();
    let lanes = lanes.max(1) as usize;
    let (gate, output) = (LeaseGate::new(lanes, || clock::now().0), Mutex::new(output()?));
    let shared = Arc::new(Shared { gate, output, device, device_check: Mutex::new(()) });
    exit_on_sigterm(Arc::clone(&shared))?;
    let (ended, end) = mpsc::channel();
    let mut queues = Vec::new();
    for number in 0..lanes {
        let (jobs, queue) = mpsc::sync_channel(1);
        queues.push(jobs);
        let (lane, train, ended) = (Lane { number, shared: Arc::clone(&shared) }, lane(), ended.clone());
        let work = move || {
            let _guard = ExitOnPanic;
            // The process exits with the first lane that ends, so later sends may fail.
            let _ = ended.send(lane.run(&queue, train));
        };
        thread::Builder::new().name(format!("lane-{number}")).stack_size(STACK).spawn(work)?;
    }
    thread::Builder::new().name("listener".into()).spawn(move || listen(&queues, &shared.gate))?;
    // A lane ends when the process must exit and all lanes are idle, or when standard output is closed.
    end.recv().unwrap_or(Ok(()))
}

/// Exits the process if its thread panics: otherwise the job would never end.
struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::exit(101);
        }
    }
}

/// The state that all lanes share.
struct Shared {
    gate: LeaseGate,
    output: Mutex<File>,
    device: Device,
    /// Serialises the reports of failures, so that only the first failure of a broken device is reported.
    device_check: Mutex<()>,
}

impl Shared {
    fn send(&self, lane: usize, message: from_runner::Message) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        write_message(&mut *output, &v1::FromRunner { lane: lane as u32, message: Some(message) })
    }
}

/// A lane of the runner.
struct Lane {
    number: usize,
    shared: Arc<Shared>,
}

impl Lane {
    /// Trains one job after another until the process must exit.
    fn run(
        &self,
        queue: &mpsc::Receiver<v1::Assignment>,
        mut train: impl FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure>,
    ) -> io::Result<()> {
        while let Ok(assignment) = queue.recv() {
            let mut observer = Observer { lane: self, last_progress: None, error: None };
            let trained = train(&assignment, &mut observer);
            if let Some(error) = observer.error {
                return Err(error);
            }
            // The ending is reported even after a request to stop; the daemon discards it if the attempt was revoked.
            let _ = self.shared.gate.pass(self.number);
            match trained {
                Ok(facts) => self.ended(&Ending::Finished(Box::new(facts)))?,
                Err(failure) => self.failed(failure)?,
            }
            if self.shared.gate.end_job(self.number) {
                break;
            }
        }
        Ok(())
    }

    fn ended(&self, ending: &Ending) -> io::Result<()> {
        self.shared.send(self.number, from_runner::Message::Ended(v1::Ending::from(ending)))
    }

    /// Reports a failure. If the device has failed, every lane will fail: only the first failure is reported, because it is the most likely
    /// cause, and the process exits.
    fn failed(&self, failure: Failure) -> io::Result<()> {
        let _lock = self.shared.device_check.lock().unwrap_or_else(PoisonError::into_inner);
        let possibly_device = failure.kind == FailureKind::Infrastructure;
        let device_failed = possibly_device && !plusminus_engines::is_usable(self.shared.device);
        self.ended(&Ending::Failed(failure))?;
        if device_failed {
            tracing::error!(device = %self.shared.device, "the device has failed; this runner process exits");
            process::exit(DEVICE_FAILED);
        }
        Ok(())
    }
}

/// Lowers the priority of training below the daemon and a coordinator on the same host, whose work is short and delays others. Errors are
/// ignored: the default priority works too.
fn lower_priority() {
    #[cfg(unix)]
    let _ = rustix::process::nice(5);
}

/// Standard output without the line buffer of the standard library.
#[cfg(unix)]
fn output() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

/// Handles the messages of the daemon. Exits the process when standard input is closed.
fn listen(lanes: &[mpsc::SyncSender<v1::Assignment>], gate: &LeaseGate) {
    let mut stdin = io::stdin().lock();
    loop {
        let Ok(Some(v1::ToRunner { lane, message })) = read_message(&mut stdin) else { process::exit(0) };
        let lane = lane as usize;
        match message {
            Some(to_runner::Message::Train(assignment)) => {
                gate.start_job(lane);
                // A lane has one job at a time, so its queue has room.
                if lanes.get(lane).is_none_or(|jobs| jobs.send(assignment).is_err()) {
                    return;
                }
            }
            Some(to_runner::Message::Stop(_)) => gate.stop_job(lane),
            Some(to_runner::Message::Lease(lease)) => gate.set_lease(lease.until),
            None => {}
        }
    }
}

/// Stops all jobs on SIGTERM; exits at once if there are none.
#[cfg(unix)]
fn exit_on_sigterm(shared: Arc<Shared>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminated = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let wait = move || {
        runtime.block_on(terminated.recv());
        if !shared.gate.exit() {
            process::exit(0);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

#[cfg(not(unix))]
fn exit_on_sigterm(_shared: Arc<Shared>) -> io::Result<()> {
    Ok(())
}

fn train(
    assignment: &v1::Assignment,
    cache: &trainer::DatasetCache,
    options: &ChildOptions,
    observer: &mut dyn trainer::Observer,
) -> Result<Facts, Failure> {
    let malformed = |error: Invalid| {
        let advice = "check that coordinator and worker have the same version";
        Failure::new(FailureKind::UserError, format!("malformed assignment: {error}; {advice}"))
    };
    let job = assignment.job().map_err(malformed)?;
    let parent = assignment.parent(&job).map_err(malformed)?;
    let parent = parent.map(|(_, digest)| verified(&options.cache, digest).map(|path| (path, digest))).transpose()?;
    let parent = parent.as_ref().map(|(path, digest)| trainer::ParentWeights { path, digest: *digest });
    let keeps = assignment.keeps().map_err(malformed)?;
    let AttemptId { attempt, .. } = required_attempt(assignment.of.as_ref()).map_err(malformed)?;
    let (directory, every) = (options.checkpoints.as_path(), options.checkpoint_every);
    let checkpoints = Some(trainer::CheckpointOptions { directory, attempt, interval: every });
    let inputs = trainer::TrainInputs { cache, execution: options.execution, parent, checkpoints };
    let mut trained = trainer::train(&job, inputs, observer)?;
    if let Some(directory) = &options.weights {
        trained.weights.write_named(directory, job.id()).map_err(not_saved)?;
    }
    trained.facts.kept = trained.weights.write_by_digest(&options.cache, job.id(), &keeps).map_err(not_saved)?;
    Ok(trained.facts)
}

/// The failure of a job whose weights cannot be saved. A disk error concerns this host only, so the job is requeued; a selection that the job
/// does not have is missing on every host.
fn not_saved(error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::InvalidInput => FailureKind::Infrastructure,
        _ => FailureKind::Preempted,
    };
    Failure::new(kind, format!("cannot save the weights: {error}"))
}

/// The path of the parent weights after a check of their digest: the file may have been damaged since it was fetched.
fn verified(cache: &Path, digest: Digest) -> Result<PathBuf, Failure> {
    let path = weights::path(cache, digest);
    let failed = |why: String| {
        let what = format!("the parent weights {}", path.display());
        Failure::new(FailureKind::Preempted, format!("{what} {why}; the next attempt fetches them again"))
    };
    match weights::is_whole(cache, digest) {
        Ok(true) => Ok(path),
        Ok(false) => Err(failed("are damaged or missing".to_owned())),
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
    }
}

/// Sends the progress of the training loop to the daemon; pauses or stops the loop at the lease gate.
struct Observer<'a> {
    lane: &'a Lane,
    last_progress: Option<Instant>,
    /// Standard output failed.
    error: Option<io::Error>,
}

impl Observer<'_> {
    fn pass(&self) -> ControlFlow<()> {
        self.lane.shared.gate.pass(self.lane.number)
    }

    fn send(&mut self, message: from_runner::Message) -> ControlFlow<()> {
        match self.lane.shared.send(self.lane.number, message) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl trainer::Observer for Observer<'_> {
    fn progress(&mut self, progress: trainer::Progress) -> ControlFlow<()> {
        self.pass()?;
        if self.last_progress.is_some_and(|sent| sent.elapsed() < PROGRESS_INTERVAL) {
            return ControlFlow::Continue(());
        }
        self.last_progress = Some(Instant::now());
        self.send(from_runner::Message::Progress(v1::Progress {
            epoch: progress.epoch,
            epochs: progress.epochs,
            step: progress.step,
            steps: progress.steps,
        }))
    }

    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        // Reported even when the job must stop: a stop after the last epoch comes too late, and the job finishes.
        let flow = self.pass();
        self.send(from_runner::Message::Epoch(convert::epoch(epoch, measurements)))?;
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_parent_weights_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"weights");
        let path = weights::path(directory.path(), digest);
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(verified(directory.path(), digest).unwrap(), path);
        std::fs::write(&path, b"weighed").unwrap();
        let failure = verified(directory.path(), digest).unwrap_err();
        assert!(failure.kind == FailureKind::Preempted && failure.message.contains("damaged"), "{failure}");
        assert!(!path.exists(), "the next attempt fetches them again");
    }

    #[test]
    fn a_full_disk_for_weights_preempts_the_job() {
        let full = io::Error::from_raw_os_error(28);
        let failure = not_saved(io::Error::new(full.kind(), format!("final.safetensors: {full}")));
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.starts_with("cannot save the weights: final.safetensors: "), "{failure}");
        let none = io::Error::new(io::ErrorKind::InvalidInput, "the job has no weights at best-validation");
        assert_eq!(not_saved(none).kind, FailureKind::Infrastructure, "no host has them, so retries are limited");
    }
}
