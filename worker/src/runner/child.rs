//! A runner seen from inside: it trains what comes over its standard input, in each of its lanes one job after another.

use super::gate::Gate;
use super::{UNWELL, read_message, write_message};
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

/// How often progress within an epoch is told.
const PACE: Duration = Duration::from_millis(200);

/// Bytes of a lane's stack: as many as a program's first thread has.
const STACK: usize = 8 << 20;

/// What a runner is started with.
#[derive(Clone, Debug, Default)]
pub struct ChildOptions {
    /// Where data sets are looked for.
    pub datasets: Vec<PathBuf>,
    /// Where weights are kept, if they are.
    pub weights: Option<PathBuf>,
    /// Where weights lie that jobs build on, and are left for others.
    pub cache: PathBuf,
    /// Where checkpoints lie.
    pub checkpoints: PathBuf,
    /// How often one is written.
    pub checkpoint_every: trainer::CheckpointInterval,
    /// By what means its jobs are trained.
    pub means: ExecutionOptions,
    /// How many are trained at once; at least one.
    pub lanes: u32,
}

/// Trains what standard input asks for until it is closed. At SIGTERM it ends what it has in hand as it does when it is told to stop,
/// and then itself.
///
/// # Errors
/// If standard output is closed: nobody listens any more. If the threads that listen cannot be started.
pub fn serve(options: ChildOptions) -> io::Result<()> {
    let cache = trainer::DatasetCache::new(trainer::DataDirectories { directories: options.datasets.clone() });
    let (lanes, device) = (options.lanes, options.means.device);
    let shared = Arc::new((options, cache));
    serve_with(lanes, device, || {
        let shared = Arc::clone(&shared);
        move |assignment, observer| train(assignment, &shared.1, &shared.0, observer)
    })
}

/// The same with what `lane` makes in place of training, once for each of so many lanes: what an assignment leads to, and on the way what
/// is measured. Where `device` has failed for good, the process ends.
///
/// # Errors
/// As of [`serve`].
pub fn serve_with<T>(lanes: u32, device: Device, lane: impl Fn() -> T) -> io::Result<()>
where
    T: FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure> + Send + 'static,
{
    give_way();
    let lanes = lanes.max(1) as usize;
    let (gate, output) = (Gate::new(lanes, || clock::now().0), Mutex::new(output()?));
    let common = Arc::new(Common { gate, output, device, verdict: Mutex::new(()) });
    leave_when_terminated(Arc::clone(&common))?;
    let (ended, end) = mpsc::channel();
    let mut queues = Vec::new();
    for number in 0..lanes {
        let (jobs, queue) = mpsc::sync_channel(1);
        queues.push(jobs);
        let (lane, train, ended) = (Lane { number, common: Arc::clone(&common) }, lane(), ended.clone());
        let work = move || {
            let _fuse = Fuse;
            // Nobody hears of the second lane that ends: the process has ended with the first.
            let _ = ended.send(lane.work(&queue, train));
        };
        thread::Builder::new().name(format!("lane-{number}")).stack_size(STACK).spawn(work)?;
    }
    thread::Builder::new().name("listener".into()).spawn(move || listen(&queues, &common.gate))?;
    // Where a lane ends, so does the process: it was told to leave, and no other has anything in hand; or nobody listens.
    end.recv().unwrap_or(Ok(()))
}

/// Ends the process where a thread ends by a panic: nobody would hear of its job otherwise.
struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        if thread::panicking() {
            process::exit(101);
        }
    }
}

/// What all lanes have in common.
struct Common {
    gate: Gate,
    output: Mutex<File>,
    device: Device,
    /// Held by who has found that the device has failed for good, until the process ends.
    verdict: Mutex<()>,
}

impl Common {
    fn tell(&self, lane: usize, message: from_runner::Message) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        write_message(&mut *output, &v1::FromRunner { lane: lane as u32, message: Some(message) })
    }
}

/// One of the runner's lanes.
struct Lane {
    number: usize,
    common: Arc<Common>,
}

