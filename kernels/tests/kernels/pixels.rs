//! Operations over pixels: copies, sums, moments and gradients.

use crate::{DRAWS, Random, everywhere, near, same};
use plusminus_kernels::{Add, ChannelMoments, GradientApply, GradientSums, Join, Mask, Pad, View};

/// A view that owns its scale and shift.
#[derive(Clone, Debug)]
pub struct Reading {
    affine: Option<[Vec<f32>; 2]>,
    rectify: bool,
}

impl Reading {
    /// All kinds of views.
    pub fn all(random: &mut Random, channels: usize) -> Vec<Reading> {
        let mut affine = || Some([random.eighths(channels), random.eighths(channels)]);
        let mut found = Vec::new();
        for rectify in [false, true] {
            found.push(Reading { affine: None, rectify });
            found.push(Reading { affine: affine(), rectify });
        }
        found
    }

    pub fn view(&self) -> View<'_> {
        let affine = self.affine.as_ref().map(|[scale, shift]| (&scale[..], &shift[..]));
        View { affine, rectify: self.rectify }
    }

    fn before(&self, x: f32, channel: usize) -> f32 {
        self.affine.as_ref().map_or(x, |[scale, shift]| x.mul_add(scale[channel], shift[channel]))
    }

    /// The value that x reads as.
    pub fn read(&self, x: f32, channel: usize) -> f32 {
        let value = self.before(x, channel);
        if self.rectify && value < 0.0 { 0.0 } else { value }
    }

    /// The gradient with respect to the value before rectification, from the gradient d.
    pub fn gradient(&self, x: f32, channel: usize, d: f32) -> f32 {
        if self.rectify && self.before(x, channel) <= 0.0 { 0.0 } else { d }
    }
}

/// Index of pixel (row, column) of an image within its padded image.
fn inside([row, column]: [usize; 2], columns: usize, before: [usize; 2]) -> usize {
    (before[0] + row) * columns + before[1] + column
}

/// Extents; then rows above, columns on the left, rows below, columns on the right.
const BORDERS: [([usize; 2], [usize; 4]); 5] = [
    ([1, 1], [0, 0, 0, 0]),
    ([3, 4], [1, 1, 1, 1]),
    ([4, 3], [2, 0, 0, 3]),
    ([1, 9], [0, 2, 1, 0]),
    ([5, 2], [3, 3, 4, 4]),
];

#[test]
fn a_padded_image_contains_the_values_as_read_within_zeros() {
    for ([height, width], [above, left, below, right]) in BORDERS {
        let [rows, columns] = [above + height + below, left + width + right];
        for channels in [1, 3, 16, 48] {
            let mut random = Random(2);
            let image = random.eighths(height * width * channels);
            // Only identity views allow any number of channels.
            let count = if channels % 16 == 0 { 4 } else { 1 };
            for reading in Reading::all(&mut random, channels).iter().take(count) {
                let found = everywhere(reading, |instructions| {
                    let mut padded = vec![f32::NAN; rows * columns * channels];
                    Pad {
                        image: &image,
                        extent: [height, width],
                        channels,
                        view: reading.view(),
                        padded: &mut padded,
                        columns,
                        before: [above, left],
                    }
                    .run(instructions);
                    padded
                });
                let mut expected = vec![0.0; found.len()];
                for (at, x) in image.iter().enumerate() {
                    let (pixel, channel) = (at / channels, at % channels);
                    let to = inside([pixel / width, pixel % width], columns, [above, left]);
                    expected[to * channels + channel] = reading.read(*x, channel);
                }
                same(reading, &found, &expected);
            }
        }
    }
}

#[test]
fn a_join_is_the_sum_of_the_values_as_read() {
    for (draw, _) in DRAWS {
        for channels in [16, 48] {
            let mut random = Random(3);
            let [a, b] = [draw(&mut random, 5 * channels), draw(&mut random, 5 * channels)];
            let [first, second] = [Reading::all(&mut random, channels), Reading::all(&mut random, channels)];
            for (first, second) in first.iter().flat_map(|first| second.iter().map(move |second| (first, second))) {
                for (two, rectify) in [(false, false), (false, true), (true, false), (true, true)] {
                    let found = everywhere((first, second), |instructions| {
                        let mut output = vec![f32::NAN; a.len()];
                        let inputs = [Some((&a[..], first.view())), two.then_some((&b[..], second.view()))];
                        Join { inputs, channels, rectify, output: &mut output }.run(instructions);
                        output
                    });
                    let sum = |at: usize| {
                        let b = if two { second.read(b[at], at % channels) } else { 0.0 };
                        first.read(a[at], at % channels) + b
                    };
                    let clipped = |sum: f32| if rectify && sum < 0.0 { 0.0 } else { sum };
                    let expected: Vec<f32> = (0..a.len()).map(|at| clipped(sum(at))).collect();
                    same((first, second), &found, &expected);
                }
            }
        }
    }
}

#[test]
fn nan_stays_nan_through_rectification() {
    let image = [[f32::NAN; 8], [-1.0; 8]].concat();
    for reading in Reading::all(&mut Random(4), 16) {
        for rectify in [false, true] {
            let found = everywhere(&reading, |instructions| {
                let mut output = vec![0.0; 16];
                let inputs = [Some((&image[..], reading.view())), None];
                Join { inputs, channels: 16, rectify, output: &mut output }.run(instructions);
                output
            });
            assert!(found[..8].iter().all(|value| value.is_nan()) && found[8..].iter().all(|value| !value.is_nan()));
        }
    }
}

