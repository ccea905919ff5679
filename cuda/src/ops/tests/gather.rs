//! Compares inputs and dropout masks with those that the host computes.

use super::*;
use crate::memory::HostValues;

const SHAPE: [usize; 3] = [3, 4, 5];
const IMAGES: usize = 6;

fn write(device: &mut dyn Device, kind: Kind, values: HostValues<'_>, length: usize) -> DeviceMemory {
    let memory = device.allocate(kind, length).unwrap();
    device.write(values, memory).unwrap();
    memory
}

pub(super) fn ints(device: &mut dyn Device, values: &[i32]) -> DeviceMemory {
    write(device, Kind::Ints, HostValues::Ints(values), values.len())
}

pub(super) fn doubles(device: &mut dyn Device, values: &[f64]) -> DeviceMemory {
    write(device, Kind::Doubles, HostValues::Doubles(values), values.len())
}

pub(super) fn bytes(device: &mut dyn Device, values: &[u8]) -> DeviceMemory {
    write(device, Kind::Bytes, HostValues::Bytes(values), values.len())
}

fn pixels() -> Vec<u8> {
    (0..IMAGES * SHAPE.iter().product::<usize>()).map(|i| ((i * 7919 + i / 3) % 251) as u8).collect()
}

/// Augmentation of one sample: rows from the second on; columns mirrored, without the first two.
const AUGMENTATION_LEN: [i32; 8] = [1, 1, 0, 3, 4, -1, 0, 3];

#[test]
fn gathered_images_are_augmented_and_channels_last() {
    let (pixels, table, centre) = (pixels(), noise(1, 3 * 256), noise(2, 60));
    let samples = [4usize, 0, 4, 5];
    for (with_moves, with_centre) in [(false, false), (true, false), (false, true), (true, true)] {
        let found = on_any_grid(|device| {
            let [table, centre] = [upload(device, &table), upload(device, &centre)];
            let centre = with_centre.then_some(centre);
            let moves = with_moves.then(|| ints(device, &AUGMENTATION_LEN.repeat(4)));
            let samples = ints(device, &samples.map(|sample| sample as i32));
            let (pixels, to) = (bytes(device, &pixels), uninitialised(device, 4 * 60));
            Gather { pixels, table, centre, samples, moves, to, shape: SHAPE }.run(device).unwrap();
            read(device, to)
        });
        let mut expected = Vec::new();
        for sample in samples {
            for (row, column) in (0..4).flat_map(|row| (0..5).map(move |column| (row, column))) {
                let from = match with_moves {
                    false => Some((row, column)),
                    true => (row < 3 && column < 3).then(|| (row + 1, 4 - column)),
                };
                for channel in 0..3 {
                    expected.push(from.map_or(0.0, |(row, column)| {
                        let at = (channel * 4 + row) * 5 + column;
                        let input = table[256 * channel + usize::from(pixels[sample * 60 + at])];
                        if with_centre { input - centre[at] } else { input }
                    }));
                }
            }
        }
        assert_eq!(bits(&found), bits(&expected), "augmented: {with_moves}, centred: {with_centre}");
    }
}

#[test]
fn invalid_samples_and_pixels_read_as_nan() {
    let mut twin = Twin::new();
    let table = upload(&mut twin, &[0.5; 3 * 256]);
    let pixels = bytes(&mut twin, &pixels());
    let far = [0, 1, 0, 4, 1, 1, 0, 5];
    let (samples, moves) =
        (ints(&mut twin, &[-1, 6, 2]), ints(&mut twin, &[AUGMENTATION_LEN, AUGMENTATION_LEN, far].concat()));
    let to = uninitialised(&mut twin, 3 * 60);
    Gather { pixels, table, centre: None, samples, moves: Some(moves), to, shape: SHAPE }.run(&mut twin).unwrap();
    let found = read(&twin, to);
    assert!(found[..120].iter().all(|value| value.is_nan() || *value == 0.0));
    assert_eq!(found[..120].iter().filter(|value| value.is_nan()).count(), 2 * 3 * 3 * 3);
    assert_eq!(found[120..].iter().filter(|value| value.is_nan()).count(), 4 * 3, "a column beyond the last");
    let (tokens, to) = (ints(&mut twin, &[7, 8, 9, 10]), uninitialised(&mut twin, 6));
    GatherTokens { tokens, samples, to, length: 2 }.run(&mut twin).unwrap();
    assert!(read(&twin, to).iter().all(|value| value.is_nan()));
}

#[test]
fn gathered_tokens_are_floats() {
    let found = on_any_grid(|device| {
        let (tokens, samples) = (ints(device, &[0, 5, 18_764, 1, 2, 3]), ints(device, &[1, 0, 1]));
        let to = uninitialised(device, 9);
        GatherTokens { tokens, samples, to, length: 3 }.run(device).unwrap();
        read(device, to)
    });
    assert_eq!(found, [1.0, 2.0, 3.0, 0.0, 5.0, 18_764.0, 1.0, 2.0, 3.0]);
}

