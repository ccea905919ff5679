//! The runner's end: trains the jobs that arrive on standard input, one at a time in each lane.

use super::framing::{DEVICE_FAILED, read_message, write_message};
use super::host_failure::{self, exit_of_panic};
use super::lease_gate::LeaseGate;
use super::work::{ChildOptions, train};
use crate::clock;
use crate::ignored_signals::{Signal, is_ignored};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_engines::Device;
use plusminus_proto::convert;
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_trainer as trainer;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::process;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The shortest time between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The time between two tries to save weights.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// The number of characters of a job id in log lines.
const SHORT_ID: usize = 8;

/// The stack size of a lane in bytes: that of a program's main thread.
const STACK: usize = 8 << 20;

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
    host_failure::notice_panics();
    let started = start(lanes, device, lane);
    // A lane ends when the process must exit and all lanes are idle, or when standard output is closed.
    started.map_err(host_failure::exit_at_shortage)?.recv().unwrap_or(Ok(()))
}

/// Starts the threads of a runner. The receiver gets the result of the first lane that ends.
fn start<T>(lanes: u32, device: Device, lane: impl Fn() -> T) -> io::Result<mpsc::Receiver<io::Result<()>>>
where
    T: FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure> + Send + 'static,
{
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
    Ok(end)
}

/// Exits the process if its thread panics: otherwise the job would never end.
struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::exit(exit_of_panic());
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
            // At the level of errors, so that it is written wherever warnings are.
            let id = assignment.of.as_ref().map_or("", |of| of.job.get(..SHORT_ID).unwrap_or_default());
            let trained = tracing::error_span!("job", id).in_scope(|| train(&assignment, &mut observer));
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
        let possibly_device = matches!(failure.kind, FailureKind::Infrastructure | FailureKind::Preempted);
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
    if is_ignored(Signal::Terminate) {
        return Ok(());
    }
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

    fn waiting(&mut self, reason: &str) -> ControlFlow<()> {
        self.send(from_runner::Message::Waiting(v1::WaitingToSave { reason: reason.to_owned() }))?;
        self.lane.shared.gate.pause(self.lane.number, SAVE_PAUSE)?;
        self.pass()
    }
}
