//! Compares the engine for GPUs with the fused engine, on the CPU, for every network and every kind of step. The kernels are those of a
//! GPU; the last test also runs over a stand-in for the driver. (`crate::tests` compares the engine with PyTorch, too.)

mod images;
mod losses;
mod precision;
mod steps;

use super::CudaEngine;
use super::memory::memory as device_memory;
use crate::engine::Engine;
use crate::fused::FusedEngine;
use crate::fused::tests as networks;
use crate::testing::{SharedTwin, cross_entropy};
use crate::tests::no_dropout;
use crate::weights::Plan;
use networks::{COLOUR, GREY, batch, distance, samples, weights};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::losses::{Loss, Mae};
use plusminus_core::methods::networks::{Downsample, Layer, Model, Network, word_cnn};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_core::random::{Stream, Streams};
use plusminus_cuda::twin::Twin;
use plusminus_cuda::{Device, Recording};
use plusminus_kernels::Instructions;
use std::num::NonZeroUsize;

/// Plain gradient descent with lr 1: the difference of the weights is the gradient.
const PLAIN: Optimizer = Optimizer::Sgd { lr: 1.0, momentum: 0.0, weight_decay: 0.0, nesterov: false };

const SGD: Optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 5e-4, nesterov: true };

const ADAM: Optimizer = Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-4 };

fn cuda(network: &Network, optimizer: Optimizer) -> CudaEngine {
    CudaEngine::new(network, weights(network), optimizer, Box::new(Twin::new())).unwrap()
}

fn fused(network: &Network, optimizer: Optimizer) -> FusedEngine {
    let threads = NonZeroUsize::new(2).unwrap();
    FusedEngine::new(network, weights(network), optimizer, threads, Instructions::best()).unwrap().unwrap()
}

/// Compares logits, gradients, running statistics and evaluations of both engines on one batch.
fn agree(what: &str, network: &Network, count: usize) {
    network.check().unwrap();
    let (inputs, labels) = batch(network, count);
    let start = weights(network);
    let run = |engine: &mut dyn Engine| {
        let (mut dropout, mut evaluated) = (Streams::new(1, 1).generator(Stream::Dropout, 1), Vec::new());
        engine.logits(&inputs, &mut evaluated).unwrap();
        let mut seen = Vec::new();
        let mut loss = |logits: &[f32], gradient: &mut [f32]| {
            seen = logits.to_vec();
            cross_entropy(&labels)(logits, gradient)
        };
        let loss = engine.train_step(&inputs, &mut loss, 1.0, &mut dropout).unwrap();
        (loss, evaluated, seen, engine.weights().unwrap())
    };
    let found = run(&mut cuda(network, PLAIN));
    let expected = run(&mut fused(network, PLAIN));
    assert!((found.0 - expected.0).abs() < 1e-4 * expected.0, "{what}: {} for {}", found.0, expected.0);
    let apart = [distance(&found.1, &expected.1), distance(&found.2, &expected.2)];
    assert!(apart.iter().all(|apart| *apart < 1e-4), "{what}: logits differ by {apart:?}");
    for entry in Plan::of(network).entries() {
        let of = |values: &[f32]| -> Vec<f32> {
            let pairs = values[entry.range.clone()].iter().zip(&start.values()[entry.range.clone()]);
            pairs.map(|(after, before)| after - before).collect()
        };
        let (found, expected) = (of(found.3.values()), of(expected.3.values()));
        let scale = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let apart = distance(&found, &expected);
        assert!(apart < 1e-2 || scale < 1e-5, "{what}: the gradient of {} differs by {apart}", entry.name);
    }
}

#[test]
fn a_step_of_small_networks_agrees_with_the_fused_engine() {
    agree("cnn", &Model::Cnn { dropout: 0.0 }.network(GREY, 10).unwrap(), 5);
    agree("cnn with dropout", &Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap(), 5);
    for shortcut in [Downsample::Pad, Downsample::Projection] {
        agree("resnet20", &Model::Resnet20 { shortcut }.network(COLOUR, 10).unwrap(), 5);
    }
}

#[test]
fn a_step_of_large_networks_agrees_with_the_fused_engine() {
    agree("resnet18", &Model::Resnet18.network(GREY, 10).unwrap(), 3);
    agree("cnn8", &Model::Cnn8.network(COLOUR, 10).unwrap(), 6);
    let odd = ImageShape { channels: 3, height: 33, width: 33 };
    // At this number of samples no ReLU changes sign by rounding.
    agree("resnet50", &Model::Resnet50.network(odd, 10).unwrap(), 3);
    agree("vgg16-bn", &Model::Vgg16Bn.network(COLOUR, 10).unwrap(), 4);
    agree("wordcnn", &word_cnn(500, 20, 2, 0.5).unwrap(), 5);
}

