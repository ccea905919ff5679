//! Compares convolutions and their gradients with their definitions in `f64`.

use super::*;
use crate::convolution::{Geometry, Pass, ProductPrecision};

/// All kinds of kernels, strides, padding and channels, and a linear layer.
fn geometries() -> Vec<Geometry> {
    let square = |samples, from: [usize; 2], [inputs, outputs]: [usize; 2], kernel, stride, margin| {
        let along = |i: usize| (from[i] + 2 * margin - kernel) / stride + 1;
        let to = [along(0), along(1)];
        Geometry { samples, from, inputs, to, outputs, kernel: [kernel; 2], stride, margin: [margin; 2] }
    };
    let row = Geometry {
        samples: 3,
        from: [1, 17],
        inputs: 3,
        to: [1, 9],
        outputs: 16,
        kernel: [1, 5],
        stride: 2,
        margin: [0, 2],
    };
    vec![
        square(2, [8, 11], [3, 16], 3, 1, 1),
        square(2, [8, 11], [16, 32], 3, 2, 1),
        square(1, [7, 7], [16, 16], 1, 2, 0),
        square(3, [9, 6], [16, 16], 5, 3, 3),
        square(1, [10, 10], [3, 16], 7, 2, 3),
        square(2, [4, 4], [16, 16], 2, 1, 0),
        // Many rows of pixels that chunks do not divide evenly.
        square(7, [19, 2], [1, 16], 3, 1, 1),
        row,
        // Linear layers. The weights of the second are numerous enough that all rows form one chunk.
        square(9, [1, 1], [400, 48], 1, 1, 0),
        square(2, [1, 1], [2000, 2112], 1, 1, 0),
    ]
}

/// Calls `f` with the indices in x, w and y of every product.
fn each(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let [height, width] = g.to;
    for sample in 0..g.samples {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            for (r, c) in (0..g.kernel[0]).flat_map(|r| (0..g.kernel[1]).map(move |c| (r, c))) {
                let (down, across) = (row * g.stride + r, column * g.stride + c);
                let (Some(down), Some(across)) = (down.checked_sub(g.margin[0]), across.checked_sub(g.margin[1]))
                else {
                    continue;
                };
                if down >= g.from[0] || across >= g.from[1] {
                    continue;
                }
                for (output, input) in (0..g.outputs).flat_map(|o| (0..g.inputs).map(move |i| (o, i))) {
                    f(
                        ((sample * g.from[0] + down) * g.from[1] + across) * g.inputs + input,
                        ((output * g.kernel[0] + r) * g.kernel[1] + c) * g.inputs + input,
                        ((sample * height + row) * width + column) * g.outputs + output,
                    );
                }
            }
        }
    }
}

fn close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 2e-6 * scale, "{what} at {i}: {found} for {expected}");
    }
}