/// The first block of ChaCha with eight rounds and a key of zeros is published. It has eight numbers.
#[test]
fn dropout_masks_match_the_published_chacha_stream() {
    let words: [u32; 16] = [
        0x2fef_003e,
        0xd640_5f89,
        0xe8b8_5b7f,
        0xa1a5_091f,
        0xc30e_842c,
        0x3b7f_9ace,
        0x88e1_1b18,
        0x1e1a_71ef,
        0x72e1_4c98,
        0x416f_21b9,
        0x6753_449f,
        0x1956_6d45,
        0xa342_4a31,
        0x01b0_86da,
        0xb8fd_7b38,
        0x42fe_0c0e,
    ];
    let numbers: Vec<f64> = words.as_chunks::<2>().0.iter().map(|[_, high]| f64::from(*high) / 2f64.powi(32)).collect();
    for share in [0.05, 0.2, 0.3, 0.5, 0.75, 0.99] {
        let mut twin = Twin::new();
        let (stream, mask) = (ints(&mut twin, &[0; STREAM_LEN]), uninitialised(&mut twin, 8));
        DropoutMask { stream, before: 0, mask, share, channels: 1, pixels: 8, stored: 1 }.run(&mut twin).unwrap();
        let kept = (1.0 / (1.0 - share)) as f32;
        let expected: Vec<f32> = numbers.iter().map(|number| if *number < share { 0.0 } else { kept }).collect();
        assert_eq!(read(&twin, mask), expected, "{share}");
    }
}

#[test]
fn a_mask_continues_the_stream_at_any_offset_and_keeps_padding() {
    // Two channels stored as three; 5 samples of 7 pixels.
    let draw = |device: &mut dyn Device, [start, before]: [usize; 2]| {
        let mut numbers = [3; STREAM_LEN];
        (numbers[8], numbers[9]) = (start as i32, 1);
        let (stream, mask) = (ints(device, &numbers), upload(device, &[-1.0; 105]));
        DropoutMask { stream, before, mask, share: 0.4, channels: 2, pixels: 7, stored: 3 }.run(device).unwrap();
        read(device, mask)
    };
    // The values in the order in which they are drawn.
    let drawn = |mask: &[f32]| -> Vec<f32> {
        assert!(mask.iter().skip(2).step_by(3).all(|value| *value == -1.0));
        mask.chunks_exact(21).flat_map(|m| (0..2).flat_map(move |c| m.iter().skip(c).step_by(3).copied())).collect()
    };
    let first = drawn(&on_any_grid(|device| draw(device, [100, 0])));
    assert_eq!(first.len(), 70);
    assert!((15..40).contains(&first.iter().filter(|value| **value == 0.0).count()));
    for later in [1, 5, 8, 13] {
        let mut twin = Twin::new();
        assert_eq!(drawn(&draw(&mut twin, [100 + later, 0]))[..70 - later], first[later..]);
        assert_eq!(drawn(&draw(&mut twin, [100, later]))[..70 - later], first[later..]);
    }
}

#[test]
fn mismatched_gathers_and_masks_are_refused_before_any_launch() {
    let mut twin = Twin::new();
    let [table, to] = [upload(&mut twin, &[0.5; 3 * 256]), uninitialised(&mut twin, 60)];
    let (pixels, samples) = (bytes(&mut twin, &pixels()), ints(&mut twin, &[0]));
    let good = Gather { pixels, table, centre: None, samples, moves: None, to, shape: SHAPE };
    for wrong in [
        Gather { pixels: pixels.part(0, 61), ..good },
        Gather { table: table.part(0, 767), ..good },
        Gather { centre: Some(table), ..good },
        Gather { moves: Some(samples), ..good },
        Gather { to: to.part(0, 59), ..good },
        Gather { shape: [3, 4, 0], ..good },
        Gather { pixels: table, ..good },
    ] {
        assert!(wrong.run(&mut twin).is_err(), "{wrong:?}");
    }
    let stream = ints(&mut twin, &[0; STREAM_LEN]);
    let good = DropoutMask { stream, before: 0, mask: to, share: 0.5, channels: 2, pixels: 10, stored: 3 };
    for wrong in [
        DropoutMask { stream: samples, ..good },
        DropoutMask { share: 1.0, ..good },
        DropoutMask { share: f64::NAN, ..good },
        DropoutMask { channels: 4, ..good },
        DropoutMask { pixels: 7, ..good },
    ] {
        assert!(wrong.run(&mut twin).is_err(), "{wrong:?}");
    }
    assert_eq!(twin.launches, 0);
}

#[test]
fn values_are_read_back_in_their_own_type_only() {
    let mut twin = Twin::new();
    let memory = doubles(&mut twin, &[1.5, -2.0]);
    let mut found = [0.0; 2];
    twin.read(memory, HostBuffer::Doubles(&mut found)).unwrap();
    assert_eq!(found, [1.5, -2.0]);
    assert!(
        twin.read(memory, HostBuffer::Floats(&mut [0.0; 2])).is_err()
            && twin.write(HostValues::Ints(&[1, 2]), memory).is_err()
    );
    let memory = bytes(&mut twin, &[1, 2, 255]);
    let mut found = [0; 2];
    twin.read(memory.part(1, 2), HostBuffer::Bytes(&mut found)).unwrap();
    assert_eq!(found, [2, 255]);
    assert!(twin.read(memory, HostBuffer::Bytes(&mut found)).is_err(), "the lengths differ");
    assert!(twin.allocate(Kind::Int, 1).is_err());
    assert_eq!(twin.bytes(), 2 * 8 + 3);
}
