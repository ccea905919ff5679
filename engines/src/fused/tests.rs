//! Compares the fused engine with candle, on every network and on combinations of layers that no network has.

mod networks;

use super::FusedEngine;
use crate::candle::CandleEngine;
use crate::engine::{Engine, Gradients};
use crate::factory::new_engine;
use crate::options::{EngineKind, ExecutionOptions};
use crate::testing::cross_entropy;
use crate::tests::{Peer, no_dropout};
use crate::weights::{Plan, Weights};
use networks::{SMALL, classifier, convolution, convolution_of, linear, residual};
pub(crate) use networks::{blocks_of_any_form, everything, layers_side_by_side, layers_that_no_network_has, network};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{Downsample, Kernel, Layer, Model, Network, Shortcut, word_cnn};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_core::random::{Stream, Streams};
use plusminus_kernels::Instructions;
use rand::RngExt;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub(crate) const GREY: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
pub(crate) const COLOUR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const SGD: Optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 5e-4, nesterov: false };

/// Weights without special values: those of batch norm differ from the identity, too.
pub(crate) fn weights(network: &Network) -> Weights {
    let plan = Arc::new(Plan::of(network));
    let mut generator = Streams::new(7, 7).generator(Stream::Weights, 0);
    let mut weights = plan.initial(&mut generator);
    for value in weights.values_mut() {
        *value += if *value == 1.0 || *value == 0.0 { 0.2 * generator.random::<f32>() } else { 0.0 };
    }
    weights
}

pub(crate) fn samples(shape: ImageShape, count: usize) -> (Vec<f32>, Vec<u32>) {
    let mut generator = Streams::new(3, 3).generator(Stream::Order, 0);
    let inputs = (0..shape.len() * count).map(|_| 2.0 * generator.random::<f32>() - 1.0).collect();
    (inputs, (0..count as u32).map(|i| (3 * i + 1) % 10).collect())
}

/// Samples for a network: images, or sentences in which one token is frequent.
pub(crate) fn batch(network: &Network, count: usize) -> (Vec<f32>, Vec<u32>) {
    let (mut inputs, labels) = samples(network.input, count);
    if let Some(Layer::Embedding { vocabulary, .. }) = network.layers.first() {
        let token = |value: f32| (value.max(0.0) * *vocabulary as f32).floor();
        inputs.iter_mut().for_each(|value| *value = token(*value));
    }
    (inputs, labels.into_iter().map(|label| label % network.classes as u32).collect())
}

fn fused(network: &Network, threads: usize, instructions: Instructions) -> FusedEngine {
    let threads = NonZeroUsize::new(threads).unwrap();
    FusedEngine::new(network, weights(network), SGD, threads, instructions).unwrap().unwrap()
}

fn candle(network: &Network) -> CandleEngine {
    CandleEngine::new(network, weights(network), SGD, candle_core::Device::Cpu).unwrap()
}

/// |found − expected|/|expected|, as vectors.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    apart / norm(&mut expected.iter().map(|e| f64::from(*e))).max(1e-6)
}