#[test]
fn a_mask_passes_gradients_of_positive_outputs_only() {
    let output: Vec<f32> =
        Random(5).eighths(64).into_iter().chain([0.0, -0.0, 1e-45, f32::INFINITY].repeat(4)).collect();
    let gradient = Random(6).fine(output.len());
    let found = everywhere("mask", |instructions| {
        let mut gradient = gradient.clone();
        Mask { output: &output, gradient: &mut gradient }.run(instructions);
        gradient
    });
    let expected: Vec<f32> = output.iter().zip(&gradient).map(|(y, d)| if *y > 0.0 { *d } else { 0.0 }).collect();
    same("mask", &found, &expected);
}

#[test]
fn values_are_added_element_by_element() {
    let (values, total) = (Random(7).fine(80), Random(8).fine(80));
    let found = everywhere("add", |instructions| {
        let mut total = total.clone();
        Add { values: &values, total: &mut total }.run(instructions);
        total
    });
    same("add", &found, &values.iter().zip(&total).map(|(value, total)| total + value).collect::<Vec<f32>>());
}

/// Mean and sum of squared deviations per channel.
fn moments(image: &[f32], channels: usize) -> [Vec<f64>; 2] {
    let values = |channel: usize| image[channel..].iter().step_by(channels).map(|x| f64::from(*x));
    let count = (image.len() / channels) as f64;
    let mean: Vec<f64> = (0..channels).map(|channel| values(channel).sum::<f64>() / count).collect();
    let squares = (0..channels).map(|channel| values(channel).map(|x| (x - mean[channel]).powi(2)).sum()).collect();
    [mean, squares]
}

#[test]
fn moments_stay_precise_if_the_mean_is_large() {
    for channels in [16, 48] {
        for pixels in [1, 2, 3, 4, 5, 7, 64, 999] {
            for mean in [0.0, 1000.0] {
                let mut image = Random(9).fine(pixels * channels);
                image.iter_mut().for_each(|x| *x += mean);
                let found = everywhere((channels, pixels), |instructions| {
                    let mut found = vec![f32::NAN; 2 * channels];
                    let (mean, squares) = found.split_at_mut(channels);
                    ChannelMoments { image: &image, mean, squares }.run(instructions);
                    found
                });
                let [mean, squares] = moments(&image, channels);
                near(("mean", pixels), &found[..channels], &mean, 1e-6);
                near(("squares", pixels), &found[channels..], &squares, 1e-5);
            }
        }
    }
}

#[test]
fn gradient_sums_include_what_rectification_passes() {
    for channels in [16, 48] {
        for pixels in [0, 1, 2, 3, 8, 41] {
            for (draw, exact) in DRAWS {
                let mut random = Random(10);
                let [gradient, image] = [draw(&mut random, pixels * channels), draw(&mut random, pixels * channels)];
                let mean = draw(&mut random, channels);
                for reading in Reading::all(&mut random, channels) {
                    let found = everywhere(&reading, |instructions| {
                        let mut found = vec![f32::NAN; 2 * channels];
                        let (sum, product) = found.split_at_mut(channels);
                        let (gradient, image, view, mean) = (&gradient, &image, reading.view(), &mean);
                        GradientSums { gradient, image, view, mean, sum, product }.run(instructions);
                        found
                    });
                    let mut expected = vec![0.0; 2 * channels];
                    for (at, (x, d)) in image.iter().zip(&gradient).enumerate() {
                        let channel = at % channels;
                        let g = reading.gradient(*x, channel, *d);
                        expected[channel] += g;
                        expected[channels + channel] += g * (x - mean[channel]);
                    }
                    if exact {
                        same(&reading, &found, &expected);
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_are_written_within_zeros() {
    for ([height, width], [above, left, below, right]) in BORDERS {
        let [rows, columns] = [above + height + below, left + width + right];
        for channels in [16, 48] {
            let mut random = Random(11);
            let [gradient, image] = [random.fine(height * width * channels), random.fine(height * width * channels)];
            let factors = [random.fine(channels), random.fine(channels), random.fine(channels)];
            for (reading, normed) in Reading::all(&mut random, channels).iter().zip([false, true, true, false]) {
                let found = everywhere(reading, |instructions| {
                    let mut padded = vec![f32::NAN; rows * columns * channels];
                    GradientApply {
                        gradient: &gradient,
                        image: &image,
                        extent: [height, width],
                        channels,
                        view: reading.view(),
                        factors: normed.then_some([0, 1, 2].map(|i| &factors[i][..])),
                        padded: &mut padded,
                        columns,
                        before: [above, left],
                    }
                    .run(instructions);
                    padded
                });
                let mut expected = vec![0.0; found.len()];
                for (at, (x, d)) in image.iter().zip(&gradient).enumerate() {
                    let (pixel, channel) = (at / channels, at % channels);
                    let to = inside([pixel / width, pixel % width], columns, [above, left]);
                    let [alpha, beta, gamma] = [0, 1, 2].map(|i| factors[i][channel]);
                    let g = reading.gradient(*x, channel, *d);
                    let whole = if normed { g.mul_add(alpha, x.mul_add(beta, gamma)) } else { g };
                    expected[to * channels + channel] = whole;
                }
                same(reading, &found, &expected);
            }
        }
    }
}
