//! Tests of the whole engine. `operations`, `forms` and `differences` test its operations and gradients.

mod differences;
mod forms;
mod operations;

use super::*;
use crate::testing::cross_entropy;
use crate::weights::Plan;
use candle_core::DType;
use plusminus_core::methods::networks::{Convolution, Initialisation, Kernel, Model, word_cnn};
use plusminus_core::random::{Stream, Streams};
use rand::RngExt;
use std::sync::Arc;

const SGD: Optimizer = Optimizer::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };

fn generator(epoch: u64) -> ChaCha8Rng {
    Streams::new(7, 7).generator(Stream::Dropout, epoch)
}

fn values(count: usize, epoch: u64) -> Vec<f32> {
    let mut generator = generator(epoch);
    (0..count).map(|_| 2.0 * generator.random::<f32>() - 1.0).collect()
}

fn convolution(input: usize, output: usize, kernel: usize, stride: usize, padding: usize, bias: bool) -> Layer {
    Layer::Convolution(Convolution { input, output, kernel: Kernel::Square(kernel), stride, padding, bias })
}

fn engine(layers: Vec<Layer>, input: ImageShape, classes: usize) -> CandleEngine {
    let network = Network { input, classes, layers, initialisation: Initialisation::UniformFanIn };
    network.check().unwrap();
    let plan = Arc::new(Plan::of(&network));
    assert_eq!(plan.trained(), network.parameters());
    let mut weights = plan.initial(&mut generator(99));
    // Moves batch norm away from the identity, so that its gradients matter.
    let spread = values(weights.values().len(), 98);
    weights.values_mut().iter_mut().zip(spread).for_each(|(weight, by)| *weight += 0.2 * by);
    CandleEngine::new(&network, weights, SGD, Device::Cpu).unwrap()
}

#[test]
fn the_name_has_the_library_versions_and_the_kernel_of_this_host() {
    let name = engine(classifier(1), square(1, 1), 3).name();
    let words: Vec<&str> = name.split(' ').collect();
    let ["candle", candle, "cpu,", "gemm", gemm, kernel] = words[..] else { panic!("{name}") };
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    for (library, version) in [("candle-core", candle), ("gemm", gemm)] {
        let locked = format!("name = \"{library}\"\nversion = \"{version}\"\n");
        assert!(lock.replace("\r\n", "\n").contains(&locked), "{library} {version}");
    }
    assert!(["avx512f", "fma", "neon", "scalar"].contains(&kernel), "{kernel}");
}

/// The last layers of every tested network.
fn classifier(channels: usize) -> Vec<Layer> {
    vec![Layer::GlobalAveragePool, Layer::Flatten, Layer::Linear { input: channels, output: 3 }]
}