impl Lane {
    /// Trains one job after another until the process is to end.
    fn work(
        &self,
        queue: &mpsc::Receiver<v1::Assignment>,
        mut train: impl FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure>,
    ) -> io::Result<()> {
        while let Ok(assignment) = queue.recv() {
            let mut observer = Observer { lane: self, told: None, lost: None };
            let trained = train(&assignment, &mut observer);
            if let Some(error) = observer.lost {
                return Err(error);
            }
            // Told to stop or not, what has come of it is told: the daemon knows whether it still matters.
            let _ = self.common.gate.pass(self.number);
            match trained {
                Ok(facts) => self.ended(&Ending::Finished(Box::new(facts)))?,
                Err(failure) => self.failed(failure)?,
            }
            if self.common.gate.end(self.number) {
                break;
            }
        }
        Ok(())
    }

    fn ended(&self, ending: &Ending) -> io::Result<()> {
        self.common.tell(self.number, from_runner::Message::Ended(v1::Ending::from(ending)))
    }

    /// Tells of a failure. Where the device has failed this process for good, every lane fails sooner or later: the first one is
    /// to blame as far as anybody can tell, so the others say nothing, and the process ends.
    fn failed(&self, failure: Failure) -> io::Result<()> {
        let _verdict = self.common.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_the_device = failure.kind == FailureKind::Infrastructure;
        let unwell = may_be_the_device && !plusminus_engines::is_usable(self.common.device);
        self.ended(&Ending::Failed(failure))?;
        if unwell {
            tracing::error!(device = %self.common.device, "it has failed, and is of no more use to this process");
            process::exit(UNWELL);
        }
        Ok(())
    }
}

/// Lets the daemon, and a coordinator beside it, go before the training that fills the machine: what they have to do is short, and
/// others wait for it. A system that does not let it is as good as before.
fn give_way() {
    #[cfg(unix)]
    let _ = rustix::process::nice(5);
}

/// Standard output without the standard library's buffer, which writes at the end of what it takes for a line.
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

/// Takes in what the daemon says. When it is gone, so is the runner, in the midst of whatever it does.
fn listen(lanes: &[mpsc::SyncSender<v1::Assignment>], gate: &Gate) {
    let mut stdin = io::stdin().lock();
    loop {
        let Ok(Some(v1::ToRunner { lane, message })) = read_message(&mut stdin) else { process::exit(0) };
        let lane = lane as usize;
        match message {
            Some(to_runner::Message::Train(assignment)) => {
                gate.begin(lane);
                // There is one at a time, so there is room.
                if lanes.get(lane).is_none_or(|jobs| jobs.send(assignment).is_err()) {
                    return;
                }
            }
            Some(to_runner::Message::Stop(_)) => gate.stop(lane),
            Some(to_runner::Message::Lease(lease)) => gate.lease(lease.until),
            None => {}
        }
    }
}

