//! Whole steps on the device beside those that come back to the host: the same inputs and masks to the last bit, and the same weights.

use super::super::step::Piece;
use super::images::{Images, Normalization, PixelInputs};
use super::*;
use crate::fused::steps::draw;
use crate::{self as engine, Batch, BatchInputs, DeviceEngine, ImageTransform, Samples, StepLoss};
use plusminus_core::methods::augment::Augment;
use plusminus_core::methods::losses::{Cce, DeviceLoss, Gce, Lccn, Setting, Step};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const TRAIN: usize = 13;

fn generator(stream: Stream, epoch: u64) -> ChaCha8Rng {
    Streams::new(2, 2).generator(stream, epoch)
}

/// An engine on a device of its own that holds these images.
fn holding(network: &Network, optimizer: Optimizer, images: &Images, inputs: &PixelInputs) -> (CudaEngine, SharedTwin) {
    let shared = SharedTwin::default();
    let mut engine = CudaEngine::new(network, weights(network), optimizer, Box::new(shared.clone())).unwrap();
    assert!(engine.hold_samples(&inputs.samples(&[images])).unwrap());
    (engine, shared)
}

/// What the first step of the network reads, channels × height × width a sample.
fn entered(engine: &mut CudaEngine, samples: usize) -> Vec<f32> {
    let (scene, device) = engine.scene(samples).unwrap();
    let (memory, shape) = (scene.values(0), scene.shape(0));
    let mut values = vec![0.0; memory.len()];
    device.download(memory, &mut values).unwrap();
    let sample = |values: &[f32]| -> Vec<f32> {
        (0..shape.channels).flat_map(|c| values.iter().skip(c).step_by(shape.channels).copied()).collect()
    };
    values.chunks_exact(shape.len()).flat_map(sample).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn inputs_made_on_the_device_are_the_hosts_to_the_last_bit() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let crops = [
        vec![],
        vec![Augment::Flip],
        vec![Augment::Crop(2), Augment::Flip],
        vec![Augment::Flip, Augment::Crop(1), Augment::Flip, Augment::Crop(5)],
    ];
    for normalization in [Normalization::Unit, Normalization::Channel, Normalization::PixelMean] {
        let inputs = PixelInputs::new(network.input, normalization);
        let (mut engine, _) = holding(&network, SGD, &images, &inputs);
        for augment in &crops {
            let mut generators = (generator(Stream::Augmentation, 1), generator(Stream::Augmentation, 1));
            for samples in [&[12, 0, 5, 7][..], &[3], &[1, 2, 4, 6, 8]] {
                let expected = inputs.gather(&images, samples, augment, &mut generators.0);
                let transforms = inputs.transforms(samples.len(), augment, &mut generators.1);
                let batch = Batch { samples, inputs: BatchInputs::Held(&transforms) };
                let labels: Vec<u32> = samples.iter().map(|sample| images.labels[*sample]).collect();
                let loss = &mut cross_entropy(&labels);
                engine.step_of(batch, StepLoss::Host(loss), 0.0, &mut no_dropout()).unwrap();
                let found = entered(&mut engine, samples.len());
                assert_eq!(bits(&found), bits(&expected), "{normalization:?}, {augment:?}, {samples:?}");
            }
            assert_eq!(generators.0, generators.1, "{augment:?}");
        }
    }
}

