//! The bytes that all processors shall give.

use crate::Random;
use plusminus_kernels::{
    Adam, Add, Average, BLOCK, Correlation, Extents, GradientApply, GradientSums, InputGradient, InputTransform,
    Instructions, Join, KernelGradient, KernelTransform, Mask, MaxPool, MaxPoolGradient, Moments, OuterSum,
    OutputGradient, OutputTransform, PLACES, Pad, Sgd, Steps, Tiles, View, Windows,
};

const CHANNELS: usize = 32;
const EXTENT: [usize; 2] = [5, 7];
const PIXELS: usize = 5 * 7;
/// With a border of one pixel, and what tiles at the edge take beyond it.
const PADDED: [usize; 2] = [8, 10];

/// A small computation through every kernel, which takes up what the one before left: all numbers that come of it, in order.
fn computation(instructions: Instructions) -> Vec<f32> {
    let mut random = Random(2026);
    let mut found = Vec::new();
    let image = random.fine(PIXELS * CHANNELS);
    let [scale, shift, mean] = [(); 3].map(|()| random.fine(CHANNELS));
    let view = View { affine: Some((&scale, &shift)), rectify: true };

    let mut padded = vec![0.0; PADDED[0] * PADDED[1] * CHANNELS];
    let (columns, before) = (PADDED[1], [1, 1]);
    Pad { image: &image, extent: EXTENT, channels: CHANNELS, view, padded: &mut padded, columns, before }
        .run(instructions);

    // A 3×3 convolution and the gradient of its weights.
    let extents = Extents { images: 1, rows: EXTENT[0], columns: EXTENT[1] };
    let row = PADDED[1] * CHANNELS;
    let x_steps = Steps::dense(PADDED[0], PADDED[1], CHANNELS);
    let y_steps = Steps::dense(EXTENT[0], EXTENT[1], CHANNELS);
    let (rows, length, panel, outputs) = (3, 3 * CHANNELS, 9 * CHANNELS * BLOCK, CHANNELS);
    let kernels = random.fine(9 * CHANNELS * CHANNELS);
    let mut y = random.fine(PIXELS * CHANNELS);
    let (x, weights) = (&padded, &kernels);
    Correlation {
        extents,
        x,
        x_steps,
        rows,
        row,
        length,
        weights,
        panel,
        outputs,
        y: &mut y,
        y_steps,
        accumulate: true,
    }
    .run(instructions);
    let mut sums = random.fine(kernels.len());
    let (d, d_steps) = (&y, y_steps);
    OuterSum { extents, x, x_steps, rows, row, length, d, d_steps, weights: &mut sums, panel, outputs }
        .run(instructions);
    found.extend_from_slice(&sums);

    // The same by tiles, there and back.
    let tiles = || Tiles { rows: 0..3, columns: 4, first: 0, place: 12 * CHANNELS };
    let mut v = vec![0.0; PLACES * 12 * CHANNELS];
    InputTransform { image: &padded, row, channels: CHANNELS, tiles: tiles(), transform: &mut v }.run(instructions);
    let mut u = vec![0.0; PLACES * CHANNELS * CHANNELS];
    for transposed in [true, false] {
        KernelTransform { kernels: &kernels, inputs: CHANNELS, transform: &mut u, transposed }.run(instructions);
        found.extend_from_slice(&u);
    }
    let m: Vec<f32> = v.iter().zip(u.iter().cycle()).map(|(v, u)| v * u).collect();
    let mut output = vec![0.0; PIXELS * CHANNELS];
    OutputTransform { transform: &m, tiles: tiles(), extent: EXTENT, channels: CHANNELS, image: &mut output }
        .run(instructions);
    OutputGradient { image: &output, extent: EXTENT, channels: CHANNELS, tiles: tiles(), transform: &mut v }
        .run(instructions);
    InputGradient { transform: &v, tiles: tiles(), channels: CHANNELS, image: &mut padded, row }.run(instructions);
    let mut kernel_gradient = vec![0.0; kernels.len()];
    KernelGradient { transform: &u, inputs: CHANNELS, kernels: &mut kernel_gradient }.run(instructions);
    found.extend(padded.iter().chain(&kernel_gradient));

    // What stands between products.
    let mut joined = vec![0.0; PIXELS * CHANNELS];
    let inputs = [Some((&y[..], view)), Some((&output[..], View::default()))];
    Join { inputs, channels: CHANNELS, rectify: true, output: &mut joined }.run(instructions);
    let windows = Windows { extent: EXTENT, kernel: [3, 3], stride: 2, channels: CHANNELS };
    let mut pooled = vec![0.0; 2 * 3 * CHANNELS];
    MaxPool { image: &joined, view, windows, output: &mut pooled }.run(instructions);
    let gradient = random.fine(pooled.len());
    let image_gradient = &mut image.clone();
    MaxPoolGradient { image: &joined, view, windows, output: &pooled, gradient: &gradient, image_gradient }
        .run(instructions);
    Mask { output: &joined, gradient: image_gradient }.run(instructions);
    let mut moments = [(); 4].map(|()| vec![0.0; CHANNELS]);
    let [average, squares, sum, product] = &mut moments;
    Moments { image: &joined, mean: average, squares }.run(instructions);
    Add { values: squares, total: average }.run(instructions);
    GradientSums { gradient: image_gradient, image: &image, view, mean: &mean, sum, product }.run(instructions);
    let factors = Some([&scale[..], &shift[..], &mean[..]]);
    let (gradient, columns) = (&*image_gradient, PADDED[1]);
    let (extent, channels, padded) = (EXTENT, CHANNELS, &mut padded);
    GradientApply { gradient, image: &image, extent, channels, view, factors, padded, columns, before }
        .run(instructions);
    let mut mean = mean.clone();
    Average { image: padded, view, output: &mut mean }.run(instructions);
    found.extend(moments.iter().flatten().chain(&*padded).chain(&pooled).chain(&mean));

    // Steps of optimisers, whose last vectors are not whole.
    let mut weights = random.fine(99);
    let [mut velocity, mut average] = [vec![0.0; 99], vec![0.0; 99]];
    let mut square: Vec<f32> = random.fine(99).iter().map(|value| value.abs()).collect();
    for nesterov in [false, true] {
        let (weights, velocity, gradient) = (&mut weights, &mut velocity, &sums[..99]);
        Sgd { weights, gradient, velocity, lr: 0.1, momentum: 0.9, decay: 5e-4, nesterov }.run(instructions);
    }
    let (weights, mean, square) = (&mut weights, &mut average, &mut square);
    let (gradient, beta1, beta2) = (&sums[99..][..99], [0.9, 0.1], [0.999, 0.001]);
    Adam { weights, gradient, mean, square, rate: 0.01, root: 1.5, beta1, beta2, epsilon: 1e-8, decay: 5e-4 }
        .run(instructions);
    found.extend(weights.iter().chain(&*mean).chain(&*square).chain(&velocity));
    found
}

/// Fowler, Noll and Vo's hash (FNV-1a, 64 bits) of the numbers' bytes.
fn digest(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Whoever changes the order of a sum changes the digest, and with it what every training gives: both are then to be told of.
#[test]
fn every_processor_gives_these_bytes() {
    for instructions in Instructions::all() {
        let found = computation(instructions);
        assert!(found.iter().all(|value| value.is_finite()));
        assert_eq!(format!("{:016x}", digest(&found)), "99bdcf6adf414b8b", "{}", instructions.name());
    }
}