#[test]
fn convolutions_match_their_definition() {
    for geometry in geometries() {
        let lengths = [geometry.input_len(), geometry.weights(), geometry.output_len()];
        let [x, w, d] = [0, 1, 2].map(|i| noise(20 + i as u32, lengths[i]));
        let before = noise(30, x.len());
        let found = on_any_grid(|device| {
            let [at_x, at_w, at_d] = [&x, &w, &d].map(|values| upload(device, values));
            let [y, added, written, of_w] = [
                uninitialised(device, d.len()),
                upload(device, &before),
                uninitialised(device, x.len()),
                uninitialised(device, w.len()),
            ];
            let scratch = uninitialised(device, geometry.scratch());
            let product = Convolution {
                geometry,
                pass: Pass::Forward,
                x: at_x,
                w: at_w,
                y,
                scratch,
                factors: ProductPrecision::F32,
            };
            product.run(device).unwrap();
            let back = Convolution { y: at_d, ..product };
            Convolution { pass: Pass::Back { add: true }, x: added, ..back }.run(device).unwrap();
            Convolution { pass: Pass::Back { add: false }, x: written, ..back }.run(device).unwrap();
            Convolution { pass: Pass::Weights, w: of_w, ..back }.run(device).unwrap();
            [y, written, added, of_w].map(|memory| read(device, memory)).concat()
        });
        let mut expected = (vec![0.0; d.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        each(&geometry, |at_x, at_w, at_y| {
            let [x, w, d] = [x[at_x], w[at_w], d[at_y]].map(f64::from);
            expected.0[at_y] += x * w;
            expected.1[at_x] += d * w;
            expected.2[at_w] += d * x;
        });
        let (y, rest) = found.split_at(d.len());
        let (written, rest) = rest.split_at(x.len());
        let (added, of_w) = rest.split_at(x.len());
        close(&format!("{geometry:?}: forward"), y, &expected.0);
        close(&format!("{geometry:?}: back"), written, &expected.1);
        let sums: Vec<f32> = written.iter().zip(&before).map(|(d, before)| before + d).collect();
        assert_eq!(bits(added), bits(&sums));
        close(&format!("{geometry:?}: weights"), of_w, &expected.2);
    }
}

#[test]
fn the_scratch_memory_of_a_batch_suffices_for_smaller_batches() {
    let row =
        Geometry { from: [8, 1], to: [8, 1], inputs: 1, outputs: 1, kernel: [1, 1], stride: 1, ..geometries()[0] };
    let of = |samples| Geometry { samples, margin: [0, 0], ..row };
    let mut device = Twin::new();
    for (samples, more) in [(8, 9), (2, 3), (1, 2)] {
        let [x, y] = [(); 2].map(|()| uninitialised(&mut device, of(samples).input_len()));
        let [w, scratch] = [1, of(more).scratch()].map(|length| uninitialised(&mut device, length));
        let convolution = Convolution {
            geometry: of(samples),
            pass: Pass::Weights,
            x,
            w,
            y,
            scratch,
            factors: ProductPrecision::F32,
        };
        convolution.run(&mut device).unwrap_or_else(|error| panic!("{samples} of {more}: {error}"));
    }
}

#[test]
fn mismatched_extents_are_refused() {
    let mut twin = Twin::new();
    let good = geometries()[0];
    let [x, w, y] =
        [good.input_len(), good.weights(), good.output_len()].map(|length| uninitialised(&mut twin, length));
    for wrong in [
        Geometry { to: [9, 11], ..good },
        Geometry { stride: 0, ..good },
        Geometry { kernel: [20, 20], ..good },
        Geometry { samples: 3, ..good },
        Geometry { outputs: 15, ..good },
    ] {
        let convolution =
            Convolution { geometry: wrong, pass: Pass::Forward, x, w, y, scratch: w, factors: ProductPrecision::F32 };
        assert!(convolution.run(&mut twin).is_err(), "{wrong:?}");
    }
    let scratch = w.part(0, good.scratch().min(w.len()) - 1);
    let weights = Convolution { geometry: good, pass: Pass::Weights, x, w, y, scratch, factors: ProductPrecision::F32 };
    assert!(weights.run(&mut twin).unwrap_err().to_string().contains("scratch memory of a weight gradient"));
    assert_eq!(twin.launches, 0);
}

/// Rounds to this number of mantissa bits, to nearest, with ties away from zero or to even. Computed arithmetically, without bit operations.
fn rounded(x: f32, bits: i32, ties_to_even: bool) -> f32 {
    if x == 0.0 {
        return x;
    }
    let step = 2f64.powi(f64::from(x).abs().log2().floor() as i32 - bits);
    let (whole, steps) = (f64::from(x) / step, f64::from(x) / step);
    let nearest = if ties_to_even { whole.round_ties_even() } else { steps.round() };
    (nearest * step) as f32
}

/// Replaces some values by numbers half-way between two values with this number of mantissa bits, or next to that.
fn with_ties(mut values: Vec<f32>, bits: i32) -> Vec<f32> {
    for (i, value) in values.iter_mut().enumerate().filter(|(i, _)| i % 5 == 0) {
        let half = 2f32.powi(-bits - 1);
        let beside = [0.0, f32::EPSILON, -f32::EPSILON][i / 5 % 3];
        *value = (1.0 + (i % 7) as f32 * 2.0 * half + half + beside) * value.signum();
    }
    values
}

#[test]
fn values_are_narrowed_to_nearest_and_widened_exactly() {
    let values =
        [with_ties(noise(1, 400), 7), vec![f32::MAX, f32::MIN_POSITIVE, f32::INFINITY, -f32::INFINITY]].concat();
    let before = noise(2, values.len());
    let found = on_any_grid(|device| {
        let narrow = device.allocate(Kind::Halves, values.len()).unwrap();
        let (from, written, added) =
            (upload(device, &values), uninitialised(device, values.len()), upload(device, &before));
        Narrow { from, to: narrow }.run(device).unwrap();
        Widen { from: narrow, to: written, add: false }.run(device).unwrap();
        Widen { from: narrow, to: added, add: true }.run(device).unwrap();
        [written, added].map(|memory| read(device, memory)).concat()
    });
    let (written, added) = found.split_at(values.len());
    let infinite = [f32::INFINITY, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY];
    let expected: Vec<f32> = values[..400].iter().map(|x| rounded(*x, 7, true)).chain(infinite).collect();
    assert_eq!(bits(written), bits(&expected));
    let sums: Vec<f32> = expected.iter().zip(&before).map(|(x, before)| before + x).collect();
    assert_eq!(bits(added), bits(&sums));
    let mut twin = Twin::new();
    let (from, to) = (upload(&mut twin, &[f32::NAN]), twin.allocate(Kind::Halves, 1).unwrap());
    Narrow { from, to }.run(&mut twin).unwrap();
    Widen { from: to, to: from, add: false }.run(&mut twin).unwrap();
    assert!(read(&twin, from)[0].is_nan());
    assert!(Narrow { from, to: from }.run(&mut twin).is_err(), "both have 32 bits");
}

/// Compares all products of rounded factors with their definitions in `f64`.
#[test]
fn factors_are_rounded_before_multiplication_and_sums_are_not() {
    for geometry in geometries().into_iter().take(8) {
        let lengths = [geometry.input_len(), geometry.weights(), geometry.output_len()];
        for narrow in [false, true] {
            let kept = if narrow { 7 } else { 10 };
            let [x, w, d] = [0, 1, 2].map(|i| with_ties(noise(20 + i as u32, lengths[i]), kept));
            let before = noise(30, x.len());
            let found = on_any_grid(|device| {
                let [at_x, at_w, at_d] = [&x, &w, &d].map(|values| upload(device, values));
                let [y, added, of_w] =
                    [uninitialised(device, d.len()), upload(device, &before), uninitialised(device, w.len())];
                let scratch = uninitialised(device, geometry.scratch());
                let factors = if narrow {
                    // Longer than required.
                    ProductPrecision::Bf16 {
                        buffers: lengths.map(|length| device.allocate(Kind::Halves, length + 3).unwrap()),
                    }
                } else {
                    ProductPrecision::Tf32
                };
                let product = Convolution { geometry, pass: Pass::Forward, x: at_x, w: at_w, y, scratch, factors };
                product.run(device).unwrap();
                let back = Convolution { y: at_d, ..product };
                Convolution { pass: Pass::Back { add: true }, x: added, ..back }.run(device).unwrap();
                Convolution { pass: Pass::Weights, w: of_w, ..back }.run(device).unwrap();
                [y, added, of_w].map(|memory| read(device, memory)).concat()
            });
            let [x, w, d] = [&x, &w, &d].map(|v| v.iter().map(|v| rounded(*v, kept, narrow)).collect::<Vec<f32>>());
            let mut expected = (vec![0.0; d.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            each(&geometry, |at_x, at_w, at_y| {
                let [x, w, d] = [x[at_x], w[at_w], d[at_y]].map(f64::from);
                expected.0[at_y] += x * w;
                expected.1[at_x] += d * w;
                expected.2[at_w] += d * x;
            });
            let (y, rest) = found.split_at(d.len());
            let (added, of_w) = rest.split_at(x.len());
            let of_x: Vec<f32> = added.iter().zip(&before).map(|(sum, before)| sum - before).collect();
            for (what, found, expected) in [("y", y, &expected.0), ("x", &of_x, &expected.1), ("w", of_w, &expected.2)]
            {
                let scale = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    // Bfloat16 results are rounded as well.
                    let allowed = 2e-6 * scale + if narrow { expected.abs() / 256.0 } else { 0.0 };
                    assert!(
                        (f64::from(*found) - expected).abs() <= allowed,
                        "{what}: {found} for {expected}, {geometry:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_buffers_of_bfloat16_factors_are_checked() {
    let mut twin = Twin::new();
    let geometry = geometries()[0];
    let lengths = [geometry.input_len(), geometry.weights(), geometry.output_len()];
    let [x, w, y] = lengths.map(|length| uninitialised(&mut twin, length));
    let rooms = lengths.map(|length| twin.allocate(Kind::Halves, length).unwrap());
    let product = |buffers| Convolution {
        geometry,
        pass: Pass::Forward,
        x,
        w,
        y,
        scratch: w,
        factors: ProductPrecision::Bf16 { buffers },
    };
    let short = product([rooms[0], rooms[1].part(0, lengths[1] - 1), rooms[2]]).run(&mut twin).unwrap_err();
    assert!(short.to_string().contains("bfloat16 weights"), "{short}");
    assert!(product([x, w, y]).run(&mut twin).is_err(), "buffers of 32 bits");
    assert!(product(rooms).run(&mut twin).is_ok());
}
