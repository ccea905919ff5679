//! Compares losses on the device with core's, at logits of every size.

use super::super::device_loss::{LossOnDevice, loss_memory};
use super::super::step_parameters::{DeviceStepParameters, StepParameters, length, stream};
use plusminus_core::methods::losses::{
    Cce, Criterion, DeviceLoss, Dmi, DmiMatrix, Forward, Gce, Imae, Lccn, Learned, Loss, Mae, Mse, Normalise, Rce, Sce,
    Setting, Step, TruncatedGce, Unhinged,
};
use plusminus_core::methods::noise::{NO_CLASS, TransitionMatrix};
use plusminus_core::random::{Stream, Streams};
use plusminus_cuda::twin::Twin;
use plusminus_cuda::{Device, DeviceMemory, HostBuffer, HostValues, Kind};
use rand_chacha::ChaCha8Rng;

const A: f64 = -9.210340371976182;

fn every_loss() -> Vec<Loss> {
    vec![
        Loss::Cce(Cce {}),
        Loss::Mae(Mae {}),
        Loss::Unhinged(Unhinged {}),
        Loss::Mse(Mse {}),
        Loss::Rce(Rce { a: A }),
        Loss::Sce(Sce { alpha: 0.1, beta: 1.0, a: A }),
        Loss::Sce(Sce { alpha: 0.0, beta: 1.0, a: -4.0 }),
        Loss::Imae(Imae { t: 8.0, normalise: Normalise::Mean }),
        Loss::Imae(Imae { t: 8.0, normalise: Normalise::BatchWeight }),
        Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Count }),
        Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Normalised }),
        Loss::Forward(Forward::True {}),
        Loss::Lccn(LCCN),
        Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.5, start: 1, every: 1 }),
        Loss::TruncatedGce(TruncatedGce { q: 0.0, k: 0.5, start: 1, every: 1 }),
        Loss::Gce(Gce { q: 0.7 }),
        Loss::Gce(Gce { q: 1e-9 }),
        Loss::Gce(Gce { q: 0.0 }),
    ]
}

const LCCN: Lccn = Lccn { alpha: 1.0, refresh: 2, warm_up: 3 };

/// A transition matrix with entries of 0.
fn transition(classes: usize) -> TransitionMatrix {
    let raw = |i: usize, j: usize| if i == j { 3.0 } else { ((i * 5 + j * 3) % 7) as f64 / 7.0 };
    let rows = (0..classes).flat_map(|i| {
        let sum: f64 = (0..classes).map(|j| raw(i, j)).sum();
        (0..classes).map(move |j| raw(i, j) / sum)
    });
    TransitionMatrix::from_rows(classes, rows.collect()).unwrap()
}

/// A training file and a batch of its samples.
struct Batch {
    classes: usize,
    given: Vec<u32>,
    samples: Vec<usize>,
}

impl Batch {
    /// A batch of `count` samples.
    fn new(classes: usize, count: usize) -> Self {
        let count = count as u32;
        let mut given: Vec<u32> = (0..2 * count).map(|i| (i * 7 / 3) % classes as u32).collect();
        given.push(NO_CLASS);
        Batch { classes, given, samples: (0..count as usize).map(|i| 2 * (count as usize - 1 - i) + 1).collect() }
    }

    fn labels(&self) -> Vec<u32> {
        self.samples.iter().map(|sample| self.given[*sample]).collect()
    }

    fn criterion(&self, loss: &Loss) -> Box<dyn Criterion> {
        let setting = Setting { classes: self.classes, given: &self.given, transition: Some(transition(self.classes)) };
        let mut criterion = loss.criterion(setting).unwrap();
        if let Loss::TruncatedGce(_) = loss {
            let samples: Vec<usize> = (0..self.given.len()).collect();
            let p: Vec<f32> = samples.iter().map(|sample| if sample % 3 == 0 { 0.2 } else { 0.9 }).collect();
            criterion.review(&samples, &p);
        }
        criterion
    }
}

/// A device that computes a loss only.
struct Bench {
    twin: Twin,
    loss: LossOnDevice,
    parameters: DeviceMemory,
    logits: DeviceMemory,
    gradient: DeviceMemory,
}

impl Bench {
    fn new(loss: &DeviceLoss, batch: &Batch) -> Self {
        let mut twin = Twin::new();
        let count = batch.samples.len();
        let (mut on_device, _) = LossOnDevice::new(None, loss, batch.classes, &batch.given, &mut twin).unwrap();
        on_device.reserve(count, &mut twin).unwrap();
        let estimate = loss_memory(loss, batch.classes, batch.given.len(), count);
        assert_eq!(twin.bytes(), estimate, "the estimate equals the allocated memory");
        let parameters = twin.allocate(Kind::Ints, length(count)).unwrap();
        let mut floats = || twin.allocate(Kind::Floats, count * batch.classes).unwrap();
        let (logits, gradient) = (floats(), floats());
        Bench { loss: on_device, parameters, logits, gradient, twin }
    }