/// Compares logits, gradients, running statistics and evaluations of both engines on one batch.
fn agree(what: &str, network: &Network, count: usize) {
    network.check().unwrap();
    let (inputs, labels) = batch(network, count);
    let mut engines = (fused(network, 1, Instructions::best()), candle(network));
    let dropout = || Streams::new(1, 1).generator(Stream::Dropout, 1);
    let found: Gradients = engines.0.gradients(&inputs, &mut cross_entropy(&labels), &mut dropout()).unwrap();
    let expected = engines.1.gradients(&inputs, &mut cross_entropy(&labels), &mut dropout()).unwrap();
    assert!((found.loss - expected.loss).abs() < 1e-4 * expected.loss, "{what}: {} for {}", found.loss, expected.loss);
    let apart = distance(&found.logits, &expected.logits);
    assert!(apart < 1e-4, "{what}: logits differ by {apart}");
    let plan = Plan::of(network);
    for entry in plan.entries().iter().filter(|entry| entry.role.is_trained()) {
        let (found, expected) = (&found.weights[entry.range.clone()], &expected.weights[entry.range.clone()]);
        // The gradient of a bias before batch norm is zero up to rounding.
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
    agree("cnn8", &Model::Cnn8.network(COLOUR, 10).unwrap(), 6);
    // At this extent and number of samples no ReLU changes sign by rounding.
    let odd = ImageShape { channels: 3, height: 33, width: 33 };
    agree("resnet50", &Model::Resnet50.network(odd, 10).unwrap(), 5);
    agree("vgg16-bn", &Model::Vgg16Bn.network(COLOUR, 10).unwrap(), 4);
    agree("wordcnn", &word_cnn(500, 20, 2, 0.5).unwrap(), 5);
}

impl Peer for FusedEngine {
    fn differentiate(&mut self, inputs: &[f32], labels: &[u32]) -> Gradients {
        self.gradients(inputs, &mut cross_entropy(labels), &mut no_dropout()).unwrap()
    }
}

#[test]
fn layers_that_no_network_has_agree_with_candle() {
    agree("every kind of step", &everything(), 5);
    for (what, network, count) in layers_that_no_network_has() {
        agree(what, &network, count);
    }
}

#[test]
fn text_networks_and_branches_agree_with_candle() {
    for (what, network) in layers_side_by_side() {
        agree(what, &network, 5);
    }
}

#[test]
fn blocks_of_any_form_agree_with_candle() {
    for (what, network) in blocks_of_any_form() {
        agree(what, &network, 5);
    }
}

#[test]
fn convolutions_of_every_geometry_agree_with_candle() {
    let image = ImageShape { channels: 3, height: 8, width: 11 };
    for kernel in [1, 2, 3, 4, 5, 7] {
        for (stride, padding) in (1..=3).flat_map(|stride| (0..=3).map(move |padding| (stride, padding))) {
            let tested = convolution_of(Kernel::Square(kernel), [20, 33], stride, padding, padding % 2 == 0);
            let layers = [convolution(3, 20, 3, 1, 1), Layer::Relu, tested].into_iter().chain(classifier(33));
            agree(&format!("{kernel}×{kernel}, stride {stride}, padding {padding}"), &network(image, layers), 3);
        }
    }
}

/// Layers in unsupported positions, which only candle runs.
#[test]
fn unsupported_networks_are_refused() {
    let stem = || [convolution(3, 16, 3, 1, 1), Layer::BatchNorm(16), Layer::Relu];
    let before = vec![Layer::BatchNorm(16), Layer::Relu, convolution(16, 16, 3, 1, 1)];
    let pooled = [Layer::MaxPool { kernel: 2, stride: 2, padding: 0 }, Layer::BatchNorm(16)];
    let after_flattening = [Layer::Flatten, residual(vec![linear(16 * 19 * 23, 16 * 19 * 23)])];
    let flat_beside = || Layer::Branches(vec![vec![Layer::Flatten], vec![Layer::GlobalMaxPool]]);
    let norm = "normalises a value that is not the output of a convolution or linear layer";
    for (layers, why) in [
        (stem().into_iter().chain([residual(before)]).collect::<Vec<Layer>>(), norm),
        (stem().into_iter().chain(pooled).collect(), norm),
        (stem().into_iter().chain([Layer::BatchNorm(16)]).collect(), norm),
        ([Layer::BatchNorm(3)].into_iter().chain(stem()).collect(), "cannot read the network's input"),
        ([Layer::Relu].into_iter().chain(stem()).collect(), "cannot read the network's input"),
        (stem().into_iter().chain([Layer::Branches(vec![vec![], vec![]])]).collect(), "joins a value with itself"),
        (stem().into_iter().chain([flat_beside()]).collect(), "joins a flattened image as channels"),
        ([Layer::Tanh].into_iter().chain(stem()).collect(), "cannot read the network's input"),
        ([Layer::Branches(vec![vec![]])].into_iter().chain(stem()).collect(), "cannot read the network's input"),
        (stem().into_iter().chain(after_flattening).collect(), "reads a flattened image as channels"),
    ] {
        let network = network(SMALL, layers.into_iter().chain(classifier(16)));
        let plan = Arc::new(Plan::of(&network));
        let weights = plan.initial(&mut no_dropout());
        let made = FusedEngine::new(&network, weights, SGD, NonZeroUsize::MIN, Instructions::best()).unwrap();
        let Err(unsupported) = made else { panic!("{:?}", network.layers) };
        assert!(unsupported.to_string().contains(why), "{unsupported}");
    }
    let logits = [convolution(3, 1, 1, 1, 0), Layer::Flatten];
    let network = network(ImageShape { channels: 3, height: 1, width: 10 }, logits);
    network.check().unwrap();
    let weights = weights(&network);
    let made = FusedEngine::new(&network, weights, SGD, NonZeroUsize::MIN, Instructions::best()).unwrap();
    assert!(made.is_err(), "logits that are a flattened image");
}

/// Weights and logits after steps on a whole batch and a partial one.
fn trained(network: &Network, threads: usize, instructions: Instructions) -> (Vec<u32>, Vec<u32>) {
    let mut engine = fused(network, threads, instructions);
    let mut logits = Vec::new();
    two_steps(&mut engine, network, &mut logits);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (bits(engine.weights().unwrap().values()), bits(&logits))
}

fn two_steps(engine: &mut dyn Engine, network: &Network, logits: &mut Vec<f32>) {
    let (inputs, labels) = batch(network, 7);
    let mut dropout = Streams::new(1, 1).generator(Stream::Dropout, 1);
    for part in [0..5, 5..7] {
        let inputs = &inputs[part.start * network.input.len()..part.end * network.input.len()];
        engine.train_step(inputs, &mut cross_entropy(&labels[part]), 0.05, &mut dropout).unwrap();
    }
    engine.logits(&inputs, logits).unwrap();
}

#[test]
fn a_partial_batch_after_a_whole_one_agrees_with_candle() {
    let network = everything();
    let mut engines = (fused(&network, 1, Instructions::best()), candle(&network));
    let mut logits = (Vec::new(), Vec::new());
    two_steps(&mut engines.0, &network, &mut logits.0);
    two_steps(&mut engines.1, &network, &mut logits.1);
    let apart = distance(engines.0.weights().unwrap().values(), engines.1.weights().unwrap().values());
    assert!(apart < 1e-4, "weights differ by {apart}");
    let apart = distance(&logits.0, &logits.1);
    assert!(apart < 1e-3, "logits differ by {apart}");
}

#[test]
fn invalid_tokens_are_refused() {
    let mut engine = fused(&word_cnn(500, 20, 2, 0.5).unwrap(), 1, Instructions::best());
    for other in [500.0, -1.0, 0.5, f32::NAN] {
        let problem = engine.logits(&[[0.0; 19].as_slice(), &[other]].concat(), &mut Vec::new()).unwrap_err();
        assert_eq!(problem.to_string(), format!("invalid token {other}: expected an integer in 0..500"));
    }
}

#[test]
fn the_previous_contents_of_buffers_have_no_effect() {
    let network = everything();
    let (inputs, labels) = samples(network.input, 7);
    let few = &inputs[..3 * network.input.len()];
    let mut fresh = fused(&network, 1, Instructions::best());
    let mut used = fused(&network, 1, Instructions::best());
    let before = used.weights().unwrap();
    used.gradients(&inputs, &mut cross_entropy(&labels), &mut no_dropout()).unwrap();
    used.weights = before;
    let [fresh, used] = [&mut fresh, &mut used]
        .map(|engine| engine.gradients(few, &mut cross_entropy(&labels[..3]), &mut no_dropout()).unwrap());
    assert_eq!(fresh.logits, used.logits);
    assert_eq!(fresh.weights, used.weights);
}

#[test]
fn a_samples_logits_do_not_depend_on_other_samples() {
    let network = everything();
    let (inputs, labels) = samples(network.input, 11);
    let length = network.input.len();
    for room in [1, 3, 11] {
        let mut engine = fused(&network, 1, Instructions::best());
        engine
            .train_step(&inputs[..room * length], &mut cross_entropy(&labels[..room]), 0.0, &mut no_dropout())
            .unwrap();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        engine.logits(&inputs, &mut together).unwrap();
        for (sample, expected) in inputs.chunks(length).zip(together.chunks(10)) {
            engine.logits(sample, &mut alone).unwrap();
            assert_eq!(alone, expected, "after batches of {room}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let resnet20 = Model::Resnet20 { shortcut: Downsample::Projection }.network(GREY, 10).unwrap();
    for network in [everything(), resnet20, word_cnn(500, 20, 2, 0.5).unwrap()] {
        let one = trained(&network, 1, Instructions::best());
        for threads in [2, 3] {
            assert!(trained(&network, threads, Instructions::best()) == one, "{threads} threads");
        }
    }
}

#[test]
fn all_instructions_give_the_same_bytes() {
    for network in [everything(), word_cnn(500, 20, 2, 0.5).unwrap()] {
        let best = trained(&network, 1, Instructions::best());
        for instructions in Instructions::all() {
            assert!(trained(&network, 1, instructions) == best, "{}", instructions.name());
        }
    }
}

#[test]
fn an_engine_resumed_from_a_checkpoint_gives_the_same_bytes() {
    let network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    let (inputs, labels) = samples(network.input, 6);
    let adam = Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-4 };
    let plain = Optimizer::Sgd { lr: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    for kind in EngineKind::ALL {
        for optimizer in [SGD, adam.clone(), plain.clone()] {
            let options = ExecutionOptions { engine: Some(*kind), ..ExecutionOptions::default() };
            let new = || new_engine(options, Precision::F32, &network, weights(&network), &optimizer).unwrap();
            let steps = |engine: &mut Box<dyn Engine>, epoch| {
                let mut dropout = Streams::new(1, 1).generator(Stream::Dropout, epoch);
                for _ in 0..3 {
                    engine.train_step(&inputs, &mut cross_entropy(&labels), 0.05, &mut dropout).unwrap();
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
fn engines_with_other_instructions_have_the_same_reproducibility_key() {
    let network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    for instructions in Instructions::all() {
        let made = FusedEngine::new(&network, weights(&network), SGD, NonZeroUsize::MIN, instructions);
        let engine = made.unwrap().unwrap();
        assert_eq!(engine.name(), format!("{} {}", engine.reproducibility_key(), instructions.name()));
        assert_eq!(engine.reproducibility_key(), concat!("fused ", env!("CARGO_PKG_VERSION"), " cpu"));
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

/// A valid network is either supported or refused. Only convolutions and linear layers read an input whose channels are not padded, and the
/// gradient of a sum of a value with itself cannot share a buffer.
#[test]
fn layers_on_the_input_and_sums_of_one_value_never_panic() {
    use Layer::{Dropout, Flatten, GlobalMaxPool, MaxPool, Relu};
    let padded = Shortcut::Pad { stride: 2, channels: 16 };
    let twice = || [convolution(3, 16, 3, 1, 1), residual(Vec::new())].into_iter();
    let networks = [
        ("a pool", network(SMALL, [MaxPool { kernel: 2, stride: 2, padding: 0 }].into_iter().chain(classifier(3)))),
        ("the maximum", network(SMALL, [GlobalMaxPool, Flatten, linear(3, 10)])),
        ("the mean", network(SMALL, classifier(3))),
        ("dropout", network(SMALL, [Dropout(0.5), Flatten, linear(SMALL.len(), 10)])),
        ("dropout on a vector", network(SMALL, [Flatten, Dropout(0.5), linear(SMALL.len(), 10)])),
        ("a block", network(SMALL, [residual(vec![convolution(3, 3, 3, 1, 1)])].into_iter().chain(classifier(3)))),
        (
            "a padded block",
            network(
                SMALL,
                [Layer::Residual { body: vec![convolution(3, 16, 3, 2, 1)], shortcut: padded }]
                    .into_iter()
                    .chain(classifier(16)),
            ),
        ),
        ("nothing", network(ImageShape { channels: 10, height: 1, width: 1 }, [Flatten])),
        ("twice a value", network(SMALL, twice().chain(classifier(16)))),
        ("twice a value, rectified", network(SMALL, twice().chain([Relu]).chain(classifier(16)))),
    ];
    for (what, network) in networks {
        network.check().unwrap();
        let weights = weights(&network);
        let made = FusedEngine::new(&network, weights, SGD, NonZeroUsize::MIN, Instructions::best()).unwrap();
        if made.is_ok() {
            agree(what, &network, 5);
        }
    }
}
