use super::*;
use crate::engine::Plan;
use candle_core::DType;
use ops::{BatchNorm, Convolve, MaxPool, Relu};
use plusminus_core::methods::losses::Cce;
use plusminus_core::methods::networks::{Convolution, Initialisation, Layer, Model, Shortcut};
use plusminus_core::random::{Stream, Streams};
use rand::RngExt;
use std::sync::{Arc, OnceLock};

const SGD: Optimizer = Optimizer::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };

fn generator(epoch: u64) -> ChaCha8Rng {
    Streams::new(7, 7).generator(Stream::Dropout, epoch)
}

fn values(count: usize, epoch: u64) -> Vec<f32> {
    let mut generator = generator(epoch);
    (0..count).map(|_| 2.0 * generator.random::<f32>() - 1.0).collect()
}

fn convolution(input: usize, output: usize, kernel: usize, stride: usize, padding: usize, bias: bool) -> Layer {
    Layer::Convolution(Convolution { input, output, kernel, stride, padding, bias })
}

fn engine(layers: Vec<Layer>, input: ImageShape, classes: usize) -> CandleEngine {
    let network = Network { input, classes, layers, initialisation: Initialisation::UniformFanIn };
    network.check().unwrap();
    let plan = Arc::new(Plan::of(&network));
    assert_eq!(plan.trained(), network.parameters());
    let mut weights = plan.initial(&mut generator(99));
    // Away from the identity, so that batch norm's own gradients are seen.
    let spread = values(weights.values().len(), 98);
    weights.values_mut().iter_mut().zip(spread).for_each(|(weight, by)| *weight += 0.2 * by);
    CandleEngine::new(&network, weights, Loss::Cce(Cce {}), SGD).unwrap()
}

#[test]
fn the_name_has_the_versions_that_are_built_in_and_the_kernel_of_this_machine() {
    let name = engine(classifier(1), square(1, 1), 3).name();
    let words: Vec<&str> = name.split(' ').collect();
    let ["candle", candle, "cpu,", "gemm", gemm, kernel] = words[..] else { panic!("{name}") };
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    for (library, version) in [("candle-core", candle), ("gemm", gemm)] {
        let locked = format!("name = \"{library}\"\nversion = \"{version}\"\n");
        assert!(lock.replace("\r\n", "\n").contains(&locked), "{library} {version}");
    }
    assert!(["avx512f", "fma", "neon", "scalar"].contains(&kernel), "{kernel}");
}

/// Compares every weight's gradient with central differences of the loss. Masks come from one generator, so they are the same.
fn gradients_agree_with_finite_differences(layers: Vec<Layer>, input: ImageShape) {
    let mut engine = engine(layers, input, 3);
    let (inputs, labels) = (values(4 * input.len(), 1), [0, 1, 2, 1]);
    let batch = Batch { inputs: &inputs, labels: &labels };
    let (loss, gradient) = engine.gradient(batch, &mut generator(2)).unwrap();
    let (mut checked, plan) = (0, Arc::clone(engine.weights.plan()));
    let trained = plan.trained();
    for entry in plan.entries().iter().filter(|entry| entry.role.is_trained()) {
        let mut differences = Vec::new();
        for i in entry.range.clone() {
            let mut at = |delta: f32| {
                let kept = engine.weights.values()[i];
                engine.weights.values_mut()[i] = kept + delta;
                let loss = engine.gradient(batch, &mut generator(2)).unwrap().0;
                engine.weights.values_mut()[i] = kept;
                loss
            };
            // The slope through both sides, and by how much the two sides' own slopes differ.
            differences.push([8, 9].map(|bits| {
                let h = 2f32.powi(-bits);
                let (more, less) = (at(h) - loss, at(-h) - loss);
                [(more - less) / (2.0 * f64::from(h)), (more + less) / f64::from(h)]
            }));
        }
        // Gradients of one array are of one size, so an error is measured by the largest of them: one that is missing altogether
        // is never small. Below the floor is what rounding leaves of a gradient that is zero, as a bias's before batch norm.
        let largest = differences.iter().map(|[_, [slope, _]]| slope.abs()).fold(0.0, f64::max);
        let tolerance = 1e-2 * largest + 1e-4;
        for (i, [[coarse, coarse_bend], [fine, fine_bend]]) in entry.range.clone().zip(differences) {
            // Where two steps disagree, a kink (of a ReLU, of a maximum) lies between them and neither is the gradient; where
            // the bend does not halve with the step, as a smooth curve's does, a kink lies within both.
            if (coarse - fine).abs() < tolerance / 4.0 && (2.0 * fine_bend - coarse_bend).abs() < tolerance {
                checked += 1;
                let error = (fine - f64::from(gradient[i])).abs();
                assert!(error < tolerance, "{}, weight {i} of {trained}: {} for {fine}", entry.name, gradient[i]);
            }
        }
    }
    assert!(checked * 4 >= trained * 3, "only {checked} of {trained} weights could be checked");
}

