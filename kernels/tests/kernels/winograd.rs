//! Compares Winograd's transforms with matrix products, their gradients with adjoints, and all of them with the convolutions they replace.

use crate::{DRAWS, Draw, Random, dot, everywhere, place, same};
use plusminus_kernels::{
    BLOCK, Correlation, Extents, InputGradient, InputTransform, Instructions, KernelGradient, KernelTransform,
    OuterSum, OutputGradient, OutputTransform, PLACES, Strides, Tiles,
};
use std::ops::Range;

/// Bᵀ, G and Aᵀ of Lavin & Gray 2016, §4.1.
const INPUT: [[f32; 4]; 4] =
    [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
const KERNEL: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
const OUTPUT: [[f32; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

/// Element (i, j) of M x Mᵀ.
fn transformed<const N: usize, const M: usize>(
    matrix: &[[f32; N]; M],
    [i, j]: [usize; 2],
    x: impl Fn(usize, usize) -> f32,
) -> f32 {
    (0..N * N).map(|at| matrix[i][at / N] * x(at / N, at % N) * matrix[j][at % N]).sum()
}

/// A 3×3 convolution with stride 1 over images that include their border.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    /// Rows and columns of the output.
    extent: [usize; 2],
    inputs: usize,
    outputs: usize,
}

const CASES: [Case; 7] = [
    Case { images: 1, extent: [1, 1], inputs: 16, outputs: 16 },
    Case { images: 2, extent: [2, 2], inputs: 16, outputs: 32 },
    Case { images: 3, extent: [3, 5], inputs: 32, outputs: 16 },
    Case { images: 1, extent: [7, 4], inputs: 48, outputs: 64 },
    Case { images: 2, extent: [4, 9], inputs: 64, outputs: 48 },
    Case { images: 1, extent: [1, 12], inputs: 16, outputs: 112 },
    Case { images: 1, extent: [9, 1], inputs: 80, outputs: 16 },
];

impl Case {
    /// Rows and columns of tiles.
    fn tiles(&self) -> [usize; 2] {
        self.extent.map(|extent| extent.div_ceil(2))
    }

    /// Values per row of an input image. Rows have one more pixel than the tiles read.
    fn row(&self) -> usize {
        (2 * self.tiles()[1] + 3) * self.inputs
    }

    /// Values per input image.
    fn input(&self) -> usize {
        (2 * self.tiles()[0] + 2) * self.row()
    }

    /// Values per output image.
    fn output(&self) -> usize {
        self.extent[0] * self.extent[1] * self.outputs
    }

    /// Tiles of all images.
    fn count(&self) -> usize {
        self.images * self.tiles()[0] * self.tiles()[1]
    }

    fn kernels(&self) -> usize {
        9 * self.inputs * self.outputs
    }

    /// Calls `f` for every image with its tiles, in bands of `band` rows.
    fn bands(&self, band: usize, channels: usize, mut f: impl FnMut(usize, Tiles)) {
        let [rows, columns] = self.tiles();
        for image in 0..self.images {
            for start in (0..rows).step_by(band) {
                let first = (image * rows + start) * columns;
                let rows = start..rows.min(start + band);
                f(image, Tiles { rows, columns, first, place: self.count() * channels });
            }
        }
    }

    /// Image, row and column of every tile, in order.
    fn each(&self) -> impl Iterator<Item = [usize; 3]> {
        let [rows, columns] = self.tiles();
        (0..self.count()).map(move |at| [at / (rows * columns), at / columns % rows, at % columns])
    }

    fn input_transform(&self, x: &[f32], band: usize, instructions: Instructions) -> Vec<f32> {
        let mut transform = vec![f32::NAN; PLACES * self.count() * self.inputs];
        self.bands(band, self.inputs, |image, tiles| {
            let image = &x[self.part(image, self.input())];
            InputTransform { image, row: self.row(), channels: self.inputs, tiles, transform: &mut transform }
                .run(instructions);
        });
        transform
    }

    fn input_gradient(&self, transform: &[f32], x: &[f32], band: usize, instructions: Instructions) -> Vec<f32> {
        let mut x = x.to_vec();
        self.bands(band, self.inputs, |image, tiles| {
            let image = &mut x[self.part(image, self.input())];
            InputGradient { transform, tiles, channels: self.inputs, image, row: self.row() }.run(instructions);
        });
        x
    }

    fn output_transform(&self, transform: &[f32], band: usize, instructions: Instructions) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.images * self.output()];
        self.bands(band, self.outputs, |image, tiles| {
            let image = &mut y[self.part(image, self.output())];
            OutputTransform { transform, tiles, extent: self.extent, channels: self.outputs, image }.run(instructions);
        });
        y
    }

    fn output_gradient(&self, y: &[f32], band: usize, instructions: Instructions) -> Vec<f32> {
        let mut transform = vec![f32::NAN; PLACES * self.count() * self.outputs];
        self.bands(band, self.outputs, |image, tiles| {
            let image = &y[self.part(image, self.output())];
            OutputGradient { image, extent: self.extent, channels: self.outputs, tiles, transform: &mut transform }
                .run(instructions);
        });
        transform
    }

    fn kernel_transform(&self, kernels: &[f32], transposed: bool, instructions: Instructions) -> Vec<f32> {
        let mut transform = vec![f32::NAN; kernels.len() / 9 * PLACES];
        KernelTransform { kernels, inputs: self.inputs, transform: &mut transform, transposed }.run(instructions);
        transform
    }

    fn kernel_gradient(&self, transform: &[f32], instructions: Instructions) -> Vec<f32> {
        let mut kernels = vec![f32::NAN; self.kernels()];
        KernelGradient { transform, inputs: self.inputs, kernels: &mut kernels }.run(instructions);
        kernels
    }

    fn part(&self, image: usize, length: usize) -> Range<usize> {
        image * length..(image + 1) * length
    }

    /// The matrix products of all places, from `from` values per tile to `to`.
    fn products(&self, v: &[f32], u: &[f32], [from, to]: [usize; 2], instructions: Instructions) -> Vec<f32> {
        let mut m = vec![0.0; PLACES * self.count() * to];
        let parts = v
            .chunks_exact(self.count() * from)
            .zip(u.chunks_exact(from * to))
            .zip(m.chunks_exact_mut(self.count() * to));
        for ((x, weights), y) in parts {
            Correlation {
                extents: Extents::matrix(self.count()),
                x,
                x_strides: Strides::matrix(from),
                rows: 1,
                row: 0,
                length: from,
                weights,
                panel: from * BLOCK,
                outputs: to,
                y,
                y_strides: Strides::matrix(to),
                accumulate: false,
            }
            .run(instructions);
        }
        m
    }

    /// The gradient of [`Case::products`] with respect to u.
    fn sums(&self, v: &[f32], m: &[f32], instructions: Instructions) -> Vec<f32> {
        let mut u = vec![0.0; PLACES * self.inputs * self.outputs];
        let parts = v
            .chunks_exact(self.count() * self.inputs)
            .zip(m.chunks_exact(self.count() * self.outputs))
            .zip(u.chunks_exact_mut(self.inputs * self.outputs));
        for ((x, d), weights) in parts {
            OuterSum {
                extents: Extents::matrix(self.count()),
                x,
                x_strides: Strides::matrix(self.inputs),
                rows: 1,
                row: 0,
                length: self.inputs,
                d,
                d_strides: Strides::matrix(self.outputs),
                weights,
                panel: self.inputs * BLOCK,
                outputs: self.outputs,
            }
            .run(instructions);
        }
        u
    }

    /// Calls `f` with the indices in x, kernels and y of every product of the direct convolution.
    fn convolve(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [height, width] = self.extent;
        for pixel in 0..self.images * height * width {
            let [image, row, column] = [pixel / (height * width), pixel / width % height, pixel % width];
            for value in 0..9 * self.inputs {
                let (tap, channel) = (value / self.inputs, value % self.inputs);
                let x = (row + tap / 3) * self.row() + (column + tap % 3) * self.inputs + channel;
                for output in 0..self.outputs {
                    let weight = place(9 * self.inputs * BLOCK, value, output);
                    f(image * self.input() + x, weight, pixel * self.outputs + output);
                }
            }
        }
    }

    fn draw(&self, draw: Draw) -> [Vec<f32>; 3] {
        let mut random = Random(self.kernels() as u64);
        [self.images * self.input(), self.kernels(), self.images * self.output()].map(|count| draw(&mut random, count))
    }
}

