//! Trains one job and prints its epochs: `cargo run --release -p plusminus-trainer --example train -- [CONFIGURATION [SEED]]`.
//!
//! CONFIGURATION is a JSON object whose fields replace those of the default configuration: `{"epochs": 3}`. Data sets are looked for in the
//! directories of `PLUSMINUS_DATASETS`.

#![allow(clippy::print_stdout)]

use plusminus_core::job::{Configuration, Job};
use plusminus_core::metric::{Measurements, Metric};
use plusminus_engines::ExecutionOptions;
use plusminus_trainer::{DataDirectories, DatasetCache, Observer, Progress, TrainInputs, train};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Prints progress every five seconds, and every epoch.
struct Printer {
    last: Instant,
}

impl Observer for Printer {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.last.elapsed().as_secs() >= 5 {
            self.last = Instant::now();
            let Progress { epoch, step, steps, .. } = progress;
            println!("epoch {epoch}: step {step} of {steps}");
        }
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        let values = measurements.iter().map(|(metric, value)| match metric {
            Metric::ImagesPerSecond => format!("{metric} {value:.0}"),
            _ => format!("{metric} {value:.4}"),
        });
        println!("epoch {epoch}: {}", values.collect::<Vec<_>>().join(", "));
        ControlFlow::Continue(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut configuration = json!({
        "dataset": "fashion-mnist-10k",
        "model": {"name": "cnn", "dropout": 0.5},
        "loss": {"name": "cce"},
        "noise": {"kind": "none"},
        "noise_seed": null,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "nesterov": false},
        "schedule": {"name": "constant"},
        "epochs": 5,
        "batch_size": 128,
        "validation": 0.1,
        "augment": [],
        "normalize": "channel",
    });
    if let Some(text) = arguments.next() {
        let changes: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| format!("`{text}` is not a JSON object: {error}"))?;
        changes.into_iter().for_each(|(name, value)| configuration[name] = value);
    }
    let seed = arguments.next().map_or(Ok(0), |seed| seed.parse())?;
    let configuration: Configuration = serde_json::from_value(configuration)?;
    let cell = configuration.cell();
    let job = Job::new(Arc::new(configuration), cell, seed);
    let directories = std::env::var_os("PLUSMINUS_DATASETS");
    let directories = directories.iter().flat_map(std::env::split_paths).collect();
    let started = Instant::now();
    let cache = DatasetCache::new(DataDirectories { directories });
    let train_inputs = TrainInputs::new(&cache, ExecutionOptions::default());
    let trained = train(&job, train_inputs, &mut Printer { last: started }).map_err(|e| e.to_string())?;
    println!("{:.2} s, weights {}", started.elapsed().as_secs_f64(), trained.facts.weights);
    Ok(())
}