#[test]
fn a_step_of_deep_networks_agrees_with_the_fused_engine() {
    let small = ImageShape { channels: 3, height: 16, width: 16 };
    for shortcut in [Downsample::Pad, Downsample::Projection] {
        agree("resnet56", &Model::Resnet56 { shortcut }.network(small, 10).unwrap(), 2);
    }
    agree("resnet34", &Model::Resnet34.network(small, 10).unwrap(), 2);
}

#[test]
fn every_kind_of_step_agrees_with_the_fused_engine() {
    agree("every kind of step", &networks::everything(), 5);
    for (what, network, count) in networks::layers_that_no_network_has() {
        agree(what, &network, count);
    }
    for (what, network) in networks::blocks_of_any_form() {
        agree(what, &network, 5);
    }
    for (what, network) in networks::layers_side_by_side() {
        agree(what, &network, 5);
    }
}

/// Trains on whole and partial batches, often enough that both are recorded.
fn trained(engine: &mut dyn Engine, network: &Network, epochs: std::ops::Range<u64>) -> Vec<f64> {
    let (inputs, labels) = batch(network, 7);
    let mut losses = Vec::new();
    for epoch in epochs {
        let mut dropout = Streams::new(1, 1).generator(Stream::Dropout, epoch);
        for part in [0..5, 5..7] {
            let inputs = &inputs[part.start * network.input.len()..part.end * network.input.len()];
            // Small, because batch norm over two samples amplifies rounding errors.
            let lr = 0.005 / (1.0 + epoch as f64);
            losses.push(engine.train_step(inputs, &mut cross_entropy(&labels[part]), lr, &mut dropout).unwrap());
        }
        let mut logits = Vec::new();
        engine.logits(&inputs, &mut logits).unwrap();
        losses.extend(logits.iter().map(|logit| f64::from(*logit)));
    }
    losses
}

#[test]
fn ten_steps_with_every_optimiser_agree_with_the_fused_engine() {
    let both = || [networks::everything(), word_cnn(500, 20, 2, 0.5).unwrap()];
    for (network, optimizer) in [PLAIN, SGD, ADAM].iter().flat_map(|o| both().map(|network| (network, o.clone()))) {
        let mut engines = (cuda(&network, optimizer.clone()), fused(&network, optimizer.clone()));
        let found = trained(&mut engines.0, &network, 0..5);
        let expected = trained(&mut engines.1, &network, 0..5);
        // Adam's first steps have the same length for every gradient, so the rounding error of a tiny gradient changes its weight.
        let allowed = if optimizer == ADAM { 0.05 } else { 2e-3 };
        let norm = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
        let apart = found.iter().zip(&expected).map(|(f, e)| (f - e).powi(2)).sum::<f64>().sqrt() / norm;
        assert!(apart < allowed, "{optimizer:?}: losses and logits differ by {apart}");
    }
}

