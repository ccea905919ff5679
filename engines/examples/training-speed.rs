//! Times training steps on random images or tokens: `training-speed NETWORK [--batch N] [--steps N] [--warm N] [--threads N] [--engine NAME]`.
//!
//! Prints one line of JSON: median and best milliseconds per step, images per second at the median, the peak resident memory of the process
//! and the estimate of the engine's memory, in MiB.

#![allow(clippy::print_stdout)]

use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::losses::{Cce, Loss};
use plusminus_core::methods::networks::{Downsample, Layer, Model, word_cnn};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_core::random::{Stream, Streams};
use plusminus_engines::{ExecutionOptions, Plan, host_memory, new_engine};
use rand::RngExt;
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

const CLASSES: usize = 10;

const VOCABULARY: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("missing network: expected cnn, resnet18, resnet20, vgg16-bn or wordcnn")?;
    let mut options = BTreeMap::new();
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} requires a value"))?;
        options.insert(option, value);
    }
    let number = |option: &str, default: usize| options.get(option).map_or(Ok(default), |value| value.parse());
    let (batch, steps, warm) = (number("--batch", 128)?, number("--steps", 10)?, number("--warm", 3)?);
    let execution = ExecutionOptions {
        threads: number("--threads", 1)?.try_into()?,
        engine: options.get("--engine").map(|name| name.parse()).transpose()?,
        ..ExecutionOptions::default()
    };
    let image =
        |model: Model, channels, extent| model.network(ImageShape { channels, height: extent, width: extent }, CLASSES);
    let network = match name.as_str() {
        "cnn" => image(Model::Cnn { dropout: 0.0 }, 1, 28),
        "resnet18" => image(Model::Resnet18, 1, 28),
        "resnet20" => image(Model::Resnet20 { shortcut: Downsample::Pad }, 3, 32),
        "vgg16-bn" => image(Model::Vgg16Bn, 3, 32),
        // The size of the network for movie reviews.
        "wordcnn" => word_cnn(VOCABULARY, 56, CLASSES, 0.5),
        other => {
            return Err(
                format!("unknown network `{other}`: expected cnn, resnet18, resnet20, vgg16-bn or wordcnn").into()
            );
        }
    }?;
    let shape = network.input;
    let streams = Streams::new(0, 0);
    let weights = Arc::new(Plan::of(&network)).initial(&mut streams.generator(Stream::Weights, 0));
    let optimizer = Optimizer::Sgd { lr: 0.01, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
    let mut engine = new_engine(execution, Precision::F32, &network, weights, &optimizer)?;
    let mut generator = streams.generator(Stream::Order, 0);
    let mut value = || match network.layers.first() {
        Some(Layer::Embedding { vocabulary, .. }) => generator.random_range(0..*vocabulary) as f32,
        _ => 2.0 * generator.random::<f32>() - 1.0,
    };
    let inputs: Vec<f32> = (0..batch * shape.len()).map(|_| value()).collect();
    let labels: Vec<u32> = (0..batch).map(|_| generator.random_range(0..CLASSES as u32)).collect();
    let mut dropout = streams.generator(Stream::Dropout, 0);
    let mut times = Vec::new();
    for step in 0..warm + steps {
        let start = Instant::now();
        let mut loss = |logits: &[f32], gradient: &mut [f32]| {
            Loss::Cce(Cce {}).value_and_gradient(logits, CLASSES, &labels, gradient)
        };
        engine.train_step(&inputs, &mut loss, 0.01, &mut dropout)?;
        if step >= warm {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{}",
        json!({
            "engine": engine.name(),
            "median_ms": median * 1e3,
            "best_ms": best * 1e3,
            "images_per_second": batch as f64 / median,
            "peak_mib": peak_mib(),
            "told_mib": host_memory(execution, &network, &optimizer, batch).map(|bytes| bytes as f64 / f64::from(1 << 20)),
        })
    );
    Ok(())
}

/// The peak resident memory of the process, if the system reports it.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}