#[test]
fn several_parts_are_one_after_another_and_tokens_are_taken_as_they_are() {
    let network = networks::everything();
    let (first, second) = (Images::random(network.input, TRAIN), Images::random(network.input, 3));
    let inputs = PixelInputs::new(network.input, Normalization::Unit);
    let mut engine = cuda(&network, SGD);
    assert!(engine.hold_samples(&inputs.samples(&[&first, &second])).unwrap());
    let (mut held, mut given) = (Vec::new(), Vec::new());
    engine.held_logits(&[TRAIN + 2, TRAIN, 4], &mut held).unwrap();
    let of = |images, samples| inputs.gather(images, samples, &[], &mut no_dropout());
    let whole = [of(&second, &[2, 0][..]), of(&first, &[4])].concat();
    engine.logits(&whole, &mut given).unwrap();
    assert_eq!(bits(&held), bits(&given));
    // A network of numbers takes tokens as well as pixels.
    let tokens: Vec<u32> = (0..2 * network.input.len() as u32).collect();
    assert!(
        engine
            .hold_samples(&Samples::Tokens {
                parts: vec![&tokens[..network.input.len()], &tokens[network.input.len()..]]
            })
            .unwrap()
    );
    engine.held_logits(&[1], &mut held).unwrap();
    let shape = network.input;
    let expected: Vec<f32> = tokens[shape.len()..].iter().map(|token| *token as f32).collect();
    // Read as pixels with their channels together: as they lie.
    let (scene, device) = engine.scene(1).unwrap();
    let mut found = vec![0.0; shape.len()];
    device.download(scene.values(0), &mut found).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn masks_made_on_the_device_are_the_hosts_to_the_last_bit_step_after_step() {
    let network = networks::everything();
    let mut engine = cuda(&network, SGD);
    let mut generators = (generator(Stream::Dropout, 3), generator(Stream::Dropout, 3));
    // Numbers that leave the stream in the middle of its blocks.
    for count in [3, 1, 5, 5, 5, 2] {
        let (inputs, labels) = samples(network.input, count);
        engine.train_step(&inputs, &mut cross_entropy(&labels), 0.0, &mut generators.0).unwrap();
        let places: Vec<_> = (engine.room.as_ref().unwrap().masks.iter().flatten()).copied().collect();
        let dropouts = engine.program.steps.iter().filter_map(|step| match step {
            engine::fused::program::Step::Dropout { share, output, .. } => Some((*share, *output)),
            _ => None,
        });
        let dropouts: Vec<_> = dropouts.collect();
        assert_eq!(dropouts.len(), 2);
        for ((share, output), memory) in dropouts.into_iter().zip(places) {
            let shape = engine.program.values[output].shape;
            let mut expected = vec![0.0; count * shape.len()];
            draw(&mut expected, shape, share, &mut generators.1);
            let mut found = vec![f32::NAN; expected.len()];
            engine.device.download(memory.part(0, found.len()), &mut found).unwrap();
            assert_eq!(bits(&found), bits(&expected));
        }
        assert_eq!(generators.0, generators.1, "the host's generator stands where it would");
    }
}

/// How an engine is asked to take its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Inputs and loss from the host.
    Host,
    /// The loss alone from there.
    HostLoss,
    /// The inputs alone.
    HostInputs,
    Device,
}

