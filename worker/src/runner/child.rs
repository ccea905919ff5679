//! A runner seen from inside: it trains what comes over its standard input, one job after another.

use super::gate::Gate;
use super::{read_message, write_message};
use crate::clock;
use plusminus_core::id::Digest;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_core::schedule::Ending;
use plusminus_proto::convert::{self, Invalid, required_attempt};
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_proto::weights;
use plusminus_trainer as trainer;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often progress within an epoch is told.
const PACE: Duration = Duration::from_millis(200);

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
    pub checkpoint_every: trainer::checkpoint::Every,
    /// By what means its jobs are trained.
    pub means: trainer::Means,
}

/// Trains what standard input asks for until it is closed. At SIGTERM it ends what it has in hand as it does when it is told to stop,
/// and then itself.
///
/// # Errors
/// If standard output is closed: nobody listens any more. If the threads that listen cannot be started.
pub fn serve(options: ChildOptions) -> io::Result<()> {
    let cache = trainer::Cache::new(trainer::Datasets { directories: options.datasets.clone() });
    serve_with(|assignment, observer| train(assignment, &cache, &options, observer))
}

/// The same with `train` in place of training: what an assignment leads to, and on the way what is measured.
///
/// # Errors
/// As of [`serve`].
pub fn serve_with(
    mut train: impl FnMut(&v1::Assignment, &mut dyn trainer::Observer) -> Result<Facts, Failure>,
) -> io::Result<()> {
    give_way();
    let mut output = output()?;
    let gate = Arc::new(Gate::new(|| clock::now().0));
    leave_when_terminated(Arc::clone(&gate))?;
    let (jobs, queue) = mpsc::sync_channel(1);
    let theirs = Arc::clone(&gate);
    thread::Builder::new().name("listener".into()).spawn(move || listen(&jobs, &theirs))?;
    while let Ok(assignment) = queue.recv() {
        let mut observer = Observer { gate: &gate, output: &mut output, told: None, lost: None };
        let ending = match train(&assignment, &mut observer) {
            Ok(facts) => Ending::Finished(Box::new(facts)),
            Err(failure) => Ending::Failed(failure),
        };
        if let Some(error) = observer.lost {
            return Err(error);
        }
        // Told to stop or not, what has come of it is told: the daemon knows whether it still matters.
        let _ = gate.pass();
        let ended = from_runner::Message::Ended(v1::Ending::from(&ending));
        write_message(&mut output, &v1::FromRunner { message: Some(ended) })?;
        if gate.end() {
            break;
        }
    }
    Ok(())
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
fn listen(jobs: &mpsc::SyncSender<v1::Assignment>, gate: &Gate) {
    let mut stdin = io::stdin().lock();
    loop {
        match read_message::<v1::ToRunner>(&mut stdin) {
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Train(assignment)) })) => {
                gate.begin();
                // There is one at a time, so there is room.
                if jobs.send(assignment).is_err() {
                    return;
                }
            }
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Stop(_)) })) => gate.stop(),
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Lease(lease)) })) => gate.lease(lease.until),
            Ok(Some(v1::ToRunner { message: None })) => {}
            Ok(None) | Err(_) => process::exit(0),
        }
    }
}

/// Has the gate say so when the process is told to end. With nothing in hand it ends at once.
#[cfg(unix)]
fn leave_when_terminated(gate: Arc<Gate>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminated = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let wait = move || {
        runtime.block_on(terminated.recv());
        if !gate.leave() {
            process::exit(0);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

#[cfg(not(unix))]
fn leave_when_terminated(_gate: Arc<Gate>) -> io::Result<()> {
    Ok(())
}

fn train(
    assignment: &v1::Assignment,
    cache: &trainer::Cache,
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
    let (_, attempt) = required_attempt(assignment.of.as_ref()).map_err(not_understood)?;
    let (directory, every) = (options.checkpoints.as_path(), options.checkpoint_every);
    let checkpoints = Some(trainer::checkpoint::Checkpoints { directory, attempt, every });
    let supplies = trainer::Supplies { cache, means: options.means, parent, checkpoints };
    let mut trained = trainer::train(&job, supplies, observer)?;
    if let Some(directory) = &options.weights {
        trained.weights.write(directory, job.id()).map_err(not_kept)?;
    }
    trained.facts.kept = trained.weights.leave(&options.cache, job.id(), &wanted).map_err(not_kept)?;
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
    gate: &'a Gate,
    output: &'a mut File,
    told: Option<Instant>,
    lost: Option<io::Error>,
}

impl Observer<'_> {
    fn tell(&mut self, message: from_runner::Message) -> ControlFlow<()> {
        match write_message(self.output, &v1::FromRunner { message: Some(message) }) {
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
        self.gate.pass()?;
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
        let flow = self.gate.pass();
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