#[test]
fn input_transforms_match_the_matrix_product_whole_and_in_bands() {
    for case in CASES {
        for (draw, exact) in DRAWS {
            let [x, _, _] = case.draw(draw);
            let found = everywhere(case, |instructions| case.input_transform(&x, usize::MAX, instructions));
            for band in 1..case.tiles()[0] {
                same(("in bands", case), &case.input_transform(&x, band, Instructions::best()), &found);
            }
            if !exact {
                continue;
            }
            for (tile, [image, row, column]) in case.each().enumerate() {
                for (channel, f) in (0..case.inputs * PLACES).map(|at| (at / PLACES, at % PLACES)) {
                    let expected = transformed(&INPUT, [f / 4, f % 4], |i, j| {
                        x[image * case.input() + (2 * row + i) * case.row() + (2 * column + j) * case.inputs + channel]
                    });
                    assert_eq!(
                        found[(f * case.count() + tile) * case.inputs + channel],
                        expected,
                        "{case:?} {tile} {f}"
                    );
                }
            }
        }
    }
}

#[test]
fn output_transforms_match_the_matrix_product_whole_and_in_bands() {
    for case in CASES {
        for (draw, exact) in DRAWS {
            let m = draw(&mut Random(5), PLACES * case.count() * case.outputs);
            let found = everywhere(case, |instructions| case.output_transform(&m, usize::MAX, instructions));
            for band in 1..case.tiles()[0] {
                same(("in bands", case), &case.output_transform(&m, band, Instructions::best()), &found);
            }
            if !exact {
                continue;
            }
            let [height, width] = case.extent;
            for (tile, [image, row, column]) in case.each().enumerate() {
                for (channel, at) in (0..4 * case.outputs).map(|at| (at / 4, [at / 2 % 2, at % 2])) {
                    let [row, column] = [2 * row + at[0], 2 * column + at[1]];
                    if row < height && column < width {
                        let expected = transformed(&OUTPUT, at, |i, j| {
                            m[((4 * i + j) * case.count() + tile) * case.outputs + channel]
                        });
                        let place = ((image * height + row) * width + column) * case.outputs + channel;
                        assert_eq!(found[place], expected, "{case:?} {tile} {at:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn kernel_transforms_match_the_matrix_product_plain_and_transposed() {
    for case in CASES {
        for (draw, exact) in DRAWS {
            let [_, kernels, _] = case.draw(draw);
            let found = everywhere(case, |instructions| case.kernel_transform(&kernels, false, instructions));
            let turned = everywhere(case, |instructions| case.kernel_transform(&kernels, true, instructions));
            let size = case.inputs * case.outputs;
            for (f, at) in (0..PLACES * size).map(|at| (at / size, at % size)) {
                let (input, output) = (at / case.outputs, at % case.outputs);
                let straight = found[f * size + place(case.inputs * BLOCK, input, output)];
                let turned = turned[f * size + place(case.outputs * BLOCK, output, input)];
                assert_eq!(straight, turned, "{case:?} {f} {input} {output}");
                if exact {
                    let expected = transformed(&KERNEL, [f / 4, f % 4], |i, j| {
                        kernels[place(9 * case.inputs * BLOCK, (3 * i + j) * case.inputs + input, output)]
                    });
                    assert_eq!(straight, expected, "{case:?} {f} {input} {output}");
                }
            }
        }
    }
}

/// ⟨A x, y⟩ = ⟨x, Aᵀ y⟩.
#[test]
fn gradients_of_transforms_are_their_adjoints() {
    for case in CASES {
        for (draw, exact) in DRAWS {
            let [x, kernels, y] = case.draw(draw);
            let random = &mut Random(9);
            let [v, u, m] = [case.count() * case.inputs, case.inputs * case.outputs, case.count() * case.outputs]
                .map(|count| draw(random, PLACES * count));
            let none = vec![0.0; x.len()];
            let input = everywhere(case, |instructions| case.input_gradient(&v, &none, usize::MAX, instructions));
            let kernel = everywhere(case, |instructions| case.kernel_gradient(&u, instructions));
            let output = everywhere(case, |instructions| case.output_gradient(&y, usize::MAX, instructions));
            for band in 1..case.tiles()[0] {
                same(("in bands", case), &case.input_gradient(&v, &none, band, Instructions::best()), &input);
                same(("in bands", case), &case.output_gradient(&y, band, Instructions::best()), &output);
            }
            if exact {
                let best = Instructions::best();
                assert_eq!(dot(&case.input_transform(&x, usize::MAX, best), &v), dot(&x, &input), "{case:?}");
                assert_eq!(dot(&case.kernel_transform(&kernels, false, best), &u), dot(&kernels, &kernel), "{case:?}");
                assert_eq!(dot(&case.output_transform(&m, usize::MAX, best), &y), dot(&m, &output), "{case:?}");
                let sum: Vec<f32> = x.iter().zip(&input).map(|(x, d)| x + d).collect();
                same(("on top", case), &case.input_gradient(&v, &x, usize::MAX, best), &sum);
            }
        }
    }
}

#[test]
fn tiles_compute_the_convolution_and_its_gradients() {
    for case in CASES {
        for (draw, exact) in DRAWS {
            let [x, kernels, d] = case.draw(draw);
            let forward = everywhere(case, |instructions| {
                let v = case.input_transform(&x, usize::MAX, instructions);
                let u = case.kernel_transform(&kernels, false, instructions);
                let m = case.products(&v, &u, [case.inputs, case.outputs], instructions);
                case.output_transform(&m, usize::MAX, instructions)
            });
            let to_kernels = everywhere(case, |instructions| {
                let v = case.input_transform(&x, usize::MAX, instructions);
                let m = case.output_gradient(&d, usize::MAX, instructions);
                case.kernel_gradient(&case.sums(&v, &m, instructions), instructions)
            });
            let to_x = everywhere(case, |instructions| {
                let m = case.output_gradient(&d, usize::MAX, instructions);
                let u = case.kernel_transform(&kernels, true, instructions);
                let v = case.products(&m, &u, [case.outputs, case.inputs], instructions);
                case.input_gradient(&v, &vec![0.0; x.len()], usize::MAX, instructions)
            });
            if exact {
                let mut expected = [vec![0.0; d.len()], vec![0.0; kernels.len()], vec![0.0; x.len()]];
                case.convolve(|x_at, kernel, y| {
                    expected[0][y] += x[x_at] * kernels[kernel];
                    expected[1][kernel] += x[x_at] * d[y];
                    expected[2][x_at] += kernels[kernel] * d[y];
                });
                same(("forward", case), &forward, &expected[0]);
                same(("to kernels", case), &to_kernels, &expected[1]);
                same(("to x", case), &to_x, &expected[2]);
            }
        }
    }
}
