//! Times training on a GPU: whole steps over data that the GPU holds, with cross entropy, for several jobs at once, each with its own thread
//! and stream. `gpu-training-speed NETWORK [--device cuda:0] [--jobs N] [--batch N] [--block N] [--blocks N] [--precision NAME]
//! [--nondeterministic]`.
//!
//! Steps are queued without waiting, so the timed unit is a block of steps, up to its last loss. Prints one line of JSON: median and best
//! milliseconds per step of one job, and the images per second of all jobs together.

#![allow(clippy::print_stdout)]

use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::losses::{Cce, Loss, Setting};
use plusminus_core::methods::networks::{Downsample, Model, Network};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_core::random::{Stream, Streams};
use plusminus_engines::{Batch, BatchInputs, Engine, ExecutionOptions, Plan, Samples, StepLoss, new_engine};
use rand::RngExt;
use serde_json::json;
use std::error::Error;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

const CLASSES: usize = 10;
/// Samples that the GPU holds: enough for many different batches.
const HELD: usize = 8_192;

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Clone, Debug)]
struct Arguments {
    network: String,
    execution: ExecutionOptions,
    precision: Precision,
    jobs: usize,
    batch: usize,
    block: usize,
    blocks: usize,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let network = words.next().ok_or("missing network: expected cnn, resnet18, resnet20 or resnet34")?;
        let execution = ExecutionOptions { device: "cuda:0".parse()?, ..ExecutionOptions::default() };
        let precision = Precision::F32;
        let mut arguments = Arguments { network, execution, precision, jobs: 1, batch: 128, block: 50, blocks: 8 };
        while let Some(option) = words.next() {
            if option == "--nondeterministic" {
                arguments.execution.deterministic = false;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{option} requires a value"))?;
            match option.as_str() {
                "--device" => arguments.execution.device = value.parse()?,
                "--precision" => arguments.precision = serde_json::from_value(json!(value))?,
                "--jobs" => arguments.jobs = value.parse()?,
                "--batch" => arguments.batch = value.parse()?,
                "--block" => arguments.block = value.parse()?,
                "--blocks" => arguments.blocks = value.parse()?,
                other => return Err(format!("unknown option `{other}`").into()),
            }
        }
        let [jobs, block, blocks] = [arguments.jobs, arguments.block, arguments.blocks].map(|number| number > 0);
        if jobs && block && blocks && (1..=HELD).contains(&arguments.batch) {
            return Ok(arguments);
        }
        Err(format!("expected positive numbers, and a batch of at most {HELD}").into())
    }

    fn network(&self) -> Result<Network, Failed> {
        let (model, channels, extent) = match self.network.as_str() {
            "cnn" => (Model::Cnn { dropout: 0.0 }, 1, 28),
            "resnet18" => (Model::Resnet18, 1, 28),
            "resnet20" => (Model::Resnet20 { shortcut: Downsample::Pad }, 3, 32),
            "resnet34" => (Model::Resnet34, 3, 32),
            other => {
                return Err(format!("unknown network `{other}`: expected cnn, resnet18, resnet20 or resnet34").into());
            }
        };
        Ok(model.network(ImageShape { channels, height: extent, width: extent }, CLASSES)?)
    }
}

/// A job's engine with its data.
struct Job {
    engine: Box<dyn Engine>,
    order: Vec<usize>,
    arguments: Arguments,
    streams: Streams,
    taken: usize,
}

impl Job {
    fn new(arguments: &Arguments, seed: u64) -> Result<Self, Failed> {
        let network = arguments.network()?;
        let streams = Streams::new(seed, seed);
        let weights = Arc::new(Plan::of(&network)).initial(&mut streams.generator(Stream::Weights, 0));
        let optimizer = Optimizer::Sgd { lr: 0.01, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
        let mut engine = new_engine(arguments.execution, arguments.precision, &network, weights, &optimizer)?;
        let mut generator = streams.generator(Stream::Order, 0);
        let pixels: Vec<u8> = (0..HELD * network.input.len()).map(|_| generator.random()).collect();
        let table: Vec<f32> =
            (0..256 * network.input.channels).map(|place| (place % 256) as f32 / 127.5 - 1.0).collect();
        let given: Vec<u32> = (0..HELD).map(|_| generator.random_range(0..CLASSES as u32)).collect();
        let setting = Setting { classes: CLASSES, given: &given, transition: None };
        let loss =
            Loss::Cce(Cce {}).criterion(setting)?.on_device().ok_or("cross entropy has no device implementation")?;
        let device = engine.on_device().ok_or("the engine runs on the CPU: select a GPU with --device")?;
        device.reserve(arguments.batch)?;
        let samples = Samples::Images { parts: vec![&pixels], table: &table, centre: None };
        if !device.hold_samples(&samples)? {
            return Err("the data exceed their share of the GPU's memory".into());
        }
        device.set_loss(&loss, &given)?;
        let order = (0..HELD).collect();
        Ok(Job { engine, order, arguments: arguments.clone(), streams, taken: 0 })
    }

    /// Queues a block of steps and waits for the last.
    fn block(&mut self) -> Result<(), Failed> {
        let batch = self.arguments.batch;
        let mut dropout = self.streams.generator(Stream::Dropout, 0);
        let mut latent = self.streams.generator(Stream::Latent, 0);
        let device = self.engine.on_device().ok_or("the engine has no device")?;
        for _ in 0..self.arguments.block {
            let start = self.taken % (HELD / batch) * batch;
            let samples = &self.order[start..start + batch];
            self.taken += 1;
            let batch = Batch { samples, inputs: BatchInputs::Held(&[]) };
            device.step(batch, StepLoss::Device(&mut latent), 0.01, &mut dropout)?;
        }
        let losses = device.take_losses()?;
        if losses.iter().all(|loss| loss.is_finite()) { Ok(()) } else { Err("the loss is no longer finite".into()) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(std::env::args().skip(1)).map_err(|error| error.to_string())?;
    let together = Arc::new(Barrier::new(arguments.jobs));
    let train = |seed: usize| {
        let (arguments, together) = (arguments.clone(), Arc::clone(&together));
        thread::spawn(move || {
            let job = Job::new(&arguments, seed as u64);
            let warm = job.and_then(|mut job| {
                // Launches, records and replays the steps.
                (0..3).try_for_each(|_| job.block())?;
                Ok(job)
            });
            // A job that failed must not block the others.
            together.wait();
            let mut job = warm?;
            let mut times = Vec::new();
            for _ in 0..arguments.blocks {
                let start = Instant::now();
                job.block()?;
                times.push(start.elapsed().as_secs_f64() / arguments.block as f64);
            }
            Ok::<_, Failed>((times, job.engine.name()))
        })
    };
    let jobs: Vec<_> = (0..arguments.jobs).map(train).collect();
    let (mut times, mut name, mut rate) = (Vec::new(), String::new(), 0.0);
    for job in jobs {
        let (mut own, engine) = job.join().map_err(|_| "a job panicked")?.map_err(|e| e.to_string())?;
        own.sort_by(f64::total_cmp);
        rate += arguments.batch as f64 / own[own.len() / 2];
        times.append(&mut own);
        name = engine;
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{}",
        json!({
            "engine": name,
            "jobs": arguments.jobs,
            "median_ms": times[times.len() / 2] * 1e3,
            "best_ms": times[0] * 1e3,
            "images_per_second": rate,
        })
    );
    Ok(())
}