/// Four epochs of three batches, the last one smaller; losses, weights and what the loss has learned.
fn trained_by(way: Way, loss: &Loss, refuses: bool) -> (Vec<f64>, engine::Checkpoint, Vec<u8>) {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::Channel);
    let (mut engine, shared) = holding(&network, SGD, &images, &inputs);
    shared.lock().refuses_to_record = refuses;
    let setting = Setting { classes: 10, given: &images.labels, transition: None };
    let mut criterion = loss.criterion(setting).unwrap();
    let augment = [Augment::Crop(1), Augment::Flip];
    let order: Vec<usize> = (0..TRAIN).map(|i| i * 5 % TRAIN).collect();
    let mut losses = Vec::new();
    for epoch in 0..4 {
        let [mut dropout, mut latent, mut augmentation] =
            [Stream::Dropout, Stream::Latent, Stream::Augmentation].map(|stream| generator(stream, epoch));
        let known = matches!(way, Way::Device | Way::HostInputs);
        if known {
            engine.set_loss(&criterion.on_device().unwrap(), &images.labels).unwrap();
        }
        for samples in order.chunks(5) {
            let labels: Vec<u32> = samples.iter().map(|sample| images.labels[*sample]).collect();
            let mut of_logits = |logits: &[f32], gradient: &mut [f32]| {
                criterion.step(Step { logits, labels: &labels, samples, generator: &mut latent }, gradient)
            };
            let (transforms, batch): (Vec<ImageTransform>, Vec<f32>);
            let inputs = if matches!(way, Way::Host | Way::HostInputs) {
                batch = inputs.gather(&images, samples, &augment, &mut augmentation);
                BatchInputs::Host(&batch)
            } else {
                transforms = inputs.transforms(samples.len(), &augment, &mut augmentation);
                BatchInputs::Held(&transforms)
            };
            let lr = 0.005 / (1.0 + epoch as f64);
            let loss = match (way, inputs) {
                (Way::Host, BatchInputs::Host(inputs)) => {
                    Some(engine.train_step(inputs, &mut of_logits, lr, &mut dropout).unwrap())
                }
                _ if known => {
                    let loss = StepLoss::Device(&mut latent);
                    engine.step(Batch { samples, inputs }, loss, lr, &mut dropout).unwrap()
                }
                _ => {
                    let loss = StepLoss::Host(&mut of_logits);
                    engine.step(Batch { samples, inputs }, loss, lr, &mut dropout).unwrap()
                }
            };
            losses.extend(loss);
        }
        if known {
            losses.extend(engine.take_losses().unwrap());
            engine.learned().unwrap().into_iter().for_each(|learned| criterion.learned(learned).unwrap());
        }
        assert_eq!(losses.len() as u64, 3 * (epoch + 1));
    }
    assert_eq!(engine.recorded.failures > 0, refuses);
    let whole = |(piece, ..): &&(Piece, usize, Recording)| matches!(piece, Piece::Whole(_));
    let expected = if refuses || matches!(way, Way::Host | Way::HostLoss) { 0 } else { 2 };
    assert_eq!(engine.recorded.pieces.iter().filter(whole).count(), expected, "whole steps, of two kinds of batch");
    (losses, engine.checkpoint().unwrap(), criterion.state())
}

const LCCN: Lccn = Lccn { alpha: 1.0, refresh: 2, warm_up: 4 };

#[test]
fn a_step_with_inputs_from_the_device_gives_the_bytes_of_one_with_the_hosts() {
    let loss = Loss::Gce(Gce { q: 0.7 });
    assert_eq!(trained_by(Way::Host, &loss, false), trained_by(Way::HostLoss, &loss, false));
    assert_eq!(trained_by(Way::HostInputs, &loss, false), trained_by(Way::Device, &loss, false));
}

#[test]
fn a_whole_step_goes_where_one_by_halves_goes() {
    for loss in [Loss::Cce(Cce {}), Loss::Lccn(LCCN)] {
        let (found, expected) = (trained_by(Way::Device, &loss, false), trained_by(Way::Host, &loss, false));
        for (found, expected) in found.0.iter().zip(&expected.0) {
            assert!((found - expected).abs() < 1e-5 * expected.abs(), "{loss:?}: {found} for {expected}");
        }
        let apart = distance(found.1.weights.values(), expected.1.weights.values());
        assert!(apart < 1e-6, "{loss:?}: weights differ by {apart}");
        // T apart, of which the last digit of a logarithm is not a device's.
        assert_eq!(found.2.len(), expected.2.len());
    }
}

#[test]
fn a_whole_step_that_is_played_gives_the_bytes_of_one_that_is_launched() {
    let loss = Loss::Lccn(LCCN);
    assert_eq!(trained_by(Way::Device, &loss, false), trained_by(Way::Device, &loss, true));
}

