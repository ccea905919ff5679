//! Compares element-wise operations, pooling and optimiser steps bit for bit with the crate `kernels`.

use super::*;

/// 2 samples of 9 × 7 pixels with 48 channels.
const EXTENT: [usize; 2] = [9, 7];
const CHANNELS: usize = 48;
const SAMPLES: usize = 2;
const IMAGE: usize = EXTENT[0] * EXTENT[1] * CHANNELS;
const COUNT: usize = SAMPLES * IMAGE;

#[test]
fn samples_are_converted_to_channels_last() {
    for (channels, pixels) in [(1, 5), (3, 77), (17, 16)] {
        let from = noise(1, 3 * channels * pixels);
        let found = on_any_grid(|device| {
            let (from, to) = (upload(device, &from), uninitialised(device, 3 * channels * pixels));
            ChannelsLast { from, to, channels, pixels }.run(device).unwrap();
            read(device, to)
        });
        for (i, value) in found.iter().enumerate() {
            let (channel, pixel, sample) = (i % channels, i / channels % pixels, i / channels / pixels);
            assert_eq!(*value, from[(sample * channels + channel) * pixels + pixel]);
        }
    }
}

#[test]
fn a_join_equals_that_of_the_cpu() {
    let (a, b, views) = (noise(1, COUNT), noise(2, COUNT), Views::new(CHANNELS));
    for ((affine, rectify), (second, after)) in
        VIEWS.into_iter().flat_map(|view| [(false, false), (true, false), (true, true)].map(|join| (view, join)))
    {
        let found = on_any_grid(|device| {
            let first = views.of_device(device, &a, affine, rectify);
            let second = second.then(|| views.of_device(device, &b, !affine, rectify));
            let output = uninitialised(device, COUNT);
            Join { first, second, rectify: after, output, channels: CHANNELS }.run(device).unwrap();
            read(device, output)
        });
        let mut expected = vec![0.0; COUNT];
        plusminus_kernels::Join {
            inputs: [
                Some((&a, views.of_kernels(affine, rectify))),
                second.then(|| (&b[..], views.of_kernels(!affine, rectify))),
            ],
            channels: CHANNELS,
            rectify: after,
            output: &mut expected,
        }
        .run(best());
        assert_eq!(bits(&found), bits(&expected));
    }
}

#[test]
fn a_shift_without_scale_is_added() {
    let (x, bias) = (noise(1, COUNT), noise(2, CHANNELS));
    let found = on_any_grid(|device| {
        let input =
            TensorView { values: upload(device, &x), scale: None, shift: Some(upload(device, &bias)), rectify: true };
        let output = uninitialised(device, COUNT);
        Join { first: input, second: None, rectify: false, output, channels: CHANNELS }.run(device).unwrap();
        read(device, output)
    });
    for (i, value) in found.iter().enumerate() {
        assert_eq!(*value, (x[i] + bias[i % CHANNELS]).max(0.0));
    }
}

#[test]
fn nan_stays_nan_through_a_relu() {
    let found = on_any_grid(|device| {
        let (x, output) = (upload(device, &[f32::NAN, -1.0, 2.0]), uninitialised(device, 3));
        let first = TensorView { rectify: true, ..TensorView::plain(x) };
        Join { first, second: None, rectify: true, output, channels: 3 }.run(device).unwrap();
        read(device, output)
    });
    assert!(found[0].is_nan() && found[1..] == [0.0, 2.0]);
}