#[test]
fn a_replayed_step_gives_the_bytes_of_a_launched_one() {
    let network = networks::everything();
    let run = |refuses: bool| {
        let shared = SharedTwin::default();
        shared.lock().refuses_to_record = refuses;
        let mut engine = CudaEngine::new(&network, weights(&network), SGD, Box::new(shared)).unwrap();
        let losses = trained(&mut engine, &network, 0..4);
        assert_eq!(engine.recordings.failures > 0, refuses);
        let parts = "two parts of a step and the evaluation, for two sizes of batch";
        assert_eq!(engine.recordings.parts.len(), if refuses { 0 } else { 6 }, "{parts}");
        (losses, engine.checkpoint().unwrap())
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn an_engine_resumed_from_a_checkpoint_gives_the_same_bytes() {
    let network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    for optimizer in [PLAIN, SGD, ADAM] {
        let (mut whole, mut resumed) = (cuda(&network, optimizer.clone()), cuda(&network, optimizer.clone()));
        trained(&mut whole, &network, 0..3);
        resumed.restore(whole.checkpoint().unwrap()).unwrap();
        assert_eq!(trained(&mut whole, &network, 3..5), trained(&mut resumed, &network, 3..5));
        assert_eq!(whole.checkpoint().unwrap(), resumed.checkpoint().unwrap(), "{optimizer:?}");
        // Checkpoints do not depend on an engine's layout of weights.
        let mut other = fused(&network, optimizer.clone());
        other.restore(whole.checkpoint().unwrap()).unwrap();
        assert_eq!(other.checkpoint().unwrap(), whole.checkpoint().unwrap());
    }
}

#[test]
fn a_checkpoint_of_another_network_or_optimiser_is_refused() {
    let network = |model: Model| model.network(COLOUR, 10).unwrap();
    let (cnn, other) = (network(Model::Cnn { dropout: 0.0 }), network(Model::Cnn8));
    let mut engine = cuda(&cnn, SGD);
    let refused = engine.restore(cuda(&other, SGD).checkpoint().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("another network"), "{refused}");
    let refused = engine.restore(cuda(&cnn, ADAM).checkpoint().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("another optimiser"), "{refused}");
}

#[test]
fn the_estimate_equals_the_memory_of_an_engine() {
    let projection = Model::Resnet20 { shortcut: Downsample::Projection }.network(COLOUR, 10).unwrap();
    let words = word_cnn(500, 20, 2, 0.5).unwrap();
    let cnn = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    for network in [networks::everything(), cnn, projection, words] {
        let precisions =
            [(PLAIN, Precision::F32), (SGD, Precision::F32), (ADAM, Precision::Tf32), (SGD, Precision::Bf16)];
        for (optimizer, precision) in precisions {
            let shared = SharedTwin::default();
            let device = Box::new(shared.clone());
            let mut engine = CudaEngine::new(&network, weights(&network), optimizer.clone(), device).unwrap();
            engine = engine.in_precision(precision);
            let (inputs, labels) = batch(&network, 3);
            // A larger batch frees the memory of a smaller one.
            for count in [1, 3] {
                let inputs = &inputs[..count * network.input.len()];
                engine.train_step(inputs, &mut cross_entropy(&labels[..count]), 0.1, &mut no_dropout()).unwrap();
            }
            assert_eq!(Some(shared.lock().bytes()), device_memory(&network, &optimizer, 3, precision));
        }
    }
}

#[test]
fn an_unsupported_network_is_refused_with_a_remedy() {
    let mut network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    network.layers.insert(0, Layer::Tanh);
    let refused = CudaEngine::new(&network, weights(&network), SGD, Box::new(Twin::new())).map(|_| ()).unwrap_err();
    let expected = "no engine supports this network on a GPU (layer 0 cannot read the network's input): train it with `--device cpu`";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(device_memory(&network, &SGD, 3, Precision::F32), None);
}

#[test]
fn a_fraction_of_a_sample_is_refused() {
    let network = Model::Cnn { dropout: 0.5 }.network(GREY, 10).unwrap();
    let mut engine = cuda(&network, SGD);
    for count in [0, 783] {
        let error = engine.train_step(&vec![0.0; count], &mut cross_entropy(&[]), 0.1, &mut no_dropout()).unwrap_err();
        assert_eq!(error.to_string(), format!("{count} input values are not a whole number of samples of 784 values"));
    }
}

#[test]
fn any_loss_can_be_computed_on_the_host() {
    let network = Model::Cnn { dropout: 0.0 }.network(GREY, 10).unwrap();
    let (inputs, labels) = samples(network.input, 4);
    let run = |engine: &mut dyn Engine| {
        let mut mae =
            |logits: &[f32], gradient: &mut [f32]| Loss::Mae(Mae {}).value_and_gradient(logits, 10, &labels, gradient);
        engine.train_step(&inputs, &mut mae, 0.1, &mut no_dropout()).unwrap();
        engine.weights().unwrap()
    };
    let (found, expected) = (run(&mut cuda(&network, PLAIN)), run(&mut fused(&network, PLAIN)));
    assert!(distance(found.values(), expected.values()) < 1e-6);
}

/// Runs over a stand-in for the driver: recorded and replayed steps, batches of two sizes, checkpoints.
#[cfg(target_os = "linux")]
#[test]
fn through_the_drivers_calls_two_slots_give_the_twins_bytes() {
    use plusminus_cuda::{Gpu, Monitor};
    let name = "cuda::tests::through_the_drivers_calls_two_slots_give_the_twins_bytes";
    plusminus_stand_in::test(name, &[], || {
        let network = networks::everything();
        let run = |optimizer: &Optimizer, device: Box<dyn Device>| {
            let mut engine = CudaEngine::new(&network, weights(&network), optimizer.clone(), device).unwrap();
            let losses = trained(&mut engine, &network, 0..3);
            assert_eq!(
                engine.recordings.parts.len(),
                6,
                "two parts of a step and the evaluation, for two sizes of batch"
            );
            let found = (losses, engine.checkpoint().unwrap());
            (found, engine)
        };
        let monitor = Monitor::open().unwrap();
        let uuid = &plusminus_cuda::survey().unwrap().unwrap().gpus[0].uuid;
        let used = || monitor.read(uuid).unwrap().memory_used as usize;
        for optimizer in [SGD, ADAM] {
            let twin = SharedTwin::default();
            let (expected, _engine) = run(&optimizer, Box::new(twin.clone()));
            let slot = || run(&optimizer, Box::new(Gpu::open(0, None).unwrap()));
            let slots =
                std::thread::scope(|scope| [scope.spawn(slot), scope.spawn(slot)].map(|slot| slot.join().unwrap()));
            assert_eq!(used(), 2 * twin.lock().bytes(), "{optimizer:?}");
            assert!(slots.iter().all(|(found, _)| *found == expected), "{optimizer:?}");
            // For the largest batch.
            assert_eq!(device_memory(&network, &optimizer, 5, Precision::F32), Some(used() / 2));
        }
        assert_eq!(used(), 0);
    });
}