    fn step(&mut self, batch: &Batch, logits: &[f32], generator: &ChaCha8Rng) -> (f64, Vec<f32>) {
        let Bench { twin, loss: on_device, .. } = self;
        let mut parameters = StepParameters::default();
        parameters.start(5, on_device.refreshes(), [[0; 10], stream(generator).unwrap()]);
        parameters.append_samples(batch.samples.iter().map(|sample| *sample as i32), &[]);
        let numbers = parameters.numbers();
        twin.write(HostValues::Ints(numbers), self.parameters.part(0, numbers.len())).unwrap();
        twin.upload(logits, self.logits).unwrap();
        let parameters = DeviceStepParameters(self.parameters);
        on_device.run([self.logits, self.gradient], batch.samples.len(), parameters, twin).unwrap();
        on_device.steps += 1;
        let (mut gradient, mut loss) = (vec![0.0; logits.len()], [0.0]);
        twin.download(self.gradient, &mut gradient).unwrap();
        twin.read(on_device.losses.part(5, 1), HostBuffer::Doubles(&mut loss)).unwrap();
        (loss[0], gradient)
    }
}

/// Named logits: of every size, right and wrong, equal, and random.
fn every_size(batch: &Batch) -> Vec<(String, Vec<f32>)> {
    let (labels, classes) = (batch.labels(), batch.classes);
    let count = labels.len() * classes;
    let mut found = Vec::new();
    for size in [0.0f32, 1.0, 12.0, 50.0, -50.0, 120.0, 1e4, -1e4] {
        for shift in [0, 1] {
            let hot = |i: usize| (labels[i / classes] as usize + shift) % classes == i % classes;
            let logits = (0..count).map(|i| if hot(i) { size } else { 0.0 }).collect();
            found.push((format!("{size}, {shift} beside the label"), logits));
        }
    }
    for spread in [0.3f32, 4.0, 30.0] {
        let noise = |i: usize| (((i * 7919 + i / 7) % 1013) as f32 / 506.0 - 1.0) * spread;
        found.push((format!("random within {spread}"), (0..count).map(noise).collect()));
    }
    found
}

fn close(what: &str, [found, expected]: [f64; 2]) {
    let near = found == expected || (found - expected).abs() <= 1e-12 * expected.abs().max(1e-3);
    assert!(near || found.is_nan() && expected.is_nan(), "{what}: the loss is {found} for {expected}");
}

/// Compares gradients up to a few roundings of `f32`. Where the computation subtracts numbers of similar size, it also allows for the
/// rounding of `f64`: a share of the row's largest value, and an absolute error.
fn near(what: &str, classes: usize, [lost, of_one]: [f64; 2], found: &[f32], expected: &[f32]) {
    for (row, (found, expected)) in found.chunks_exact(classes).zip(expected.chunks_exact(classes)).enumerate() {
        let most = expected.iter().fold(0.0f64, |most, g| most.max(f64::from(g.abs())));
        for (j, (found, expected)) in found.iter().zip(expected).enumerate() {
            let apart = (f64::from(*found) - f64::from(*expected)).abs();
            let rounded = 2.0 * f64::from(f32::EPSILON * expected.abs()) + f64::from(f32::from_bits(2));
            let allowed = rounded + lost * most + of_one;
            let same = apart <= allowed || found.is_nan() && expected.is_nan();
            assert!(same, "{what}: row {row}, class {j}: {found:e} for {expected:e}, of {most:e}");
        }
    }
}

#[test]
fn losses_on_the_device_agree_with_core_at_logits_of_every_size() {
    for (classes, count) in [(2, 9), (3, 7), (10, 37), (14, 128), (100, 230)] {
        let batch = Batch::new(classes, count);
        let (labels, samples) = (batch.labels(), &batch.samples);
        for loss in every_loss() {
            for (size, logits) in every_size(&batch) {
                let mut criterion = batch.criterion(&loss);
                let mut bench = Bench::new(&criterion.on_device().unwrap(), &batch);
                let mut generator = Streams::new(3, 3).generator(Stream::Latent, 1);
                let what = format!("{loss:?}, {classes} classes, {size}");
                let found = bench.step(&batch, &logits, &generator);
                let mut gradient = vec![f32::NAN; logits.len()];
                let step = Step { logits: &logits, labels: &labels, samples, generator: &mut generator };
                let value = criterion.step(step, &mut gradient);
                close(&what, [found.0, value]);
                let lost = match loss {
                    // p − r, for numbers up to 1.
                    Loss::Forward(_) => [0.0, 1e-15],
                    // The inverse of a nearly singular matrix, with cancellation within rows.
                    Loss::Dmi(_) => [1e-7, 1e-13],
                    _ => [0.0, 0.0],
                };
                near(&what, classes, lost, &found.1, &gradient);
            }
        }
    }
}

