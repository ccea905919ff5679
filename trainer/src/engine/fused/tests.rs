//! The fused engine beside candle's, on every network and on layers that no network has.

use super::FusedEngine;
use crate::engine::candle::CandleEngine;
use crate::engine::{Batch, Engine, EngineKind, Gradients, Means, Plan, Weights, engine};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::losses::{Cce, Loss};
use plusminus_core::methods::networks::{
    Convolution, Downsample, Initialisation, Kernel, Layer, Model, Network, Shortcut,
};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::random::{Stream, Streams};
use plusminus_kernels::Instructions;
use rand::RngExt;
use std::num::NonZeroUsize;
use std::sync::Arc;

const GREY: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
const COLOUR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const SGD: Optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 5e-4, nesterov: false };

/// Weights of which none is special: batch norm's differ from the identity too.
fn weights(network: &Network) -> Weights {
    let plan = Arc::new(Plan::of(network));
    let mut generator = Streams::new(7, 7).generator(Stream::Weights, 0);
    let mut weights = plan.initial(&mut generator);
    for value in weights.values_mut() {
        *value += if *value == 1.0 || *value == 0.0 { 0.2 * generator.random::<f32>() } else { 0.0 };
    }
    weights
}

fn samples(shape: ImageShape, count: usize) -> (Vec<f32>, Vec<u32>) {
    let mut generator = Streams::new(3, 3).generator(Stream::Order, 0);
    let inputs = (0..shape.len() * count).map(|_| 2.0 * generator.random::<f32>() - 1.0).collect();
    (inputs, (0..count as u32).map(|i| (3 * i + 1) % 10).collect())
}

fn fused(network: &Network, threads: usize, instructions: Instructions) -> FusedEngine {
    let threads = NonZeroUsize::new(threads).unwrap();
    FusedEngine::new(network, weights(network), Loss::Cce(Cce {}), SGD, threads, instructions).unwrap().unwrap()
}

fn candle(network: &Network) -> CandleEngine {
    CandleEngine::new(network, weights(network), Loss::Cce(Cce {}), SGD, candle_core::Device::Cpu).unwrap()
}

/// |found − expected| over |expected|, both as vectors.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    apart / norm(&mut expected.iter().map(|e| f64::from(*e))).max(1e-6)
}

/// Both engines take the same batch; their logits, gradients, statistics and then their evaluations are alike.
fn agree(what: &str, network: &Network, count: usize) {
    network.check().unwrap();
    let (inputs, labels) = samples(network.input, count);
    let batch = Batch { inputs: &inputs, labels: &labels };
    let mut engines = (fused(network, 1, Instructions::best()), candle(network));
    let dropout = || Streams::new(1, 1).generator(Stream::Dropout, 1);
    let found: Gradients = engines.0.gradients(batch, &mut dropout()).unwrap();
    let expected = engines.1.gradients(batch, &mut dropout()).unwrap();
    assert!((found.loss - expected.loss).abs() < 1e-4 * expected.loss, "{what}: {} for {}", found.loss, expected.loss);
    let apart = distance(&found.logits, &expected.logits);
    assert!(apart < 1e-4, "{what}: logits differ by {apart}");
    let plan = Plan::of(network);
    for entry in plan.entries().iter().filter(|entry| entry.role.is_trained()) {
        let (found, expected) = (&found.weights[entry.range.clone()], &expected.weights[entry.range.clone()]);
        // Batch norm makes the gradient of a bias before it zero, but for what is rounded.
        let scale = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let apart = distance(found, expected);
        assert!(apart < 1e-2 || scale < 1e-5, "{what}: the gradient of {} differs by {apart}", entry.name);
    }
    let (found, expected) = (engines.0.weights().unwrap(), engines.1.weights().unwrap());
    let apart = distance(found.values(), expected.values());
    assert!(apart < 1e-5, "{what}: the running statistics differ by {apart}");
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    engines.0.logits(&inputs, &mut found).unwrap();
    engines.1.logits(&inputs, &mut expected).unwrap();
    let apart = distance(&found, &expected);
    assert!(apart < 1e-4, "{what}: evaluated logits differ by {apart}");
}

#[test]
fn every_network_agrees_with_candle() {
    agree("cnn", &Model::Cnn { dropout: 0.0 }.network(GREY, 10).unwrap(), 5);
    agree("cnn with dropout", &Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap(), 5);
    for shortcut in [Downsample::Pad, Downsample::Projection] {
        agree("resnet20", &Model::Resnet20 { shortcut }.network(COLOUR, 10).unwrap(), 5);
    }
    agree("resnet18", &Model::Resnet18.network(GREY, 10).unwrap(), 3);
    agree("vgg16-bn", &Model::Vgg16Bn.network(COLOUR, 10).unwrap(), 4);
}

#[test]
fn an_engine_restored_from_a_checkpoint_goes_on_with_the_same_bytes() {
    let network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    let (inputs, labels) = samples(network.input, 6);
    let batch = Batch { inputs: &inputs, labels: &labels };
    let adam = Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-4 };
    let plain = Optimizer::Sgd { lr: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    for kind in EngineKind::ALL {
        for optimizer in [SGD, adam.clone(), plain.clone()] {
            let means = Means { engine: Some(*kind), ..Means::default() };
            let new = || engine(means, &network, weights(&network), &Loss::Cce(Cce {}), &optimizer).unwrap();
            let steps = |engine: &mut Box<dyn Engine>, epoch| {
                let mut dropout = Streams::new(1, 1).generator(Stream::Dropout, epoch);
                for _ in 0..3 {
                    engine.train_step(batch, 0.05, &mut dropout).unwrap();
                }
            };
            let (mut whole, mut resumed) = (new(), new());
            steps(&mut whole, 1);
            resumed.restore(whole.checkpoint().unwrap()).unwrap();
            steps(&mut whole, 2);
            steps(&mut resumed, 2);
            assert_eq!(whole.checkpoint().unwrap(), resumed.checkpoint().unwrap(), "{kind}, {optimizer:?}");
        }
    }
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let network = |dropout| Model::Cnn { dropout }.network(GREY, 10).unwrap();
    let other = Model::Resnet20 { shortcut: Downsample::Pad }.network(GREY, 10).unwrap();
    let mut engine = fused(&network(0.0), 1, Instructions::best());
    let refused = engine.restore(fused(&other, 1, Instructions::best()).checkpoint().unwrap());
    assert!(refused.unwrap_err().to_string().contains("another network"));
}