#[test]
fn a_step_that_is_played_costs_the_host_a_few_kilobytes_and_no_loss_is_waited_for() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::Unit);
    let (mut engine, shared) = holding(&network, SGD, &images, &inputs);
    engine.set_loss(&DeviceLoss::Squares, &images.labels).unwrap();
    let mut written = Vec::new();
    let mut steps = |engine: &mut CudaEngine, count: usize| {
        for step in 0..count {
            let before = shared.lock().written;
            let transforms = inputs.transforms(5, &[Augment::Flip], &mut generator(Stream::Augmentation, step as u64));
            let batch = Batch { samples: &[0, 3, 1, 2, 8], inputs: BatchInputs::Held(&transforms) };
            let loss = StepLoss::Device(&mut no_dropout());
            assert_eq!(engine.step(batch, loss, 0.01, &mut no_dropout()).unwrap(), None);
            written.push(shared.lock().written - before);
        }
    };
    // More than the device has room for losses of.
    steps(&mut engine, 34);
    assert_eq!(engine.take_losses().unwrap().len(), 34);
    assert!(engine.take_losses().unwrap().is_empty(), "each is told once");
    steps(&mut engine, 3);
    assert_eq!(engine.take_losses().unwrap().len(), 3);
    assert!(written[1..].iter().all(|bytes| *bytes == 4 * (22 + 9 * 5)), "{written:?}");
}

#[test]
fn what_a_device_holds_and_knows_is_told_before_it_is_taken() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::PixelMean);
    let (mut engine, shared) = holding(&network, ADAM, &images, &inputs);
    engine.set_loss(&DeviceLoss::Squares, &images.labels).unwrap();
    let batch = Batch { samples: &[0, 3, 1, 2, 8], inputs: BatchInputs::Held(&[]) };
    engine.step(batch, StepLoss::Device(&mut no_dropout()), 0.01, &mut no_dropout()).unwrap();
    let loss = super::super::loss::bytes(&DeviceLoss::Squares, 10, TRAIN, 5);
    let told = device_memory(&network, &ADAM, 5, Precision::F32).unwrap() + inputs.samples(&[&images]).bytes() + loss;
    assert_eq!(shared.lock().bytes(), told);
}

#[test]
fn data_beyond_a_devices_share_are_not_held() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::Unit);
    let shared = SharedTwin::default();
    let bytes = inputs.samples(&[&images]).bytes();
    shared.lock().capacity = Some(8 * bytes - 1);
    let mut engine = CudaEngine::new(&network, weights(&network), SGD, Box::new(shared.clone())).unwrap();
    assert!(!engine.hold_samples(&inputs.samples(&[&images])).unwrap());
    let batch = Batch { samples: &[0], inputs: BatchInputs::Held(&[]) };
    let error = engine.step(batch, StepLoss::Host(&mut cross_entropy(&[0])), 0.1, &mut no_dropout()).unwrap_err();
    assert_eq!(error.to_string(), "the device holds no data");
    shared.lock().capacity = Some(8 * bytes);
    assert!(engine.hold_samples(&inputs.samples(&[&images])).unwrap());
    let error = engine.step(batch, StepLoss::Device(&mut no_dropout()), 0.1, &mut no_dropout()).unwrap_err();
    assert_eq!(error.to_string(), "the device knows no loss");
}

#[test]
fn what_does_not_fit_a_batch_is_refused() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::Unit);
    let (mut engine, _) = holding(&network, SGD, &images, &inputs);
    let transforms = inputs.transforms(2, &[Augment::Flip], &mut generator(Stream::Augmentation, 1));
    let mut refused = |inputs| {
        let batch = Batch { samples: &[0, 1, 2], inputs };
        engine.step(batch, StepLoss::Host(&mut cross_entropy(&[0; 3])), 0.1, &mut no_dropout()).unwrap_err().to_string()
    };
    assert_eq!(refused(BatchInputs::Held(&transforms)), "2 moves for a batch of 3");
    let made = vec![0.0; network.input.len()];
    assert_eq!(refused(BatchInputs::Host(&made)), "inputs of 1 samples for a batch of 3");
    let mut odd = no_dropout();
    odd.random::<u32>();
    let batch = Batch { samples: &[0], inputs: BatchInputs::Held(&[]) };
    let error = engine.step(batch, StepLoss::Host(&mut cross_entropy(&[0])), 0.1, &mut odd).unwrap_err().to_string();
    assert!(error.contains("stands at word 1 of stream 0"), "{error}");
    let samples = Samples::Images { parts: vec![&[0; 5]], table: &[], centre: None };
    assert!(engine.hold_samples(&samples).unwrap_err().to_string().contains("5 values are no samples of"));
}
