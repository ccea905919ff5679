//! Compares our operations with their definitions and with candle's.

use super::super::ops::{BatchNorm, Convolve, MaxPool, Relu};
use super::*;
use std::sync::OnceLock;

fn images(values: Vec<f32>, shape: (usize, usize, usize, usize)) -> Var {
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The gradient of the sum of `y` with respect to `x`.
fn slope(x: &Var, y: Tensor) -> Vec<f32> {
    flat(y.sum_all().unwrap().backward().unwrap().get(x).unwrap())
}

#[test]
fn the_first_maximum_receives_the_whole_gradient() {
    let pool = |v: Vec<f32>| {
        let x = images(v, (1, 2, 2, 1));
        slope(&x, x.apply_op1(MaxPool { kernel: (2, 2), stride: 2, padding: 0 }).unwrap())
    };
    assert_eq!(pool(vec![1.0, 2.0, 3.0, 4.0]), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(pool(vec![4.0, 4.0, 3.0, 4.0]), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn overlapping_windows_add_their_gradients() {
    // 3×4 with 2×2 windows at every pixel: the 9 is the maximum of four of the six.
    let x = images(vec![1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0], (1, 3, 4, 1));
    let y = x.apply_op1(MaxPool { kernel: (2, 2), stride: 1, padding: 0 }).unwrap();
    assert_eq!(flat(&y), [9.0, 9.0, 7.0, 9.0, 9.0, 7.0]);
    assert_eq!(slope(&x, y), [0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    // No window covers the last row and column, so their gradient is zero.
    let odd = images((0..9u8).map(f32::from).collect(), (1, 3, 3, 1));
    let y = odd.apply_op1(MaxPool { kernel: (2, 2), stride: 2, padding: 0 }).unwrap();
    assert_eq!(slope(&odd, y), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn padding_never_is_the_maximum_of_a_window() {
    // 2×2 with 3×3 windows: the only window is around the first pixel.
    let x = images(vec![-4.0, -3.0, -2.0, -1.0], (1, 2, 2, 1));
    let y = x.apply_op1(MaxPool { kernel: (3, 3), stride: 2, padding: 1 }).unwrap();
    assert_eq!((flat(&y), slope(&x, y)), (vec![-1.0], vec![0.0, 0.0, 0.0, 1.0]));
    let y = x.apply_op1(MaxPool { kernel: (2, 2), stride: 1, padding: 1 }).unwrap();
    assert_eq!(flat(&y), [-4.0, -3.0, -3.0, -2.0, -1.0, -1.0, -2.0, -1.0, -1.0]);
    assert_eq!(slope(&x, y), [1.0, 2.0, 2.0, 4.0]);
}

#[test]
fn relu_has_no_gradient_at_zero() {
    let x = images(vec![-1.0, 0.0, 1.0], (1, 1, 3, 1));
    assert_eq!(slope(&x, x.apply_op1(Relu).unwrap()), [0.0, 0.0, 1.0]);
}

/// The definition: a sum over the window for each output, in `f64`, channels first.
fn direct(
    x: &[f32],
    k: &[f32],
    (n, ci, h, w): (usize, usize, usize, usize),
    co: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Vec<f64> {
    let out = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
    let (rows, columns) = (out(h), out(w));
    let mut y = vec![0.0; n * co * rows * columns];
    for (at, y) in y.iter_mut().enumerate() {
        let (column, row, o, image) =
            (at % columns, at / columns % rows, at / columns / rows % co, at / columns / rows / co);
        for (c, i, j) in (0..ci).flat_map(|c| (0..kernel).flat_map(move |i| (0..kernel).map(move |j| (c, i, j)))) {
            let (a, b) = ((row * stride + i).wrapping_sub(padding), (column * stride + j).wrapping_sub(padding));
            if a < h && b < w {
                let weight = k[((o * ci + c) * kernel + i) * kernel + j];
                *y += f64::from(x[((image * ci + c) * h + a) * w + b]) * f64::from(weight);
            }
        }
    }
    y
}

#[test]
fn a_convolution_agrees_with_its_definition_and_with_candle() {
    let (n, h, w) = (3, 6, 5);
    for (ci, co, kernel, stride, padding) in
        [(2, 4, 3, 1, 1), (2, 3, 3, 2, 1), (1, 3, 5, 1, 0), (3, 2, 1, 2, 0), (2, 2, 1, 1, 0), (1, 2, 2, 3, 2)]
    {
        let (xs, ks) = (values(n * ci * h * w, 3), values(co * ci * kernel * kernel, 4));
        let x = Tensor::from_slice(&xs, (n, ci, h, w), &Device::Cpu).unwrap();
        let k = Tensor::from_slice(&ks, (co, ci, kernel, kernel), &Device::Cpu).unwrap();
        let last = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let ours =
            last.apply_op2(&k, Convolve { stride, margin: (padding, padding) }).unwrap().permute((0, 3, 1, 2)).unwrap();
        let candles = x.conv2d(&k, padding, stride, 1, 1).unwrap();
        let expected = direct(&xs, &ks, (n, ci, h, w), co, kernel, stride, padding);
        assert_eq!(ours.dims(), candles.dims());
        for ((ours, candles), expected) in flat(&ours).iter().zip(flat(&candles)).zip(expected) {
            assert!((f64::from(*ours) - expected).abs() < 1e-5, "{ours} for {expected}");
            assert!((ours - candles).abs() < 1e-5, "{ours} for candle's {candles}");
        }
    }
}

#[test]
fn a_convolution_in_chunks_has_the_gradients_of_single_images() {
    // 640 lines of output in chunks of 151. 20 outputs are not a whole number of blocks when kernels are packed.
    let (count, extent, input, output) = (40, 16, 3, 20);
    let kernels = Var::from_vec(values(output * input * 9, 5), (output, input, 3, 3), &Device::Cpu).unwrap();
    let slopes = |x: &[f32], weights: &[f32]| {
        let count = x.len() / (extent * extent * input);
        let x = images(x.to_vec(), (count, extent, extent, input));
        let y = x.apply_op2(&kernels, Convolve { stride: 1, margin: (1, 1) }).unwrap();
        let weighted = y.mul(&Tensor::from_slice(weights, y.shape(), &Device::Cpu).unwrap()).unwrap();
        let gradients = weighted.sum_all().unwrap().backward().unwrap();
        (flat(gradients.get(&x).unwrap()), flat(gradients.get(&kernels).unwrap()))
    };
    let (xs, weights) = (values(count * extent * extent * input, 6), values(count * extent * extent * output, 7));
    let (together, kernels_together) = slopes(&xs, &weights);
    let (mut alone, mut kernels_alone) = (Vec::new(), vec![0.0; kernels_together.len()]);
    for (x, weights) in xs.chunks(extent * extent * input).zip(weights.chunks(extent * extent * output)) {
        let (dx, d_kernels) = slopes(x, weights);
        alone.extend(dx);
        kernels_alone.iter_mut().zip(d_kernels).for_each(|(sum, d)| *sum += d);
    }
    let near = |a: &[f32], b: &[f32], by: f32| a.iter().zip(b).all(|(a, b)| (a - b).abs() < by);
    assert!(together.len() == alone.len() && near(&together, &alone, 1e-5));
    assert!(near(&kernels_together, &kernels_alone, 1e-3));
}

#[test]
fn batch_norm_gives_each_channel_mean_0_and_variance_1() {
    let x = images(values(4 * 3 * 3 * 2, 5).iter().map(|v| 3.0 * v + 5.0).collect(), (4, 3, 3, 2));
    let (one, zero) =
        (Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(), Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap());
    let statistics = Arc::new(OnceLock::new());
    let y = flat(&x.apply_op3(&one, &zero, BatchNorm { relu: false, statistics: Arc::clone(&statistics) }).unwrap());
    for channel in 0..2 {
        let channel: Vec<f64> = y.iter().skip(channel).step_by(2).map(|v| f64::from(*v)).collect();
        let mean = channel.iter().sum::<f64>() / 36.0;
        assert!(mean.abs() < 1e-5);
        assert!((channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 36.0 - 1.0).abs() < 1e-4);
    }
    let statistics = statistics.get().unwrap();
    let unbiased: Vec<f64> = statistics.unbiased().collect();
    assert!((unbiased[0] / statistics.variance[0] - 36.0 / 35.0).abs() < 1e-12);
}