/// The end of every network under test.
fn classifier(channels: usize) -> Vec<Layer> {
    vec![Layer::GlobalAveragePool, Layer::Flatten, Layer::Linear { input: channels, output: 3 }]
}

fn square(channels: usize, extent: usize) -> ImageShape {
    ImageShape { channels, height: extent, width: extent }
}

#[test]
fn gradients_of_linear_layers_agree_with_finite_differences() {
    let layers =
        vec![Layer::Flatten, Layer::Linear { input: 8, output: 5 }, Layer::Relu, Layer::Linear { input: 5, output: 3 }];
    gradients_agree_with_finite_differences(layers, square(2, 2));
}

#[test]
fn gradients_of_convolutions_agree_with_finite_differences() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0), (1, 1, 0), (2, 1, 0), (3, 2, 2)] {
        let mut layers =
            vec![convolution(2, 3, kernel, stride, padding, true), Layer::Relu, convolution(3, 4, 2, 1, 1, false)];
        layers.extend(classifier(4));
        gradients_agree_with_finite_differences(layers, ImageShape { channels: 2, height: 5, width: 4 });
    }
}

#[test]
fn gradients_of_a_network_of_one_channel_agree_with_finite_differences() {
    let mut layers = vec![convolution(1, 3, 3, 1, 0, true), Layer::Relu, convolution(3, 2, 2, 1, 0, true)];
    layers.extend(classifier(2));
    gradients_agree_with_finite_differences(layers, ImageShape { channels: 1, height: 6, width: 5 });
}

#[test]
fn gradients_of_batch_norm_in_training_agree_with_finite_differences() {
    let mut layers = vec![convolution(1, 3, 3, 1, 1, false), Layer::BatchNorm(3), convolution(3, 2, 2, 1, 0, false)];
    layers.extend([Layer::BatchNorm(2), Layer::Relu]);
    layers.extend(classifier(2));
    gradients_agree_with_finite_differences(layers, square(1, 4));
}

#[test]
fn gradients_of_overlapping_pools_of_odd_extent_agree_with_finite_differences() {
    for (kernel, stride) in [(3, 2), (2, 2), (2, 1), (1, 2)] {
        let mut layers = vec![convolution(1, 3, 2, 1, 0, true), Layer::Relu, Layer::MaxPool { kernel, stride }];
        layers.extend(classifier(3));
        gradients_agree_with_finite_differences(layers, square(1, 8));
    }
}

#[test]
fn gradients_of_every_shortcut_agree_with_finite_differences() {
    let body = |stride| vec![convolution(2, 4, 3, stride, 1, false), Layer::BatchNorm(4)];
    let projection = Shortcut::Projection(vec![convolution(2, 4, 1, 2, 0, false), Layer::BatchNorm(4)]);
    let pad = Shortcut::Pad { stride: 2, channels: 4 };
    let identity = Layer::Residual { body: vec![convolution(4, 4, 3, 1, 1, false)], shortcut: Shortcut::Identity };
    for shortcut in [projection, pad] {
        let mut layers =
            vec![convolution(1, 2, 3, 1, 1, true), Layer::Residual { body: body(2), shortcut }, Layer::Relu];
        // Once without a ReLU after it.
        layers.push(identity.clone());
        layers.extend(classifier(4));
        gradients_agree_with_finite_differences(layers, square(1, 5));
    }
}

#[test]
fn gradients_of_dropout_agree_with_finite_differences() {
    let mut layers = vec![convolution(1, 4, 2, 1, 0, true), Layer::Dropout(0.4)];
    layers.extend(classifier(4));
    gradients_agree_with_finite_differences(layers, square(1, 4));
}

