//! Compares whole steps on the device with steps that use the host: equal inputs and masks to the last bit, and equal weights.

use super::super::recording::Part;
use super::images::{Images, Normalization, PixelInputs};
use super::*;
use crate::Checkpoint;
use crate::batch::{Batch, BatchInputs, Samples, StepLoss};
use crate::device_engine::DeviceEngine;
use crate::fused::{Step as ProgramStep, draw_mask};
use crate::transform::ImageTransform;
use plusminus_core::methods::augment::Augment;
use plusminus_core::methods::losses::{Cce, DeviceLoss, Gce, Lccn, Setting, Step};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const TRAIN: usize = 13;

fn generator(stream: Stream, epoch: u64) -> ChaCha8Rng {
    Streams::new(2, 2).generator(stream, epoch)
}

/// An engine on a new device that holds these images.
fn holding(network: &Network, optimizer: Optimizer, images: &Images, inputs: &PixelInputs) -> (CudaEngine, SharedTwin) {
    let shared = SharedTwin::default();
    let mut engine = CudaEngine::new(network, weights(network), optimizer, Box::new(shared.clone())).unwrap();
    assert!(engine.hold_samples(&inputs.samples(&[images])).unwrap());
    (engine, shared)
}

/// The inputs that the device has gathered, `[samples, channels, height, width]`.
fn gathered_inputs(engine: &mut CudaEngine, samples: usize) -> Vec<f32> {
    let (view, device) = engine.batch_view(samples).unwrap();
    let (memory, shape) = (view.values(0), view.shape(0));
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
fn inputs_gathered_on_the_device_have_the_hosts_bytes() {
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
                engine.run_step(batch, StepLoss::Host(loss), 0.0, &mut no_dropout()).unwrap();
                let found = gathered_inputs(&mut engine, samples.len());
                assert_eq!(bits(&found), bits(&expected), "{normalization:?}, {augment:?}, {samples:?}");
            }
            assert_eq!(generators.0, generators.1, "{augment:?}");
        }
    }
}

#[test]
fn held_parts_are_indexed_as_one_list_and_tokens_are_unchanged() {
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
    // This network accepts tokens in place of pixels.
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
    // Tokens are not rearranged.
    let (view, device) = engine.batch_view(1).unwrap();
    let mut found = vec![0.0; shape.len()];
    device.download(view.values(0), &mut found).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn masks_drawn_on_the_device_have_the_hosts_bytes() {
    let network = networks::everything();
    let mut engine = cuda(&network, SGD);
    let mut generators = (generator(Stream::Dropout, 3), generator(Stream::Dropout, 3));
    // These batch sizes end within a block of the random stream.
    for count in [3, 1, 5, 5, 5, 2] {
        let (inputs, labels) = samples(network.input, count);
        engine.train_step(&inputs, &mut cross_entropy(&labels), 0.0, &mut generators.0).unwrap();
        let places: Vec<_> = (engine.batch.as_ref().unwrap().buffers.masks.iter().flatten()).copied().collect();
        let dropouts = engine.program.steps.iter().filter_map(|step| match step {
            ProgramStep::Dropout { share, output, .. } => Some((*share, *output)),
            _ => None,
        });
        let dropouts: Vec<_> = dropouts.collect();
        assert_eq!(dropouts.len(), 2);
        for ((share, output), memory) in dropouts.into_iter().zip(places) {
            let shape = engine.program.values[output].shape;
            let mut expected = vec![0.0; count * shape.len()];
            draw_mask(&mut expected, shape, share, &mut generators.1);
            let mut found = vec![f32::NAN; expected.len()];
            engine.device.download(memory.part(0, found.len()), &mut found).unwrap();
            assert_eq!(bits(&found), bits(&expected));
        }
        assert_eq!(generators.0, generators.1, "both generators have the same position");
    }
}

/// Where a step's inputs and loss are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Inputs and loss on the host.
    Host,
    /// Only the loss on the host.
    HostLoss,
    /// Only the inputs on the host.
    HostInputs,
    /// Inputs and loss on the device.
    Device,
}

