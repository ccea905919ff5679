//! Trains job after job for some minutes, as a runner does, and fails if its memory grows: `soak [MINUTES]`.
//!
//! A round trains one job with the CNN and one with ResNet-20 on the images in the binary. The first two rounds fill buffers and the
//! allocator's lists. After them, memory may grow by a few MiB only.

#![allow(clippy::print_stdout)]

use plusminus_core::job::{Configuration, Job};
use plusminus_core::metric::Measurements;
use plusminus_engines::{ENVIRONMENT, ExecutionOptions};
use plusminus_trainer::{DatasetCache, MemoryEstimate, Observer, TrainInputs, train};
use serde_json::json;
use std::error::Error;
use std::ops::ControlFlow;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of rounds until memory is stable.
const WARM_UP: usize = 2;

/// The allowed growth after them, in MiB.
const ALLOWED: f64 = 4.0;

/// The largest resident memory after an epoch of a round, in MiB.
struct Watcher(f64);

impl Observer for Watcher {
    fn epoch(&mut self, _: u32, _: &Measurements) -> ControlFlow<()> {
        self.0 = self.0.max(resident_mib().unwrap_or(0.0));
        ControlFlow::Continue(())
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Restarts itself with the environment that a worker gives a runner, because it configures the allocator.
    if ENVIRONMENT.iter().any(|(name, _)| std::env::var_os(name).is_none()) {
        let mut again = Command::new(std::env::current_exe()?);
        let status = again.args(std::env::args_os().skip(1)).envs(ENVIRONMENT.iter().copied()).status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let minutes: f64 = std::env::args().nth(1).map_or(Ok(2.0), |minutes| minutes.parse())?;
    resident_mib()
        .ok_or("cannot read the resident memory of this process from /proc/self/status; the soak test needs Linux")?;
    let jobs = [
        job(json!({"model": {"name": "cnn", "dropout": 0.5}, "epochs": 6, "batch_size": 32}))?,
        job(json!({"model": {"name": "resnet20", "shortcut": "pad"}, "epochs": 2, "batch_size": 128}))?,
    ];
    let estimate =
        jobs.iter().filter_map(|job| MemoryEstimate::on_host(&job.configuration, ExecutionOptions::default())).max();
    println!("estimate: {}", estimate.ok_or("the memory of these networks must be known")?);
    let (cache, started) = (DatasetCache::default(), Instant::now());
    let (mut after, mut warm, mut round) = (0.0, None, 0);
    while started.elapsed() < Duration::from_secs_f64(60.0 * minutes) || round <= WARM_UP {
        let mut watcher = Watcher(0.0);
        for job in &jobs {
            train(job, TrainInputs::new(&cache, ExecutionOptions::default()), &mut watcher)
                .map_err(|failure| failure.to_string())?;
        }
        round += 1;
        after = watcher.0;
        println!("round {round}, {:.0} s: {after:.1} MiB", started.elapsed().as_secs_f64());
        if round == WARM_UP {
            warm = Some(after);
        }
    }
    let grown = after - warm.unwrap_or(after);
    println!("memory grew by {grown:.1} MiB after {WARM_UP} rounds; allowed are {ALLOWED:.0} MiB");
    Ok(if grown <= ALLOWED { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A job with 400 training samples and 400 validation samples. `changes` replace fields of its configuration.
fn job(changes: serde_json::Value) -> Result<Job, Box<dyn Error>> {
    let mut configuration = json!({
        "dataset": "fashion-mnist-10k",
        "loss": {"name": "cce"},
        "noise": {"kind": "uniform", "rate": 0.4, "include_true_class": false},
        "noise_seed": null,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005, "nesterov": false},
        "schedule": {"name": "constant"},
        "train_size": 800,
        "validation": 0.5,
        "augment": [{"crop": 4}, "flip"],
        "normalize": "channel",
    });
    if let Some(changes) = changes.as_object() {
        changes.iter().for_each(|(name, value)| configuration[name] = value.clone());
    }
    let configuration: Configuration = serde_json::from_value(configuration)?;
    let cell = configuration.cell();
    Ok(Job::new(Arc::new(configuration), cell, 0))
}

/// The resident memory of this process in MiB; `None` on other systems than Linux.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}
