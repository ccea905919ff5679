//! Compares batch norm with its formulas in `f64`.

use super::*;

const CHANNELS: usize = 32;
const EPSILON: f32 = 1e-5;

/// Parameters and outputs of a batch norm on a device.
fn norm(device: &mut dyn Device, bias: bool) -> Norm {
    let mut list = |values: Vec<f32>| upload(device, &values);
    let (gamma, beta, bias) = (noise(11, CHANNELS), noise(12, CHANNELS), bias.then(|| noise(13, CHANNELS)));
    let (gamma, beta, bias) = (list(gamma), list(beta), bias.map(&mut list));
    let [scale, shift, mean] = [0; 3].map(|_| list(vec![f32::NAN; CHANNELS]));
    let inverse = device.allocate(Kind::Doubles, CHANNELS).unwrap();
    Norm { gamma, beta, bias, scale, shift, mean, inverse, epsilon: EPSILON }
}

fn close(found: f32, expected: f64, scale: f64) {
    assert!((f64::from(found) - expected).abs() <= 3e-6 * scale, "{found} for {expected}");
}

/// Mean and biased variance of a channel.
fn moments(x: &[f32], channel: usize) -> (f64, f64) {
    let of_channel = || x.iter().skip(channel).step_by(CHANNELS).map(|value| f64::from(*value));
    let count = of_channel().count() as f64;
    let mean = of_channel().sum::<f64>() / count;
    (mean, of_channel().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
}

#[test]
fn batch_statistics_give_scale_and_shift_and_update_the_running_ones() {
    // One pixel; fewer than a chunk; chunks that do not divide evenly; the maximum number of chunks; a mean far larger than the deviation.
    for (pixels, offset, real) in [(1, 0.0, 32), (31, 0.0, 20), (1000, 1000.0, 32), (40_001, -3.0, 17)] {
        let x: Vec<f32> = noise(1, pixels * CHANNELS).iter().map(|value| value + offset).collect();
        for bias in [false, true] {
            let found = on_any_grid(|device| {
                let norm = norm(device, bias);
                let (values, partial) = (upload(device, &x), uninitialised(device, partials(pixels, CHANNELS)));
                let running = RunningStatistics {
                    mean: upload(device, &noise(14, real)),
                    variance: upload(device, &noise(15, real)),
                };
                NormFromBatch { values, partial, norm, running, momentum: 0.1, channels: CHANNELS }
                    .run(device)
                    .unwrap();
                [norm.scale, norm.shift, norm.mean, running.mean, running.variance]
                    .map(|memory| read(device, memory))
                    .concat()
            });
            let [gamma, beta, b] = [11, 12, 13].map(|seed| noise(seed, CHANNELS));
            for channel in 0..CHANNELS {
                let (mean, variance) = moments(&x, channel);
                let scale = f64::from(gamma[channel]) / (variance + f64::from(EPSILON)).sqrt();
                // Rounding errors of the values are multiplied by the scale and affect the means of chunks.
                let rough = 1.0 + f64::from(offset).abs() / 100.0;
                let large = 1.0 + scale.abs() * (1.0 + f64::from(offset).abs()) * rough;
                close(found[channel], scale, rough * scale.abs());
                close(found[CHANNELS + channel], f64::from(beta[channel]) - mean * scale, large);
                close(found[2 * CHANNELS + channel], mean, 1.0 + mean.abs());
                if channel < real {
                    let count = pixels as f64;
                    let unbiased = variance * count / (count - 1.0).max(1.0);
                    let added = if bias { f64::from(b[channel]) } else { 0.0 };
                    let moved = |seed, to| 0.9 * f64::from(noise(seed, real)[channel]) + 0.1 * to;
                    close(found[3 * CHANNELS + channel], moved(14, mean + added), 1.0 + mean.abs());
                    close(found[3 * CHANNELS + real + channel], moved(15, unbiased), rough);
                }
            }
        }
    }
}

#[test]
fn running_statistics_give_scale_and_shift() {
    let real = 20;
    let variances: Vec<f32> = noise(15, real).iter().map(|value| value.abs()).collect();
    let found = on_any_grid(|device| {
        let norm = norm(device, true);
        let running =
            RunningStatistics { mean: upload(device, &noise(14, real)), variance: upload(device, &variances) };
        NormFromRunning { norm, running, channels: CHANNELS }.run(device).unwrap();
        [norm.scale, norm.shift].map(|memory| read(device, memory)).concat()
    });
    let [gamma, beta, bias, mean] = [11, 12, 13, 14].map(|seed| noise(seed, CHANNELS));
    for channel in 0..real {
        let scale = f64::from(gamma[channel]) / (f64::from(variances[channel]) + f64::from(EPSILON)).sqrt();
        close(found[channel], scale, scale.abs());
        let mean = f64::from(mean[channel]) - f64::from(bias[channel]);
        close(found[CHANNELS + channel], f64::from(beta[channel]) - mean * scale, 1.0 + scale.abs());
    }
}

/// Compares forward pass, ReLU and backward pass with the formulas of Ioffe & Szegedy 2015 in `f64`.
#[test]
fn gradients_of_batch_norm_and_relu_match_their_formulas() {
    for pixels in [7, 63, 2050] {
        let (x, d) = (noise(1, pixels * CHANNELS), noise(2, pixels * CHANNELS));
        let found = on_any_grid(|device| {
            let norm = norm(device, false);
            let partial = uninitialised(device, partials(pixels, CHANNELS));
            let (values, gradient) = (upload(device, &x), upload(device, &d));
            let running =
                RunningStatistics { mean: uninitialised(device, CHANNELS), variance: uninitialised(device, CHANNELS) };
            NormFromBatch { values, partial, norm, running, momentum: 0.1, channels: CHANNELS }.run(device).unwrap();
            let input = TensorView { values, scale: Some(norm.scale), shift: Some(norm.shift), rectify: true };
            GradientSums { gradient, input, mean: Some(norm.mean), partial, channels: CHANNELS }.run(device).unwrap();
            let (gradients, factors) =
                ([0; 2].map(|_| uninitialised(device, CHANNELS)), [0; 3].map(|_| uninitialised(device, CHANNELS)));
            NormGradient { partial, pixels, channels: CHANNELS, norm, gradients, factors }.run(device).unwrap();
            let output = uninitialised(device, pixels * CHANNELS);
            GradientApply { gradient, input, factors: Some(factors), output, channels: CHANNELS }.run(device).unwrap();
            [gradients[0], gradients[1], output].map(|memory| read(device, memory)).concat()
        });
        let [gamma, beta] = [11, 12].map(|seed| noise(seed, CHANNELS).into_iter().map(f64::from).collect::<Vec<_>>());
        for channel in 0..CHANNELS {
            let (mean, variance) = moments(&x, channel);
            let inverse = (variance + f64::from(EPSILON)).sqrt().recip();
            let of = |values: &[f32], pixel: usize| f64::from(values[pixel * CHANNELS + channel]);
            let normal = |pixel| (of(&x, pixel) - mean) * inverse;
            let through =
                |pixel| if gamma[channel] * normal(pixel) + beta[channel] > 0.0 { of(&d, pixel) } else { 0.0 };
            let sum: f64 = (0..pixels).map(through).sum();
            let product: f64 = (0..pixels).map(|pixel| through(pixel) * normal(pixel)).sum();
            let scale = pixels as f64;
            close(found[channel], product, scale);
            close(found[CHANNELS + channel], sum, scale);
            for pixel in 0..pixels {
                let expected =
                    gamma[channel] * inverse * (through(pixel) - sum / scale - normal(pixel) * product / scale);
                close(found[2 * CHANNELS + pixel * CHANNELS + channel], expected, 1.0 + inverse.abs());
            }
        }
    }
}

#[test]
fn the_gradient_of_a_bias_adds_up_what_rectification_passes() {
    for pixels in [1, 33, 5000] {
        let (x, d, bias) = (noise(1, pixels * CHANNELS), noise(2, pixels * CHANNELS), noise(3, CHANNELS));
        let found = on_any_grid(|device| {
            let input = TensorView {
                values: upload(device, &x),
                scale: None,
                shift: Some(upload(device, &bias)),
                rectify: true,
            };
            let (gradient, to) = (upload(device, &d), uninitialised(device, CHANNELS));
            let partial = uninitialised(device, partials(pixels, CHANNELS));
            GradientSums { gradient, input, mean: None, partial, channels: CHANNELS }.run(device).unwrap();
            BiasGradient { partial, pixels, channels: CHANNELS, gradient: to }.run(device).unwrap();
            read(device, to)
        });
        for (channel, found) in found.iter().enumerate() {
            let places = (channel..pixels * CHANNELS).step_by(CHANNELS);
            let expected: f64 = places.filter(|i| x[*i] + bias[channel] > 0.0).map(|i| f64::from(d[i])).sum();
            close(*found, expected, pixels as f64);
        }
    }
}

#[test]
fn channels_outside_whole_blocks_are_refused() {
    let mut twin = Twin::new();
    let [gradient, partial, to] =
        [uninitialised(&mut twin, 30), uninitialised(&mut twin, 100), uninitialised(&mut twin, 10)];
    let sums = GradientSums { gradient, input: TensorView::plain(gradient), mean: None, partial, channels: 10 };
    assert!(sums.run(&mut twin).unwrap_err().to_string().contains("blocks of 16"));
    assert!(BiasGradient { partial, pixels: 3, channels: 10, gradient: to }.run(&mut twin).is_err());
}
