//! A digest of all kernels' results, which every CPU must reproduce.

use crate::{Random, everywhere};
use plusminus_kernels::{
    Adam, Add, Average, BLOCK, ChannelMoments, Correlation, Extents, GradientApply, GradientSums, InputGradient,
    InputTransform, Instructions, Join, KernelGradient, KernelTransform, Mask, MaxPool, MaxPoolGradient, OuterSum,
    OutputGradient, OutputTransform, PLACES, Pad, Sgd, Strides, Tiles, View, Windows,
};

/// Runs every kernel on an image of this size, each on the results of earlier ones. Returns all results in order.
fn computation(channels: usize, extent: [usize; 2], instructions: Instructions) -> Vec<f32> {
    let pixels = extent[0] * extent[1];
    let [rows, columns] = extent.map(|extent| extent.div_ceil(2));
    // With a border of one pixel, and the pixels that edge tiles read beyond it.
    let larger = [2 * rows + 2, 2 * columns + 2];
    let mut random = Random(2026);
    let mut found = Vec::new();
    let image = random.fine(pixels * channels);
    let [scale, shift, mean] = [(); 3].map(|()| random.fine(channels));
    let view = View { affine: Some((&scale, &shift)), rectify: true };

    let mut padded = vec![0.0; larger[0] * larger[1] * channels];
    let (columns, before) = (larger[1], [1, 1]);
    Pad { image: &image, extent, channels, view, padded: &mut padded, columns, before }.run(instructions);

    // A 3×3 convolution and the gradient of its weights.
    let extents = Extents { images: 1, rows: extent[0], columns: extent[1] };
    let row = larger[1] * channels;
    let x_strides = Strides::dense(larger[0], larger[1], channels);
    let y_strides = Strides::dense(extent[0], extent[1], channels);
    let (rows, length, panel, outputs) = (3, 3 * channels, 9 * channels * BLOCK, channels);
    let kernels = random.fine(9 * channels * channels);
    let mut y = random.fine(pixels * channels);
    let (x, weights) = (&padded, &kernels);
    Correlation {
        extents,
        x,
        x_strides,
        rows,
        row,
        length,
        weights,
        panel,
        outputs,
        y: &mut y,
        y_strides,
        accumulate: true,
    }
    .run(instructions);
    let mut sums = random.fine(kernels.len());
    let (d, d_strides) = (&y, y_strides);
    OuterSum { extents, x, x_strides, rows, row, length, d, d_strides, weights: &mut sums, panel, outputs }
        .run(instructions);
    found.extend_from_slice(&sums);

    let (results, output) = tiled_convolution(&mut padded, &kernels, channels, extent, instructions);
    found.extend(results);

    // Operations between products.
    let mut joined = vec![0.0; pixels * channels];
    let inputs = [Some((&y[..], view)), Some((&output[..], View::default()))];
    Join { inputs, channels, rectify: true, output: &mut joined }.run(instructions);
    let windows = Windows { extent, kernel: [3, 3], stride: 2, padding: 0, channels };
    let mut pooled = vec![0.0; windows.output().into_iter().product::<usize>() * channels];
    MaxPool { image: &joined, view, windows, output: &mut pooled }.run(instructions);
    let gradient = random.fine(pooled.len());
    let image_gradient = &mut image.clone();
    MaxPoolGradient { image: &joined, view, windows, output: &pooled, gradient: &gradient, image_gradient }
        .run(instructions);
    Mask { output: &joined, gradient: image_gradient }.run(instructions);
    let mut moments = [(); 4].map(|()| vec![0.0; channels]);
    let [average, squares, sum, product] = &mut moments;
    ChannelMoments { image: &joined, mean: average, squares }.run(instructions);
    Add { values: squares, total: average }.run(instructions);
    GradientSums { gradient: image_gradient, image: &image, view, mean: &mean, sum, product }.run(instructions);
    let factors = Some([&scale[..], &shift[..], &mean[..]]);
    let (gradient, columns) = (&*image_gradient, larger[1]);
    let padded = &mut padded;
    GradientApply { gradient, image: &image, extent, channels, view, factors, padded, columns, before }
        .run(instructions);
    let mut mean = mean.clone();
    Average { image: padded, view, output: &mut mean }.run(instructions);
    found.extend(moments.iter().flatten().chain(&*padded).chain(&pooled).chain(&mean));

    found.extend(optimiser_steps(&mut random, &sums, instructions));
    found
}