#[test]
fn gradients_pass_views_as_on_the_cpu() {
    let (x, d, views) = (noise(1, IMAGE), noise(2, IMAGE), Views::new(CHANNELS));
    let factors = [3, 4, 5].map(|seed| noise(seed, CHANNELS));
    for ((affine, rectify), normed) in VIEWS.into_iter().flat_map(|view| [false, true].map(|normed| (view, normed))) {
        let found = on_any_grid(|device| {
            let input = views.of_device(device, &x, affine, rectify);
            let (gradient, output) = (upload(device, &d), uninitialised(device, IMAGE));
            let factors = normed.then(|| factors.each_ref().map(|factor| upload(device, factor)));
            GradientApply { gradient, input, factors, output, channels: CHANNELS }.run(device).unwrap();
            read(device, output)
        });
        let mut expected = vec![0.0; IMAGE];
        plusminus_kernels::GradientApply {
            gradient: &d,
            image: &x,
            extent: EXTENT,
            channels: CHANNELS,
            view: views.of_kernels(affine, rectify),
            factors: normed.then(|| factors.each_ref().map(|factor| &factor[..])),
            padded: &mut expected,
            columns: EXTENT[1],
            before: [0, 0],
        }
        .run(best());
        assert_eq!(bits(&found), bits(&expected), "{affine} {rectify} {normed}");
    }
}

#[test]
fn masks_and_sums_equal_those_of_the_cpu() {
    let (y, d) = (noise(1, IMAGE), noise(2, IMAGE));
    let mut expected = d.clone();
    plusminus_kernels::Mask { output: &y, gradient: &mut expected }.run(best());
    plusminus_kernels::Add { values: &y, total: &mut expected }.run(best());
    let found = on_any_grid(|device| {
        let (output, gradient) = (upload(device, &y), upload(device, &d));
        Mask { output, gradient }.run(device).unwrap();
        CopyOrAdd { values: output, total: gradient, add: true }.run(device).unwrap();
        read(device, gradient)
    });
    assert_eq!(bits(&found), bits(&expected));
    let written = on_any_grid(|device| {
        let (values, total) = (upload(device, &y), uninitialised(device, IMAGE));
        CopyOrAdd { values, total, add: false }.run(device).unwrap();
        read(device, total)
    });
    assert_eq!(written, y);
}

#[test]
fn dropout_multiplies_by_its_mask_forward_and_backward() {
    let (x, views) = (noise(1, COUNT), Views::new(CHANNELS));
    let mask: Vec<f32> = noise(2, COUNT).iter().map(|value| if *value < 0.0 { 0.0 } else { 2.0 }).collect();
    let found = on_any_grid(|device| {
        let input = views.of_device(device, &x, true, true);
        let [mask, output, total] = [upload(device, &mask), uninitialised(device, COUNT), uninitialised(device, COUNT)];
        Dropout { input, mask, output, channels: CHANNELS }.run(device).unwrap();
        DropoutGradient { gradient: output, mask, total, add: false }.run(device).unwrap();
        DropoutGradient { gradient: output, mask, total, add: true }.run(device).unwrap();
        [read(device, output), read(device, total)].concat()
    });
    for i in 0..COUNT {
        let channel = i % CHANNELS;
        let input = x[i].mul_add(views.scale[channel], views.shift[channel]).max(0.0);
        assert_eq!(found[i], input * mask[i]);
        assert_eq!(found[COUNT + i], 2.0 * found[i] * mask[i]);
    }
}

