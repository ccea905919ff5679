//! Losses give the same results on every grid and refuse mismatched memory. The engines' tests compare them with core's losses.

use super::gather::{bytes, doubles, ints};
use super::*;
use crate::memory::HostBuffer;

const ROWS: usize = 21;
const CLASSES: usize = 5;
const COUNT: usize = 40;

/// A batch on a device, and the memory for the step's integers and the losses.
fn batch(device: &mut dyn Device) -> (LossBatch, [DeviceMemory; 2]) {
    let logits: Vec<f32> = noise(5, ROWS * CLASSES).iter().map(|value| 6.0 * value).collect();
    let labels: Vec<i32> = (0..COUNT as i32).map(|i| i * 3 % CLASSES as i32).collect();
    let samples: Vec<i32> = (0..ROWS as i32).map(|i| (i * 7 + 2) % COUNT as i32).collect();
    let batch = LossBatch {
        logits: upload(device, &logits),
        gradient: uninitialised(device, ROWS * CLASSES),
        labels: ints(device, &labels),
        samples: ints(device, &samples),
        values: doubles(device, &[f64::NAN; ROWS]),
        classes: CLASSES,
    };
    (batch, [ints(device, &[1, 1]), doubles(device, &[0.5; 3])])
}

/// Returns the gradient and the halves of the loss's bits.
fn left(
    device: &mut dyn Device,
    batch: LossBatch,
    values: DeviceMemory,
    [step, losses]: [DeviceMemory; 2],
) -> Vec<f32> {
    MeanLoss { values, step, losses }.run(device).unwrap();
    let mut found = [0.0; 3];
    device.read(losses, HostBuffer::Doubles(&mut found)).unwrap();
    assert_eq!([found[0], found[2]], [0.5; 2], "only the step's own loss is written");
    assert!(found[1].is_finite());
    let halves = [found[1].to_bits() as u32, (found[1].to_bits() >> 32) as u32].map(|half| half as f32);
    let mut all = read(device, batch.gradient);
    assert!(all.iter().all(|g| g.is_finite()));
    all.extend(halves);
    all
}

fn columns() -> Vec<f64> {
    (0..CLASSES * CLASSES).map(|i| f64::ln(0.1 + f64::from(u8::from(i % (CLASSES + 1) == 0)) / 2.0)).collect()
}

#[test]
fn a_loss_is_the_same_for_every_grid() {
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        let parameters = doubles(device, &[0.3, 1.5, 0.7, 0.1]);
        let kept: Vec<u8> = (0..COUNT).map(|i| u8::from(i % 4 != 1)).collect();
        let kept = Some(bytes(device, &kept));
        PowerLoss { parameters, kept }.run(device, batch).unwrap();
        left(device, batch, batch.values, places)
    });
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        SquaredError.run(device, batch).unwrap();
        left(device, batch, batch.values, places)
    });
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        let (parameters, weights) = (doubles(device, &[8.0, 1.0]), doubles(device, &[0.0; ROWS]));
        Imae { parameters, weights }.run(device, batch).unwrap();
        left(device, batch, batch.values, places)
    });
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        ForwardCorrection { columns: doubles(device, &columns()) }.run(device, batch).unwrap();
        left(device, batch, batch.values, places)
    });
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        let scratch = doubles(device, &vec![f64::NAN; Determinant::scratch(ROWS, CLASSES)]);
        Determinant { parameters: doubles(device, &[1e-3, 0.0]), scratch }.run(device, batch).unwrap();
        left(device, batch, batch.values.part(0, 1), places)
    });
    on_any_grid(|device| {
        let (batch, places) = batch(device);
        let state = latent(device);
        let stream = ints(device, &[7; STREAM_LEN]);
        let drawn = ints(device, &[0; ROWS]);
        let loss = LatentLabels { state, parameters: doubles(device, &[1.0]), step: places[0], stream, drawn };
        loss.run(device, batch).unwrap();
        let mut all = left(device, batch, batch.values, places);
        for memory in [state.latent, state.counts, drawn] {
            let mut found = vec![0; memory.len()];
            device.read(memory, HostBuffer::Ints(&mut found)).unwrap();
            all.extend(found.iter().map(|number| *number as f32));
        }
        all
    });
}

/// The state before the first step.
fn latent(device: &mut dyn Device) -> LatentState {
    LatentState {
        latent: ints(device, &[-1; COUNT]),
        counts: ints(device, &[0; CLASSES * CLASSES]),
        transition: doubles(device, &[0.0; CLASSES * CLASSES]),
        columns: doubles(device, &columns()),
    }
}

#[test]
fn a_loss_that_does_not_match_its_batch_is_refused_before_any_launch() {
    let mut twin = Twin::new();
    let (batch, [step, losses]) = batch(&mut twin);
    let parameters = doubles(&mut twin, &[1.0; 4]);
    let one = batch.values.part(0, 1);
    assert!(SquaredError.run(&mut twin, LossBatch { classes: 4, ..batch }).is_err());
    assert!(SquaredError.run(&mut twin, LossBatch { gradient: batch.gradient.part(0, 5), ..batch }).is_err());
    assert!(SquaredError.run(&mut twin, LossBatch { values: one, ..batch }).is_err());
    assert!(SquaredError.run(&mut twin, LossBatch { samples: batch.labels, ..batch }).is_err());
    assert!(PowerLoss { parameters: parameters.part(0, 3), kept: None }.run(&mut twin, batch).is_err());
    let kept = Some(bytes(&mut twin, &[1; COUNT - 1]));
    assert!(PowerLoss { parameters, kept }.run(&mut twin, batch).is_err());
    assert!(ForwardCorrection { columns: parameters }.run(&mut twin, batch).is_err());
    let two = parameters.part(0, 2);
    assert!(Imae { parameters: two, weights: one }.run(&mut twin, batch).is_err());
    assert!(Determinant { parameters: two, scratch: batch.values }.run(&mut twin, batch).is_err());
    let (stream, drawn) = (ints(&mut twin, &[0; STREAM_LEN]), ints(&mut twin, &[0; ROWS]));
    let good = LatentLabels { state: latent(&mut twin), parameters: one, step, stream, drawn };
    for wrong in [
        LatentLabels { step: step.part(0, 1), ..good },
        LatentLabels { stream: drawn.part(0, 9), ..good },
        LatentLabels { drawn: stream, ..good },
        LatentLabels { parameters: two, ..good },
        LatentLabels { state: LatentState { latent: drawn, ..good.state }, ..good },
        LatentLabels { state: LatentState { columns: two, ..good.state }, ..good },
    ] {
        assert!(wrong.run(&mut twin, batch).is_err(), "{wrong:?}");
    }
    assert!(MeanLoss { values: batch.values.part(0, 0), step, losses }.run(&mut twin).is_err());
    assert!(MeanLoss { values: one, step: step.part(0, 0), losses }.run(&mut twin).is_err());
    assert_eq!(twin.launches, 0);
}
