//! A runner seen from inside: it trains what comes over its standard input, one job after another.

use super::{read_message, write_message};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_core::schedule::Ending;
use plusminus_proto::convert::{self, Invalid};
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_trainer as trainer;
use std::io::{self, Stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// By what means its jobs are trained.
    pub means: trainer::Means,
}

/// Trains what standard input asks for until it is closed.
///
/// # Errors
/// If standard output is closed: nobody listens any more.
pub fn serve(options: ChildOptions) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let (jobs, queue) = mpsc::channel();
    let flag = Arc::clone(&stop);
    thread::spawn(move || listen(&jobs, &flag));
    let cache = trainer::Cache::new(trainer::Datasets { directories: options.datasets.clone() });
    while let Ok(assignment) = queue.recv() {
        let mut observer = Observer { stop: &stop, stdout: io::stdout(), told: None, lost: None };
        let ending = match train(&assignment, &cache, &options, &mut observer) {
            Ok(facts) => Ending::Finished(Box::new(facts)),
            Err(failure) => Ending::Failed(failure),
        };
        if let Some(error) = observer.lost {
            return Err(error);
        }
        let ended = from_runner::Message::Ended(v1::Ending::from(&ending));
        write_message(&mut io::stdout(), &v1::FromRunner { message: Some(ended) })?;
    }
    Ok(())
}

/// Takes in what the daemon says. When it is gone, so is the runner, in the midst of whatever it does.
fn listen(jobs: &mpsc::Sender<v1::Assignment>, stop: &AtomicBool) {
    let mut stdin = io::stdin().lock();
    loop {
        match read_message::<v1::ToRunner>(&mut stdin) {
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Train(assignment)) })) => {
                // A stop that came before was for the job before.
                stop.store(false, Ordering::Relaxed);
                if jobs.send(assignment).is_err() {
                    return;
                }
            }
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Stop(_)) })) => {
                stop.store(true, Ordering::Relaxed)
            }
            Ok(Some(v1::ToRunner { message: Some(to_runner::Message::Lease(_)) | None })) => {}
            Ok(None) | Err(_) => process::exit(0),
        }
    }
}

fn train(
    assignment: &v1::Assignment,
    cache: &trainer::Cache,
    options: &ChildOptions,
    observer: &mut Observer<'_>,
) -> Result<Facts, Failure> {
    let not_understood = |error: Invalid| {
        let advice = "are the coordinator and the worker of the same version?";
        Failure::new(FailureKind::UserError, format!("{error}; {advice}"))
    };
    let job = assignment.job().map_err(not_understood)?;
    let parent = assignment.parent(&job).map_err(not_understood)?;
    let parent = parent.map(|(_, digest)| options.cache.join(digest.file_name()));
    let wanted = assignment.keeps().map_err(not_understood)?;
    let supplies = trainer::Supplies { cache, means: options.means, parent: parent.as_deref(), checkpoints: None };
    let mut trained = trainer::train(&job, supplies, observer)?;
    let failed = |error| Failure::new(FailureKind::Infrastructure, format!("cannot keep the weights: {error}"));
    if let Some(directory) = &options.weights {
        trained.weights.write(directory, job.id()).map_err(failed)?;
    }
    trained.facts.kept = trained.weights.leave(&options.cache, job.id(), &wanted).map_err(failed)?;
    Ok(trained.facts)
}

/// Tells the daemon what the training loop says, and the loop when to stop.
struct Observer<'a> {
    stop: &'a AtomicBool,
    stdout: Stdout,
    told: Option<Instant>,
    lost: Option<io::Error>,
}

impl Observer<'_> {
    fn tell(&mut self, message: from_runner::Message) -> ControlFlow<()> {
        if let Err(error) = write_message(&mut self.stdout, &v1::FromRunner { message: Some(message) }) {
            self.lost = Some(error);
            return ControlFlow::Break(());
        }
        self.flow()
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl trainer::Observer for Observer<'_> {
    fn progress(&mut self, progress: trainer::Progress) -> ControlFlow<()> {
        if self.told.is_some_and(|told| told.elapsed() < PACE) {
            return self.flow();
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
        self.tell(from_runner::Message::Epoch(convert::epoch(epoch, measurements)))
    }
}