#[test]
fn subsampling_reads_every_nth_pixel_and_returns_its_gradient() {
    for (stride, to) in [(2, [5, 4, 64]), (1, [9, 7, 48]), (3, [3, 3, 48])] {
        let (x, views) = (noise(1, COUNT), Views::new(CHANNELS));
        let subsample = Subsample { samples: SAMPLES, from: [EXTENT[0], EXTENT[1], CHANNELS], to, stride };
        let count = SAMPLES * to.iter().product::<usize>();
        let (d, before) = (noise(3, count), noise(4, COUNT));
        let found = on_any_grid(|device| {
            let input = views.of_device(device, &x, true, false);
            let [output, gradient, added] = [uninitialised(device, count), upload(device, &d), upload(device, &before)];
            let written = uninitialised(device, COUNT);
            subsample.run(device, input, output).unwrap();
            subsample.back(device, gradient, written, false).unwrap();
            subsample.back(device, gradient, added, true).unwrap();
            [read(device, output), read(device, written), read(device, added)].concat()
        });
        let (output, gradients) = found.split_at(count);
        let mut expected = vec![0.0; COUNT];
        for (i, value) in output.iter().enumerate() {
            let (channel, column, row, sample) =
                (i % to[2], i / to[2] % to[1], i / to[2] / to[1] % to[0], i / to[2] / to[1] / to[0]);
            if channel >= CHANNELS {
                assert_eq!(*value, 0.0);
                continue;
            }
            let from = ((sample * EXTENT[0] + row * stride) * EXTENT[1] + column * stride) * CHANNELS + channel;
            assert_eq!(*value, x[from].mul_add(views.scale[channel], views.shift[channel]));
            expected[from] = d[i];
        }
        assert_eq!(gradients[..COUNT], expected);
        let sums: Vec<f32> = before.iter().zip(&expected).map(|(before, d)| before + d).collect();
        assert_eq!(gradients[COUNT..], sums);
    }
}

#[test]
fn rows_are_gathered_and_padded_again() {
    let (classes, stored, samples) = (10, 16, 13);
    let x = noise(1, samples * stored);
    let found = on_any_grid(|device| {
        let [values, output, spread] =
            [upload(device, &x), uninitialised(device, samples * classes), uninitialised(device, samples * stored)];
        GatherRows { input: TensorView::plain(values), output, classes, stored }.run(device).unwrap();
        SpreadRows { from: output, to: spread, classes, stored }.run(device).unwrap();
        read(device, spread)
    });
    for (i, value) in found.iter().enumerate() {
        assert_eq!(*value, if i % stored < classes { x[i] } else { 0.0 });
    }
}

#[test]
fn max_pools_and_their_gradients_equal_those_of_the_cpu() {
    let (x, views) = (noise(1, COUNT), Views::new(CHANNELS));
    // Few distinct values, so that windows have several equal maxima.
    let coarse: Vec<f32> = x.iter().map(|value| (2.0 * value).round()).collect();
    for (kernel, stride, padding) in [([2, 2], 2, 0), ([3, 3], 2, 1), ([3, 3], 1, 1), ([9, 7], 1, 0), ([4, 4], 3, 2)] {
        let windows = Windows { samples: SAMPLES, extent: EXTENT, kernel, stride, padding, channels: CHANNELS };
        let [rows, columns] = windows.output();
        let (image, count) = (rows * columns * CHANNELS, SAMPLES * rows * columns * CHANNELS);
        let (d, before) = (noise(3, count), noise(4, COUNT));
        for (affine, rectify) in VIEWS {
            let found = on_any_grid(|device| {
                let input = views.of_device(device, &coarse, affine, rectify);
                let [output, gradient, total] =
                    [uninitialised(device, count), upload(device, &d), upload(device, &before)];
                let pool = MaxPool { windows, places: device.allocate(Kind::Ints, count).unwrap() };
                pool.run(device, input, output).unwrap();
                pool.back(device, gradient, total, true).unwrap();
                [read(device, output), read(device, total)].concat()
            });
            let view = views.of_kernels(affine, rectify);
            let windows = plusminus_kernels::Windows { extent: EXTENT, kernel, stride, padding, channels: CHANNELS };
            let (mut expected, mut total) = (vec![0.0; count], before.clone());
            for sample in 0..SAMPLES {
                let (from, to) = (sample * IMAGE..(sample + 1) * IMAGE, sample * image..(sample + 1) * image);
                let (image, output) = (&coarse[from.clone()], &mut expected[to.clone()]);
                plusminus_kernels::MaxPool { image, view, windows, output }.run(best());
                plusminus_kernels::MaxPoolGradient {
                    image,
                    view,
                    windows,
                    output: &expected[to.clone()],
                    gradient: &d[to],
                    image_gradient: &mut total[from],
                }
                .run(best());
            }
            assert_eq!(
                bits(&found),
                bits(&[expected, total].concat()),
                "{kernel:?} {stride} {padding} {affine} {rectify}"
            );
        }
    }
}

