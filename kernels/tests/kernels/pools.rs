//! Pooling.

use crate::pixels::Reading;
use crate::{DRAWS, Random, everywhere, near, same};
use plusminus_kernels::{Average, Instructions, MaxPool, MaxPoolGradient, View, Windows};

fn max_pool(image: &[f32], view: View<'_>, windows: Windows, instructions: Instructions) -> Vec<f32> {
    let [rows, columns] = windows.output();
    let mut output = vec![f32::NAN; rows * columns * windows.channels];
    MaxPool { image, view, windows, output: &mut output }.run(instructions);
    output
}

/// Indices of the pixels in the window of output pixel (row, column), in order.
fn window(windows: Windows, [row, column]: [usize; 2]) -> impl Iterator<Item = usize> {
    let Windows { extent, kernel, stride, padding, .. } = windows;
    (0..kernel[0] * kernel[1]).filter_map(move |at| {
        let down = (row * stride + at / kernel[1]).checked_sub(padding).filter(|down| *down < extent[0])?;
        let right = (column * stride + at % kernel[1]).checked_sub(padding).filter(|right| *right < extent[1])?;
        Some(down * extent[1] + right)
    })
}

/// Extent of the image, extent of a window, stride, padding.
const WINDOWS: [([usize; 2], [usize; 2], usize, usize); 14] = [
    ([1, 1], [1, 1], 1, 0),
    ([4, 4], [2, 2], 2, 0),
    ([5, 7], [2, 2], 2, 0),
    ([7, 6], [3, 3], 2, 0),
    ([5, 5], [3, 3], 1, 0),
    ([6, 3], [6, 3], 1, 0),
    ([9, 8], [2, 3], 3, 0),
    ([8, 7], [3, 3], 2, 1),
    ([5, 6], [3, 3], 1, 1),
    ([1, 1], [3, 3], 2, 1),
    ([2, 2], [3, 4], 1, 1),
    ([4, 5], [2, 2], 2, 1),
    ([6, 7], [5, 4], 3, 2),
    ([3, 3], [2, 3], 4, 1),
];

#[test]
fn max_pool_selects_the_first_largest_value_and_its_gradient() {
    for (extent, kernel, stride, padding) in WINDOWS {
        for channels in [16, 48] {
            for (draw, _) in DRAWS {
                let windows = Windows { extent, kernel, stride, padding, channels };
                let mut random = Random(1);
                let image = draw(&mut random, extent[0] * extent[1] * channels);
                let [rows, columns] = windows.output();
                // Eighths, so that the sum of the gradients of several windows is exact.
                let gradient = random.eighths(rows * columns * channels);
                let before = random.eighths(image.len());
                for reading in Reading::all(&mut random, channels) {
                    let found = everywhere((windows, &reading), |i| max_pool(&image, reading.view(), windows, i));
                    let back = everywhere((windows, &reading), |instructions| {
                        let mut image_gradient = before.clone();
                        MaxPoolGradient {
                            image: &image,
                            view: reading.view(),
                            windows,
                            output: &found,
                            gradient: &gradient,
                            image_gradient: &mut image_gradient,
                        }
                        .run(instructions);
                        image_gradient
                    });
                    let (mut expected, mut expected_back) = (Vec::new(), before.clone());
                    for (pixel, channel) in (0..found.len()).map(|at| (at / channels, at % channels)) {
                        let read = |place: usize| reading.read(image[place * channels + channel], channel);
                        let places = window(windows, [pixel / columns, pixel % columns]);
                        let first = places.reduce(|best, place| if read(place) > read(best) { place } else { best });
                        let first = first.unwrap();
                        expected.push(read(first));
                        expected_back[first * channels + channel] += gradient[pixel * channels + channel];
                    }
                    same((windows, &reading), &found, &expected);
                    same(("gradient", windows, &reading), &back, &expected_back);
                }
            }
        }
    }
}

#[test]
fn the_first_of_equal_values_receives_the_gradient_of_its_window() {
    let windows = Windows { extent: [3, 4], kernel: [2, 2], stride: 1, padding: 0, channels: 16 };
    let found = everywhere("equal", |instructions| {
        let mut image_gradient = vec![0.0; 12 * 16];
        let (image, output, gradient) = (&[0.5; 12 * 16], &[0.5; 6 * 16], &[1.0; 6 * 16]);
        let view = View::default();
        MaxPoolGradient { image, view, windows, output, gradient, image_gradient: &mut image_gradient }
            .run(instructions);
        image_gradient
    });
    let expected = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    same("equal", &found, &expected.map(|value| [value; 16]).concat());
}

#[test]
fn max_pool_returns_nan_if_the_window_starts_with_nan() {
    let windows = Windows { extent: [1, 2], kernel: [1, 2], stride: 1, padding: 0, channels: 16 };
    for (image, is_nan) in [([f32::NAN, 1.0], true), ([1.0, f32::NAN], false)] {
        let image = image.map(|value| [value; 16]).concat();
        let found = everywhere(is_nan, |instructions| max_pool(&image, View::default(), windows, instructions));
        assert!(found.iter().all(|value| value.is_nan() == is_nan), "{found:?}");
    }
}

#[test]
fn average_pool_returns_the_mean_of_the_values_as_read() {
    for channels in [16, 48] {
        for pixels in [1, 3, 49] {
            let mut random = Random(2);
            let image = random.fine(pixels * channels);
            for reading in Reading::all(&mut random, channels) {
                let found = everywhere(&reading, |instructions| {
                    let mut output = vec![f32::NAN; channels];
                    Average { image: &image, view: reading.view(), output: &mut output }.run(instructions);
                    output
                });
                let mut expected = vec![0.0; channels];
                for (at, x) in image.iter().enumerate() {
                    expected[at % channels] += f64::from(reading.read(*x, at % channels)) / pixels as f64;
                }
                near(&reading, &found, &expected, 1e-6);
            }
        }
    }
}