#[test]
fn latent_labels_are_drawn_and_counted_as_in_core() {
    let batch = Batch::new(4, 30);
    let mut criterion = batch.criterion(&Loss::Lccn(LCCN));
    let mut bench = Bench::new(&criterion.on_device().unwrap(), &batch);
    let mut generator = Streams::new(3, 3).generator(Stream::Latent, 1);
    for round in 0..9 {
        let logits: Vec<f32> = (0..120).map(|i| ((i * 13 + round * 5) % 17) as f32 / 4.0).collect();
        let found = bench.step(&batch, &logits, &generator);
        let mut gradient = vec![0.0; logits.len()];
        let step =
            Step { logits: &logits, labels: &batch.labels(), samples: &batch.samples, generator: &mut generator };
        let value = criterion.step(step, &mut gradient);
        close(&format!("step {round}"), [found.0, value]);
        near(&format!("step {round}"), 4, [0.0, 0.0], &found.1, &gradient);
    }
    let learned = bench.loss.learned(&bench.twin).unwrap().unwrap();
    let Some(DeviceLoss::Latent(expected)) = criterion.on_device() else { panic!("the loss draws latent labels") };
    let Learned { steps, transition, latent } = expected.learned;
    assert_eq!((learned.steps, &learned.latent), (steps, &latent));
    assert_eq!(latent.iter().flatten().count(), 30);
    assert!(learned.transition.iter().zip(&transition).all(|(found, expected)| (found - expected).abs() < 1e-15));
    let mut other = batch.criterion(&Loss::Lccn(LCCN));
    other.learned(learned.clone()).unwrap();
    assert_eq!(other.on_device(), criterion.on_device());
    let wrong = Learned { latent: vec![Some(4); latent.len()], ..learned };
    assert!(other.learned(wrong).unwrap_err().contains("latent label 4"));
}

#[test]
fn logits_that_are_not_finite_give_nan_on_the_device() {
    let batch = Batch::new(3, 5);
    for loss in every_loss() {
        for wrong in [f32::NAN, f32::INFINITY] {
            let criterion = batch.criterion(&loss);
            let mut bench = Bench::new(&criterion.on_device().unwrap(), &batch);
            let mut logits = vec![0.5; 15];
            logits[6..9].fill(wrong);
            let generator = Streams::new(3, 3).generator(Stream::Latent, 1);
            assert!(bench.step(&batch, &logits, &generator).0.is_nan(), "{loss:?}, {wrong}");
        }
    }
}

#[test]
fn a_sample_without_label_or_out_of_range_gives_nan() {
    for sample in [8, 9, 1_000_000] {
        // The last sample of the file has no class; larger indices are out of range.
        let batch = Batch { samples: vec![1, sample, 3], ..Batch::new(3, 4) };
        for loss in every_loss() {
            let mut bench = Bench::new(&batch.criterion(&loss).on_device().unwrap(), &batch);
            let generator = Streams::new(3, 3).generator(Stream::Latent, 1);
            let (value, gradient) = bench.step(&batch, &[0.5; 9], &generator);
            let dmi = matches!(loss, Loss::Dmi(_));
            assert!(value.is_nan() && gradient[3..6].iter().all(|g| g.is_nan()), "{loss:?}");
            assert!(dmi || gradient[..3].iter().all(|g| g.is_finite()) || matches!(loss, Loss::Imae(_)), "{loss:?}");
        }
    }
}

#[test]
fn another_loss_reuses_or_replaces_the_memory_of_the_last() {
    let batch = Batch::new(3, 4);
    let mut twin = Twin::new();
    let mut set = |old, loss: &Loss| {
        let loss = batch.criterion(loss).on_device().unwrap();
        let (on_device, same) = LossOnDevice::new(old, &loss, 3, &batch.given, &mut twin).unwrap();
        (on_device, same, twin.bytes())
    };
    let (loss, same, first) = set(None, &Loss::Cce(Cce {}));
    assert!(!same);
    let (loss, same, second) = set(Some(loss), &Loss::Gce(Gce { q: 0.5 }));
    assert!(same && first == second, "a loss of the same kind reuses the memory");
    let (loss, same, _) = set(Some(loss), &Loss::Lccn(LCCN));
    assert!(!same);
    let (loss, same, last) = set(Some(loss), &Loss::Cce(Cce {}));
    assert!(!same && last == first, "the previous loss is freed");
    loss.free(&mut twin).unwrap();
    assert_eq!(twin.bytes(), 0);
}