#[test]
fn average_pools_equal_those_of_the_cpu_and_spread_their_gradient() {
    let (x, views, pixels) = (noise(1, COUNT), Views::new(CHANNELS), EXTENT[0] * EXTENT[1]);
    let average = Average { samples: SAMPLES, pixels, channels: CHANNELS };
    let found = on_any_grid(|device| {
        let input = views.of_device(device, &x, true, true);
        let [output, total] = [uninitialised(device, SAMPLES * CHANNELS), uninitialised(device, COUNT)];
        average.run(device, input, output).unwrap();
        average.back(device, output, total, false).unwrap();
        average.back(device, output, total, true).unwrap();
        [read(device, output), read(device, total)].concat()
    });
    let mut expected = vec![0.0; SAMPLES * CHANNELS];
    for (image, output) in x.chunks(IMAGE).zip(expected.chunks_mut(CHANNELS)) {
        plusminus_kernels::Average { image, view: views.of_kernels(true, true), output }.run(best());
    }
    let (means, total) = found.split_at(SAMPLES * CHANNELS);
    assert_eq!(bits(means), bits(&expected));
    for (i, value) in total.iter().enumerate() {
        let share = expected[i / IMAGE * CHANNELS + i % CHANNELS] * (pixels as f32).recip();
        assert_eq!(*value, share + share);
    }
}

#[test]
fn optimiser_steps_equal_those_of_the_cpu() {
    for count in [1, 257, 1000] {
        let (w, d) = (noise(1, count), noise(2, count));
        for (nesterov, momentum) in [(false, 0.0), (false, 0.9), (true, 0.9)] {
            let mut expected = (w.clone(), if momentum == 0.0 { Vec::new() } else { noise(3, count) });
            let before = expected.1.clone();
            for _ in 0..2 {
                let (weights, velocity) = (&mut expected.0, &mut expected.1);
                plusminus_kernels::Sgd { weights, gradient: &d, velocity, lr: 0.1, momentum, decay: 5e-4, nesterov }
                    .run(best());
            }
            let found = on_any_grid(|device| {
                let [weights, gradient, rates] =
                    [upload(device, &w), upload(device, &d), upload(device, &[0.1, momentum, 5e-4])];
                let velocity = (!before.is_empty()).then(|| upload(device, &before));
                for _ in 0..2 {
                    Sgd { weights, gradient, velocity, rates, nesterov }.run(device).unwrap();
                }
                [read(device, weights), velocity.map_or(Vec::new(), |velocity| read(device, velocity))].concat()
            });
            assert_eq!(bits(&found), bits(&[expected.0, expected.1].concat()), "{nesterov} {momentum}");
        }
        let (m, v) = (noise(3, count), noise(4, count).iter().map(|value| value.abs()).collect::<Vec<_>>());
        let mut expected = (w.clone(), m.clone(), v.clone());
        let rates = [0.01, 1.3, 0.9, 0.1, 0.999, 0.001, 1e-8, 1e-4];
        plusminus_kernels::Adam {
            weights: &mut expected.0,
            gradient: &d,
            mean: &mut expected.1,
            square: &mut expected.2,
            rate: rates[0],
            root: rates[1],
            beta1: [rates[2], rates[3]],
            beta2: [rates[4], rates[5]],
            epsilon: rates[6],
            decay: rates[7],
        }
        .run(best());
        let found = on_any_grid(|device| {
            let [weights, gradient, mean, square] = [&w, &d, &m, &v].map(|values| upload(device, values));
            let rates = upload(device, &rates);
            Adam { weights, gradient, mean, square, rates }.run(device).unwrap();
            [read(device, weights), read(device, mean), read(device, square)].concat()
        });
        assert_eq!(bits(&found), bits(&[expected.0, expected.1, expected.2].concat()));
    }
}