fn square(channels: usize, extent: usize) -> ImageShape {
    ImageShape { channels, height: extent, width: extent }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn running_statistics_move_by_a_tenth_and_evaluation_uses_them() {
    let layers = vec![Layer::BatchNorm(1), Layer::Flatten, Layer::Linear { input: 2, output: 2 }];
    let mut engine = engine(layers, ImageShape { channels: 1, height: 1, width: 2 }, 2);
    let statistics = engine.weights.plan().trained()..;
    engine.weights.values_mut()[statistics.clone()].copy_from_slice(&[0.0, 1.0]);
    let inputs = [2.0, 4.0, 6.0, 8.0];
    engine.train_step(&inputs, &mut cross_entropy(&[0, 1]), 0.0, &mut generator(0)).unwrap();
    let found = &engine.weights.values()[statistics];
    // Mean 5; the unbiased variance is 20/3.
    assert!((found[0] - 0.5).abs() < 1e-6 && (found[1] - (0.9 + 2.0 / 3.0)).abs() < 1e-6, "{found:?}");
    let before = engine.weights.clone();
    let mut together = Vec::new();
    engine.logits(&inputs, &mut together).unwrap();
    let mut alone = Vec::new();
    engine.logits(&inputs[..2], &mut alone).unwrap();
    assert_eq!(together[..2], alone, "evaluation does not use batch statistics");
    assert_eq!(engine.weights, before, "evaluation changes no weights");
}

#[test]
fn a_samples_logits_hardly_depend_on_other_samples() {
    let network = Model::Cnn { dropout: 0.5 }.network(square(1, 28), 10).unwrap();
    let weights = Arc::new(Plan::of(&network)).initial(&mut generator(3));
    let mut engine = CandleEngine::new(&network, weights, SGD, Device::Cpu).unwrap();
    let inputs = values(250 * 784, 4);
    let mut logits = |count: usize| {
        let mut logits = Vec::new();
        engine.logits(&inputs[..count * 784], &mut logits).unwrap();
        logits
    };
    let all = logits(250);
    for count in [1, 7] {
        let worst = logits(count).iter().zip(&all).map(|(few, all)| (few - all).abs()).fold(0.0, f32::max);
        // Not equal: products with few rows sum in another order.
        assert!(worst < 1e-6, "{worst} among {count}");
    }
}

#[test]
fn a_batch_of_one_trains_through_batch_norm() {
    let layers = vec![Layer::Flatten, Layer::Linear { input: 4, output: 4 }, Layer::Linear { input: 4, output: 3 }];
    let mut with_norm = vec![convolution(1, 2, 2, 1, 0, false), Layer::BatchNorm(2), Layer::Relu];
    with_norm.extend(classifier(2));
    for layers in [layers, with_norm] {
        let mut engine = engine(layers, square(1, 2), 3);
        let loss = engine.train_step(&values(4, 6), &mut cross_entropy(&[1]), 0.1, &mut generator(0)).unwrap();
        assert!(loss.is_finite());
        assert!(engine.weights.are_finite());
    }
}

#[test]
fn dropout_zeroes_its_share_scales_the_rest_and_skips_evaluation() {
    let mut layers = vec![Layer::Flatten, Layer::Dropout(0.25), Layer::Linear { input: 400, output: 2 }];
    let mut dropping = engine(layers.clone(), square(1, 20), 2);
    let weights = dropping.weights.clone();
    layers.remove(1);
    let inputs = vec![1.0; 400];
    let x = Tensor::ones((50, 1, 1, 400), DType::F32, &Device::Cpu).unwrap();
    let node = layers::nodes(&Network { layers: vec![Layer::Dropout(0.25)], ..network_of(&dropping) }, weights.plan())
        .unwrap();
    let mut dropout = generator(1);
    let mut pass = Pass { tensors: &[], weights: &mut dropping.weights, mode: Mode::Training(&mut dropout) };
    let y = flat(&layers::forward(&node, x, &mut pass).unwrap());
    let zeroes = y.iter().filter(|y| **y == 0.0).count() as f64 / y.len() as f64;
    assert!((zeroes - 0.25).abs() < 0.02, "{zeroes}");
    assert!(y.iter().all(|y| *y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-6));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    dropping.logits(&inputs, &mut first).unwrap();
    dropping.logits(&inputs, &mut second).unwrap();
    assert_eq!(first, second);
}

fn network_of(engine: &CandleEngine) -> Network {
    Network { input: engine.input, classes: 2, layers: Vec::new(), initialisation: Initialisation::UniformFanIn }
}

#[test]
fn inputs_are_read_channels_first() {
    // The weights select the second channel's values in the flattened order.
    let layers = vec![Layer::Flatten, Layer::Linear { input: 4, output: 2 }];
    let mut engine = engine(layers, ImageShape { channels: 2, height: 1, width: 2 }, 2);
    engine.weights.values_mut().copy_from_slice(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let mut logits = Vec::new();
    engine.logits(&[10.0, 20.0, 30.0, 40.0], &mut logits).unwrap();
    assert_eq!(logits, [30.0, 20.0]);
}

#[test]
fn a_tokens_gradient_is_the_sum_over_its_positions() {
    let layers = vec![
        Layer::Embedding { vocabulary: 3, dimension: 2 },
        Layer::GlobalAveragePool,
        Layer::Flatten,
        Layer::Linear { input: 2, output: 2 },
    ];
    let mut engine = engine(layers, ImageShape { channels: 1, height: 1, width: 4 }, 2);
    let mut vectors = |inputs: [f32; 4]| {
        let mut found = engine.gradients(&inputs, &mut cross_entropy(&[1]), &mut generator(0)).unwrap();
        found.weights.truncate(6);
        found.weights
    };
    let found = vectors([2.0, 0.0, 2.0, 2.0]);
    let (once, thrice) = (&found[..2], &found[4..]);
    assert_eq!(found[2..4], [0.0, 0.0], "a token that does not occur");
    assert!(once.iter().zip(thrice).all(|(once, thrice)| *once != 0.0 && (3.0 * once - thrice).abs() < 1e-6));
}

#[test]
fn invalid_tokens_are_refused() {
    let layers = vec![Layer::Embedding { vocabulary: 3, dimension: 2 }, Layer::GlobalMaxPool];
    let mut engine = engine(layers, ImageShape { channels: 1, height: 1, width: 2 }, 2);
    let mut logits = Vec::new();
    engine.logits(&[0.0, 2.0], &mut logits).unwrap();
    let found = engine.gradients(&[0.0, 2.0], &mut cross_entropy(&[1]), &mut generator(0)).unwrap();
    assert_eq!(found.logits, logits, "this network computes the same in training");
    for other in [3.0, -1.0, 0.5, f32::NAN] {
        let problem = engine.logits(&[0.0, other], &mut logits).unwrap_err();
        assert_eq!(problem.to_string(), format!("invalid token {other}: expected an integer in 0..3"));
    }
}

#[test]
fn a_text_network_learns_and_gives_equal_bytes_twice() {
    let network = word_cnn(20, 8, 2, 0.5).unwrap();
    let tokens = |epoch| -> Vec<f32> { values(16 * 8, epoch).iter().map(|v| (10.0 * (v + 1.0)).floor()).collect() };
    // The label is whether token 0 occurs.
    let inputs = tokens(1);
    let labels: Vec<u32> = inputs.chunks(8).map(|sample| u32::from(sample.contains(&0.0))).collect();
    let train = || {
        let weights = Arc::new(Plan::of(&network)).initial(&mut generator(3));
        let mut engine = CandleEngine::new(&network, weights, SGD, Device::Cpu).unwrap();
        let mut dropout = generator(4);
        let losses: Vec<f64> = (0..12)
            .map(|_| engine.train_step(&inputs, &mut cross_entropy(&labels), 0.1, &mut dropout).unwrap())
            .collect();
        (losses, engine.weights.digest())
    };
    let (losses, digest) = train();
    assert!(losses[11] < losses[0] / 2.0, "{losses:?}");
    assert_eq!(train(), (losses, digest));
}