/// The 3×3 convolution in tiles, forward and backward. Returns all results, and the output.
fn tiled_convolution(
    padded: &mut [f32],
    kernels: &[f32],
    channels: usize,
    extent: [usize; 2],
    instructions: Instructions,
) -> (Vec<f32>, Vec<f32>) {
    let [rows, columns] = extent.map(|extent| extent.div_ceil(2));
    let row = (2 * columns + 2) * channels;
    let tiles = || Tiles { rows: 0..rows, columns, first: 0, place: rows * columns * channels };
    let mut found = Vec::new();
    let mut v = vec![0.0; PLACES * tiles().place];
    InputTransform { image: padded, row, channels, tiles: tiles(), transform: &mut v }.run(instructions);
    let mut u = vec![0.0; PLACES * channels * channels];
    for transposed in [true, false] {
        KernelTransform { kernels, inputs: channels, transform: &mut u, transposed }.run(instructions);
        found.extend_from_slice(&u);
    }
    let m: Vec<f32> = v.iter().zip(u.iter().cycle()).map(|(v, u)| v * u).collect();
    let mut output = vec![0.0; extent[0] * extent[1] * channels];
    OutputTransform { transform: &m, tiles: tiles(), extent, channels, image: &mut output }.run(instructions);
    OutputGradient { image: &output, extent, channels, tiles: tiles(), transform: &mut v }.run(instructions);
    InputGradient { transform: &v, tiles: tiles(), channels, image: padded, row }.run(instructions);
    let mut kernel_gradient = vec![0.0; kernels.len()];
    KernelGradient { transform: &u, inputs: channels, kernels: &mut kernel_gradient }.run(instructions);
    found.extend(padded.iter().chain(&kernel_gradient));
    (found, output)
}

/// Two steps of SGD and one of Adam over a length that does not fill the last vector.
fn optimiser_steps(random: &mut Random, gradients: &[f32], instructions: Instructions) -> Vec<f32> {
    let mut weights = random.fine(99);
    let [mut velocity, mut average] = [vec![0.0; 99], vec![0.0; 99]];
    let mut square: Vec<f32> = random.fine(99).iter().map(|value| value.abs()).collect();
    for nesterov in [false, true] {
        let (weights, velocity, gradient) = (&mut weights, &mut velocity, &gradients[..99]);
        Sgd { weights, gradient, velocity, lr: 0.1, momentum: 0.9, decay: 5e-4, nesterov }.run(instructions);
    }
    let (weights, mean, square) = (&mut weights, &mut average, &mut square);
    let (gradient, beta1, beta2) = (&gradients[99..][..99], [0.9, 0.1], [0.999, 0.001]);
    Adam { weights, gradient, mean, square, rate: 0.01, root: 1.5, beta1, beta2, epsilon: 1e-8, decay: 5e-4 }
        .run(instructions);
    [&weights[..], &mean[..], &square[..], &velocity[..]].concat()
}

/// FNV-1a hash with 64 bits (Fowler, Noll and Vo) of the bytes of the numbers.
fn digest(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// A change in the order of a sum changes this digest and the results of all training. Such a change must be announced.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn every_cpu_gives_these_bytes() {
    for instructions in Instructions::all() {
        let found = computation(32, [5, 7], instructions);
        assert!(found.iter().all(|value| value.is_finite()));
        assert_eq!(format!("{:016x}", digest(&found)), "99bdcf6adf414b8b", "{}", instructions.name());
    }
}

/// Small enough for Miri.
#[test]
fn all_instruction_sets_give_the_same_bytes_with_every_kernel() {
    everywhere("every kernel", |instructions| computation(16, [3, 3], instructions));
}

#[test]
fn instruction_sets_are_listed_fastest_first_and_portable_last() {
    let names: Vec<&str> = Instructions::all().into_iter().map(Instructions::name).collect();
    assert_eq!(names.last(), Some(&"portable"));
    assert!(
        names.is_sorted_by_key(|name| ["avx512", "avx2", "neon", "portable"].iter().position(|other| other == name))
    );
    if cfg!(target_arch = "aarch64") {
        assert_eq!(names, ["neon", "portable"]);
    }
}