fn images(values: Vec<f32>, shape: (usize, usize, usize, usize)) -> Var {
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The gradient of the sum of `y` in `x`.
fn slope(x: &Var, y: Tensor) -> Vec<f32> {
    flat(y.sum_all().unwrap().backward().unwrap().get(x).unwrap())
}

#[test]
fn a_unique_maximum_takes_the_whole_gradient_and_of_equal_ones_the_first() {
    let pool = |v: Vec<f32>| {
        let x = images(v, (1, 2, 2, 1));
        slope(&x, x.apply_op1(MaxPool { kernel: 2, stride: 2 }).unwrap())
    };
    assert_eq!(pool(vec![1.0, 2.0, 3.0, 4.0]), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(pool(vec![4.0, 4.0, 3.0, 4.0]), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn overlapping_windows_add_their_gradients_and_what_no_window_covers_has_none() {
    // 3 × 4, windows of 2 × 2 at every pixel: the 9 is the maximum of four of the six.
    let x = images(vec![1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0], (1, 3, 4, 1));
    let y = x.apply_op1(MaxPool { kernel: 2, stride: 1 }).unwrap();
    assert_eq!(flat(&y), [9.0, 9.0, 7.0, 9.0, 9.0, 7.0]);
    assert_eq!(slope(&x, y), [0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let odd = images((0..9u8).map(f32::from).collect(), (1, 3, 3, 1));
    let y = odd.apply_op1(MaxPool { kernel: 2, stride: 2 }).unwrap();
    assert_eq!(slope(&odd, y), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn relu_has_no_gradient_at_zero() {
    let x = images(vec![-1.0, 0.0, 1.0], (1, 1, 3, 1));
    assert_eq!(slope(&x, x.apply_op1(Relu).unwrap()), [0.0, 0.0, 1.0]);
}

#[test]
fn nan_passes_pools_and_rectifiers() {
    let x = images(vec![1.0, f32::NAN, 2.0, 3.0], (1, 2, 2, 1));
    assert!(flat(&x.apply_op1(Relu).unwrap())[1].is_nan());
    assert!(flat(&x.apply_op1(MaxPool { kernel: 2, stride: 2 }).unwrap())[0].is_nan());
}

/// The definition: a sum over the window for each output, in f64. Everything channels first, as candle and PyTorch have it.
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
fn a_convolution_agrees_with_its_definition_and_with_candles_own() {
    let (n, h, w) = (3, 6, 5);
    for (ci, co, kernel, stride, padding) in
        [(2, 4, 3, 1, 1), (2, 3, 3, 2, 1), (1, 3, 5, 1, 0), (3, 2, 1, 2, 0), (2, 2, 1, 1, 0), (1, 2, 2, 3, 2)]
    {
        let (xs, ks) = (values(n * ci * h * w, 3), values(co * ci * kernel * kernel, 4));
        let x = Tensor::from_slice(&xs, (n, ci, h, w), &Device::Cpu).unwrap();
        let k = Tensor::from_slice(&ks, (co, ci, kernel, kernel), &Device::Cpu).unwrap();
        let last = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let ours = last.apply_op2(&k, Convolve { stride, padding }).unwrap().permute((0, 3, 1, 2)).unwrap();
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
fn a_convolution_in_several_chunks_has_the_gradients_of_its_images_one_by_one() {
    // 640 lines of output, 151 a chunk; 20 outputs are no whole number of blocks when kernels are laid out.
    let (count, extent, input, output) = (40, 16, 3, 20);
    let kernels = Var::from_vec(values(output * input * 9, 5), (output, input, 3, 3), &Device::Cpu).unwrap();
    let slopes = |x: &[f32], weights: &[f32]| {
        let count = x.len() / (extent * extent * input);
        let x = images(x.to_vec(), (count, extent, extent, input));
        let y = x.apply_op2(&kernels, Convolve { stride: 1, padding: 1 }).unwrap();
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
fn batch_norm_gives_each_channel_mean_0_and_variance_1_and_follows_the_batches() {
    let x = images(values(4 * 3 * 3 * 2, 5).iter().map(|v| 3.0 * v + 5.0).collect(), (4, 3, 3, 2));
    let (one, zero) =
        (Tensor::ones(2, DType::F32, &Device::Cpu).unwrap(), Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap());
    let moments = Arc::new(OnceLock::new());
    let y = flat(&x.apply_op3(&one, &zero, BatchNorm { relu: false, moments: Arc::clone(&moments) }).unwrap());
    for channel in 0..2 {
        let channel: Vec<f64> = y.iter().skip(channel).step_by(2).map(|v| f64::from(*v)).collect();
        let mean = channel.iter().sum::<f64>() / 36.0;
        assert!(mean.abs() < 1e-5);
        assert!((channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 36.0 - 1.0).abs() < 1e-4);
    }
    let moments = moments.get().unwrap();
    let unbiased: Vec<f64> = moments.unbiased().collect();
    assert!((unbiased[0] / moments.variance[0] - 36.0 / 35.0).abs() < 1e-12);
}

#[test]
fn running_statistics_move_a_tenth_of_the_way_and_are_what_evaluation_uses() {
    let layers = vec![Layer::BatchNorm(1), Layer::Flatten, Layer::Linear { input: 2, output: 2 }];
    let mut engine = engine(layers, ImageShape { channels: 1, height: 1, width: 2 }, 2);
    let statistics = engine.weights.plan().trained()..;
    engine.weights.values_mut()[statistics.clone()].copy_from_slice(&[0.0, 1.0]);
    let inputs = [2.0, 4.0, 6.0, 8.0];
    engine.train_step(Batch { inputs: &inputs, labels: &[0, 1] }, 0.0, &mut generator(0)).unwrap();
    let found = &engine.weights.values()[statistics];
    // Mean 5; the unbiased variance is 20/3.
    assert!((found[0] - 0.5).abs() < 1e-6 && (found[1] - (0.9 + 2.0 / 3.0)).abs() < 1e-6, "{found:?}");
    let before = engine.weights.clone();
    let mut together = Vec::new();
    engine.logits(&inputs, &mut together).unwrap();
    let mut alone = Vec::new();
    engine.logits(&inputs[..2], &mut alone).unwrap();
    assert_eq!(together[..2], alone, "no statistics of the batch at hand");
    assert_eq!(engine.weights, before, "evaluation moves nothing");
}

#[test]
fn a_samples_logits_hardly_depend_on_the_others() {
    let network = Model::Cnn { dropout: 0.5 }.network(square(1, 28), 10).unwrap();
    let weights = Arc::new(Plan::of(&network)).initial(&mut generator(3));
    let mut engine = CandleEngine::new(&network, weights, Loss::Cce(Cce {}), SGD).unwrap();
    let inputs = values(250 * 784, 4);
    let mut logits = |count: usize| {
        let mut logits = Vec::new();
        engine.logits(&inputs[..count * 784], &mut logits).unwrap();
        logits
    };
    let all = logits(250);
    for count in [1, 7] {
        let worst = logits(count).iter().zip(&all).map(|(few, all)| (few - all).abs()).fold(0.0, f32::max);
        // Not equal: where there are few rows, products add up in another order.
        assert!(worst < 1e-6, "{worst} among {count}");
    }
}

#[test]
fn a_batch_of_one_trains_through_batch_norm() {
    let layers = vec![Layer::Flatten, Layer::Linear { input: 4, output: 4 }, Layer::Linear { input: 4, output: 3 }];
    let mut with_norm = vec![convolution(1, 2, 2, 1, 0, false), Layer::BatchNorm(2), Layer::Relu];
    with_norm.extend(classifier(2));
    for layers in [layers, with_norm] {
        let mut engine = engine(layers, square(1, 2), 3);
        let loss = engine.train_step(Batch { inputs: &values(4, 6), labels: &[1] }, 0.1, &mut generator(0)).unwrap();
        assert!(loss.is_finite());
        assert!(engine.weights.are_finite());
    }
}

#[test]
fn dropout_zeroes_its_share_scales_the_rest_and_rests_in_evaluation() {
    let mut layers = vec![Layer::Flatten, Layer::Dropout(0.25), Layer::Linear { input: 400, output: 2 }];
    let mut dropping = engine(layers.clone(), square(1, 20), 2);
    let weights = dropping.weights.clone();
    layers.remove(1);
    let inputs = vec![1.0; 400];
    let x = Tensor::ones((50, 400), DType::F32, &Device::Cpu).unwrap();
    let node = layers::nodes(&Network { layers: vec![Layer::Dropout(0.25)], ..network_of(&dropping) }, weights.plan())
        .unwrap();
    let mut dropout = generator(1);
    let mut pass = Pass { tensors: &[], weights: &mut dropping.weights, mode: Mode::Training(&mut dropout) };
    let y = flat(&layers::forward(&node, x, &mut pass).unwrap());
    let zeroes = y.iter().filter(|y| **y == 0.0).count() as f64 / y.len() as f64;
    assert!((zeroes - 0.25).abs() < 0.02, "{zeroes}");
    assert!(y.iter().all(|y| *y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-6));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    dropping.logits(&inputs, &mut first).unwrap();
    dropping.logits(&inputs, &mut second).unwrap();
    assert_eq!(first, second);
}

fn network_of(engine: &CandleEngine) -> Network {
    Network {
        input: engine.input,
        classes: engine.classes,
        layers: Vec::new(),
        initialisation: Initialisation::UniformFanIn,
    }
}

#[test]
fn inputs_of_several_channels_are_taken_channels_first() {
    // The linear layer sees the second channel's values where the flat order has them.
    let layers = vec![Layer::Flatten, Layer::Linear { input: 4, output: 2 }];
    let mut engine = engine(layers, ImageShape { channels: 2, height: 1, width: 2 }, 2);
    engine.weights.values_mut().copy_from_slice(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let mut logits = Vec::new();
    engine.logits(&[10.0, 20.0, 30.0, 40.0], &mut logits).unwrap();
    assert_eq!(logits, [30.0, 20.0]);
}