/// Trains four epochs of three batches, the last of which is smaller. Returns losses, checkpoint and the loss's state.
fn trained_by(mode: Mode, loss: &Loss, refuses: bool) -> (Vec<f64>, Checkpoint, Vec<u8>) {
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
        let known = matches!(mode, Mode::Device | Mode::HostInputs);
        if known {
            engine.set_loss(&criterion.on_device().unwrap(), &images.labels).unwrap();
        }
        for samples in order.chunks(5) {
            let labels: Vec<u32> = samples.iter().map(|sample| images.labels[*sample]).collect();
            let mut of_logits = |logits: &[f32], gradient: &mut [f32]| {
                criterion.step(Step { logits, labels: &labels, samples, generator: &mut latent }, gradient)
            };
            let (transforms, batch): (Vec<ImageTransform>, Vec<f32>);
            let inputs = if matches!(mode, Mode::Host | Mode::HostInputs) {
                batch = inputs.gather(&images, samples, &augment, &mut augmentation);
                BatchInputs::Host(&batch)
            } else {
                transforms = inputs.transforms(samples.len(), &augment, &mut augmentation);
                BatchInputs::Held(&transforms)
            };
            let lr = 0.005 / (1.0 + epoch as f64);
            let loss = match (mode, inputs) {
                (Mode::Host, BatchInputs::Host(inputs)) => {
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
    assert_eq!(engine.recordings.failures > 0, refuses);
    let whole = |(part, ..): &&(Part, usize, Recording)| matches!(part, Part::Whole(_));
    let expected = if refuses || matches!(mode, Mode::Host | Mode::HostLoss) { 0 } else { 2 };
    assert_eq!(engine.recordings.parts.iter().filter(whole).count(), expected, "whole steps, for two sizes of batch");
    (losses, engine.checkpoint().unwrap(), criterion.state())
}

const LCCN: Lccn = Lccn { alpha: 1.0, refresh: 2, warm_up: 4 };

#[test]
fn inputs_from_the_device_and_the_host_give_the_same_bytes() {
    let loss = Loss::Gce(Gce { q: 0.7 });
    assert_eq!(trained_by(Mode::Host, &loss, false), trained_by(Mode::HostLoss, &loss, false));
    assert_eq!(trained_by(Mode::HostInputs, &loss, false), trained_by(Mode::Device, &loss, false));
}

#[test]
fn losses_on_the_device_and_the_host_train_alike() {
    for loss in [Loss::Cce(Cce {}), Loss::Lccn(LCCN)] {
        let (found, expected) = (trained_by(Mode::Device, &loss, false), trained_by(Mode::Host, &loss, false));
        for (found, expected) in found.0.iter().zip(&expected.0) {
            assert!((found - expected).abs() < 1e-5 * expected.abs(), "{loss:?}: {found} for {expected}");
        }
        let apart = distance(found.1.weights.values(), expected.1.weights.values());
        assert!(apart < 1e-6, "{loss:?}: weights differ by {apart}");
        // The values may differ, because logarithms on a device differ in the last digit.
        assert_eq!(found.2.len(), expected.2.len());
    }
}

#[test]
fn a_replayed_whole_step_gives_the_bytes_of_a_launched_one() {
    let loss = Loss::Lccn(LCCN);
    assert_eq!(trained_by(Mode::Device, &loss, false), trained_by(Mode::Device, &loss, true));
}

#[test]
fn a_replayed_step_sends_a_few_kilobytes_and_returns_no_loss() {
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
    // More steps than the device has memory for losses.
    steps(&mut engine, 34);
    assert_eq!(engine.take_losses().unwrap().len(), 34);
    assert!(engine.take_losses().unwrap().is_empty(), "each loss is returned once");
    steps(&mut engine, 3);
    assert_eq!(engine.take_losses().unwrap().len(), 3);
    assert!(written[1..].iter().all(|bytes| *bytes == 4 * (22 + 9 * 5)), "{written:?}");
}

#[test]
fn the_estimate_covers_held_samples_and_the_loss() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::PixelMean);
    let (mut engine, shared) = holding(&network, ADAM, &images, &inputs);
    engine.set_loss(&DeviceLoss::Squares, &images.labels).unwrap();
    let batch = Batch { samples: &[0, 3, 1, 2, 8], inputs: BatchInputs::Held(&[]) };
    engine.step(batch, StepLoss::Device(&mut no_dropout()), 0.01, &mut no_dropout()).unwrap();
    let loss = super::super::device_loss::loss_memory(&DeviceLoss::Squares, 10, TRAIN, 5);
    let estimate =
        device_memory(&network, &ADAM, 5, Precision::F32).unwrap() + inputs.samples(&[&images]).bytes() + loss;
    assert_eq!(shared.lock().bytes(), estimate);
}

#[test]
fn data_beyond_their_share_of_the_memory_are_not_held() {
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
    assert_eq!(error.to_string(), "the device holds no samples");
    shared.lock().capacity = Some(8 * bytes);
    assert!(engine.hold_samples(&inputs.samples(&[&images])).unwrap());
    let error = engine.step(batch, StepLoss::Device(&mut no_dropout()), 0.1, &mut no_dropout()).unwrap_err();
    assert_eq!(error.to_string(), "the device has no loss");
}

#[test]
fn inputs_that_do_not_match_the_batch_are_refused() {
    let network = networks::everything();
    let images = Images::random(network.input, TRAIN);
    let inputs = PixelInputs::new(network.input, Normalization::Unit);
    let (mut engine, _) = holding(&network, SGD, &images, &inputs);
    let transforms = inputs.transforms(2, &[Augment::Flip], &mut generator(Stream::Augmentation, 1));
    let mut refused = |inputs| {
        let batch = Batch { samples: &[0, 1, 2], inputs };
        engine.step(batch, StepLoss::Host(&mut cross_entropy(&[0; 3])), 0.1, &mut no_dropout()).unwrap_err().to_string()
    };
    assert_eq!(refused(BatchInputs::Held(&transforms)), "expected 3 transforms or none, found 2");
    let made = vec![0.0; network.input.len()];
    assert_eq!(refused(BatchInputs::Host(&made)), "expected inputs of 3 samples, found 1");
    let mut odd = no_dropout();
    odd.random::<u32>();
    let batch = Batch { samples: &[0], inputs: BatchInputs::Held(&[]) };
    let error = engine.step(batch, StepLoss::Host(&mut cross_entropy(&[0])), 0.1, &mut odd).unwrap_err().to_string();
    assert!(error.contains("found word 1 of stream 0"), "{error}");
    let samples = Samples::Images { parts: vec![&[0; 5]], table: &[], centre: None };
    assert!(
        engine
            .hold_samples(&samples)
            .unwrap_err()
            .to_string()
            .contains("5 values are not a whole number of samples of")
    );
}