/// Has the gate say so when the process is told to end. With nothing in hand it ends at once.
#[cfg(unix)]
fn leave_when_terminated(common: Arc<Common>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminated = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let wait = move || {
        runtime.block_on(terminated.recv());
        if !common.gate.leave() {
            process::exit(0);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

#[cfg(not(unix))]
fn leave_when_terminated(_common: Arc<Common>) -> io::Result<()> {
    Ok(())
}

fn train(
    assignment: &v1::Assignment,
    cache: &trainer::DatasetCache,
    options: &ChildOptions,
    observer: &mut dyn trainer::Observer,
) -> Result<Facts, Failure> {
    let not_understood = |error: Invalid| {
        let advice = "are the coordinator and the worker of the same version?";
        Failure::new(FailureKind::UserError, format!("{error}; {advice}"))
    };
    let job = assignment.job().map_err(not_understood)?;
    let parent = assignment.parent(&job).map_err(not_understood)?;
    let parent = parent.map(|(_, digest)| whole(&options.cache, digest).map(|path| (path, digest))).transpose()?;
    let parent = parent.as_ref().map(|(path, digest)| trainer::ParentWeights { path, digest: *digest });
    let wanted = assignment.keeps().map_err(not_understood)?;
    let AttemptId { attempt, .. } = required_attempt(assignment.of.as_ref()).map_err(not_understood)?;
    let (directory, every) = (options.checkpoints.as_path(), options.checkpoint_every);
    let checkpoints = Some(trainer::CheckpointOptions { directory, attempt, interval: every });
    let inputs = trainer::TrainInputs { cache, execution: options.means, parent, checkpoints };
    let mut trained = trainer::train(&job, inputs, observer)?;
    if let Some(directory) = &options.weights {
        trained.weights.write_named(directory, job.id()).map_err(not_kept)?;
    }
    trained.facts.kept = trained.weights.write_by_digest(&options.cache, job.id(), &wanted).map_err(not_kept)?;
    Ok(trained.facts)
}

/// A disk that is full or fails is this machine's, and another may have a better one; a selection that the job has not it has nowhere.
fn not_kept(error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::InvalidInput => FailureKind::Infrastructure,
        _ => FailureKind::Preempted,
    };
    Failure::new(kind, format!("cannot keep the weights: {error}"))
}

/// The file of weights that the job builds on, read once more: what the disk has made of it since it came must not be trained from.
fn whole(cache: &Path, digest: Digest) -> Result<PathBuf, Failure> {
    let path = weights::path(cache, digest);
    let failed = |why: String| {
        let what = format!("the weights that it builds on, {}", path.display());
        Failure::new(FailureKind::Preempted, format!("{what}, {why}; the next attempt fetches them again"))
    };
    match weights::is_whole(cache, digest) {
        Ok(true) => Ok(path),
        Ok(false) => Err(failed("are damaged or gone".to_owned())),
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
    }
}

/// Tells the daemon what the training loop says, and the loop when to wait and when to stop.
struct Observer<'a> {
    lane: &'a Lane,
    told: Option<Instant>,
    lost: Option<io::Error>,
}

impl Observer<'_> {
    fn pass(&self) -> ControlFlow<()> {
        self.lane.common.gate.pass(self.lane.number)
    }

    fn tell(&mut self, message: from_runner::Message) -> ControlFlow<()> {
        match self.lane.common.tell(self.lane.number, message) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.lost = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl trainer::Observer for Observer<'_> {
    fn progress(&mut self, progress: trainer::Progress) -> ControlFlow<()> {
        self.pass()?;
        if self.told.is_some_and(|told| told.elapsed() < PACE) {
            return ControlFlow::Continue(());
        }
        self.told = Some(Instant::now());
        self.tell(from_runner::Message::Progress(v1::Progress {
            epoch: progress.epoch,
            epochs: progress.epochs,
            step: progress.step,
            steps: progress.steps,
        }))
    }

    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        // After the last epoch a stop comes too late, and the job finishes: so each is told in any case.
        let flow = self.pass();
        self.tell(from_runner::Message::Epoch(convert::epoch(epoch, measurements)))?;
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_were_damaged_after_they_came_are_not_trained_from() {
        let place = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"weights");
        let path = weights::path(place.path(), digest);
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(whole(place.path(), digest).unwrap(), path);
        std::fs::write(&path, b"weighed").unwrap();
        let failure = whole(place.path(), digest).unwrap_err();
        assert!(failure.kind == FailureKind::Preempted && failure.message.contains("damaged"), "{failure}");
        assert!(!path.exists(), "and the next attempt fetches them anew");
    }

    #[test]
    fn weights_that_find_no_room_on_this_machine_cost_the_job_no_try() {
        let full = io::Error::from_raw_os_error(28);
        let failure = not_kept(io::Error::new(full.kind(), format!("final.safetensors: {full}")));
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.starts_with("cannot keep the weights: final.safetensors: "), "{failure}");
        let none = io::Error::new(io::ErrorKind::InvalidInput, "the job has no weights at best-validation");
        assert_eq!(not_kept(none).kind, FailureKind::Infrastructure, "it has none anywhere, and is not tried for ever");
    }
}
