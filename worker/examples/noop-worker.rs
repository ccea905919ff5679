//! A worker that does not train, for `benches/orchestration.py`. Daemon, runner processes and protocol are those of `plusminus worker`; only
//! the training loop is replaced: it validates its job, waits for the given time, reports the epochs of the job, and ends.
//!
//! `noop-worker --coordinator URL --state DIR [--slots N] [--metrics N] [--work MILLISECONDS] [--gaps DIR]`
//!
//! - `--metrics`: the number of metrics of each epoch, from 1 to 10. Default: 1.
//! - `--work`: the duration of a job, varied randomly by up to a half.
//! - `--gaps`: a directory for one file per runner, with the idle times between its jobs in milliseconds, one per line.

use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::v1;
use plusminus_trainer::Observer;
use plusminus_worker::agent::Equipment;
use plusminus_worker::runner::{RunnerOptions, serve_with};
use plusminus_worker::{Options, StateDirectory};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The metrics that an epoch can have. The first is required, and the last two are if there are validation samples.
const METRICS: [Metric; 10] = [
    Metric::TestAccuracy,
    Metric::TrainLoss,
    Metric::CleanAccuracy,
    Metric::NoisyAccuracy,
    Metric::RecoveredAccuracy,
    Metric::LearningRate,
    Metric::ImagesPerSecond,
    Metric::PruningKept,
    Metric::ValidationLoss,
    Metric::ValidationAccuracy,
];

/// The command-line arguments.
#[derive(Clone, Debug, Default)]
struct Arguments {
    coordinator: String,
    state: PathBuf,
    slots: u32,
    metrics: usize,
    work: u64,
    gaps: Option<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = OsString>) -> Result<Arguments, Box<dyn Error>> {
        let mut arguments = Arguments { slots: 128, metrics: 1, ..Arguments::default() };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("expected a value after {}", name.display()))?;
            let text = value.to_string_lossy();
            match name.to_string_lossy().as_ref() {
                "--coordinator" => arguments.coordinator = text.into_owned(),
                "--state" => arguments.state = value.into(),
                "--slots" => arguments.slots = text.parse()?,
                "--metrics" => arguments.metrics = text.parse()?,
                "--work" => arguments.work = text.parse()?,
                "--gaps" => arguments.gaps = Some(value.into()),
                // Arguments that the daemon appends for its runners; not used here.
                "--cache" | "--checkpoints" | "--device" | "--threads" | "--lanes" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(arguments)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == "runner").is_some() {
        return run(Arguments::read(words)?);
    }
    let arguments = Arguments::read(words)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work(arguments))
}

/// The daemon.
async fn work(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { coordinator, state, slots, metrics, work, gaps } = arguments;
    let mut forwarded: Vec<OsString> = vec!["runner".into()];
    forwarded.extend(["--metrics".into(), metrics.to_string().into(), "--work".into(), work.to_string().into()]);
    forwarded.extend(gaps.into_iter().flat_map(|gaps| ["--gaps".into(), gaps.into()]));
    let runner = RunnerOptions { program: std::env::current_exe()?, arguments: forwarded };
    let device = v1::Device { name: "cpu".to_owned(), slots, ..v1::Device::default() };
    let options = Options {
        coordinator,
        state: StateDirectory::open(&state)?,
        name: "noop".to_owned(),
        equipment: vec![Equipment { device, execution: ExecutionOptions::default(), uuid: None }],
        attached: false,
        patience: Duration::from_secs(10),
        grace: Duration::from_secs(10),
        stall: Duration::from_secs(600),
        cache: None,
        checkpoints: None,
        runner,
    };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(plusminus_worker::run(options, stop).await?)
}

/// A runner with one lane.
fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let gaps = arguments.gaps.as_ref().map(|directory| File::create(directory.join(std::process::id().to_string())));
    let gaps = Mutex::new(gaps.transpose()?);
    let lane = || {
        let (mut gaps, arguments) = (gaps.lock().ok().and_then(|mut gaps| gaps.take()), arguments.clone());
        let mut free: Option<Instant> = None;
        move |assignment: &v1::Assignment, observer: &mut dyn Observer| {
            if let (Some(gaps), Some(since)) = (&mut gaps, free.take()) {
                let idle = Instant::now().duration_since(since).as_secs_f64() * 1e3;
                // A lost line only costs one measurement.
                let _ = writeln!(gaps, "{idle:.3}");
            }
            let facts = train(assignment, observer, &arguments);
            free = Some(Instant::now());
            facts
        }
    };
    Ok(serve_with(1, Device::Cpu, lane)?)
}

fn train(assignment: &v1::Assignment, observer: &mut dyn Observer, arguments: &Arguments) -> Result<Facts, Failure> {
    let failed = |error: &dyn Error| Failure::new(FailureKind::UserError, error.to_string());
    let job = assignment.job().map_err(|error| failed(&error))?;
    if arguments.work > 0 {
        // Between 0.5 and 1.5 times the duration, so that jobs do not end simultaneously.
        let share = RandomState::new().hash_one(assignment.seed) % 1_000;
        std::thread::sleep(Duration::from_micros(arguments.work * (500 + share)));
    }
    for epoch in 1..=job.configuration.epochs {
        let value = |metric| (metric, 1.0 / (f64::from(epoch) + 2.0));
        if observer
            .epoch(epoch, &Measurements::from_iter(METRICS.into_iter().take(arguments.metrics).map(value)))
            .is_break()
        {
            return Err(Failure::new(FailureKind::Preempted, "stopped"));
        }
    }
    let transition = TransitionMatrix::identity(10);
    let digest = "0".repeat(64);
    let validation = if arguments.metrics < METRICS.len() { 0 } else { 1_000 };
    let samples = Samples { train: 9_000, validation, test: 10_000 };
    Ok(Facts {
        parameters: 1,
        samples,
        noise_rate: 0.0,
        transition,
        engine: "none".to_owned(),
        weights: digest.clone(),
        data: digest,
        start: None,
        kept: BTreeMap::new(),
    })
}
