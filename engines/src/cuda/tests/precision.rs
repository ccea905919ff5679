//! Precisions of products: compares gradients with those of a network in `f64` with equally rounded factors, and trains in each precision.

use super::*;

/// Rounds a factor. With `bf16` results of products are rounded, too, as in PyTorch's autocast.
fn rounded(x: f64, precision: Precision) -> f64 {
    let kept = match precision {
        Precision::F32 => return x,
        Precision::Tf32 => 10,
        Precision::Bf16 => 7,
    };
    if x == 0.0 {
        return x;
    }
    let step = 2f64.powi(x.abs().log2().floor() as i32 - kept);
    if precision == Precision::Tf32 { (x / step).round() * step } else { (x / step).round_ties_even() * step }
}

/// The gradients of two linear layers with a ReLU between them, by their definition.
fn reference_gradients(weights: &[f32], inputs: &[f32], labels: &[u32], precision: Precision) -> Vec<f64> {
    let (count, [from, hidden, classes]) = (labels.len(), SIZES);
    let factor = |x: f64| rounded(x, precision);
    let left = |x: f64| if precision == Precision::Bf16 { rounded(x, precision) } else { x };
    let all: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
    let (first, rest) = all.split_at(from * hidden);
    let (first_bias, rest) = rest.split_at(hidden);
    let (second, second_bias) = rest.split_at(hidden * classes);
    // y[i, o] = Σ x[i, j] w[o, j]
    let product = |x: &[f64], w: &[f64], inner: usize, outer: usize| -> Vec<f64> {
        let of =
            |i: usize, o: usize| left((0..inner).map(|j| factor(x[i * inner + j]) * factor(w[o * inner + j])).sum());
        (0..count).flat_map(|i| (0..outer).map(move |o| (i, o))).map(|(i, o)| of(i, o)).collect()
    };
    let of_weights = |x: &[f64], d: &[f64], inner: usize, outer: usize| -> Vec<f64> {
        let of =
            |o: usize, j: usize| left((0..count).map(|i| factor(x[i * inner + j]) * factor(d[i * outer + o])).sum());
        (0..outer).flat_map(|o| (0..inner).map(move |j| (o, j))).map(|(o, j)| of(o, j)).collect()
    };
    let of_bias = |d: &[f64], outer: usize| -> Vec<f64> {
        (0..outer).map(|o| (0..count).map(|i| d[i * outer + o]).sum()).collect()
    };
    let x: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
    let mut h = product(&x, first, from, hidden);
    h.iter_mut().enumerate().for_each(|(i, h)| *h = (*h + first_bias[i % hidden]).max(0.0));
    let mut logits = product(&h, second, hidden, classes);
    logits.iter_mut().enumerate().for_each(|(i, y)| *y += second_bias[i % classes]);
    let logits: Vec<f32> = logits.iter().map(|y| *y as f32).collect();
    let mut gradient = vec![0.0; logits.len()];
    cross_entropy(labels)(&logits, &mut gradient);
    let d: Vec<f64> = gradient.iter().map(|d| f64::from(*d)).collect();
    let back = |i: usize, j: usize| {
        let sum = (0..classes).map(|o| factor(d[i * classes + o]) * factor(second[o * hidden + j])).sum();
        if h[i * hidden + j] > 0.0 { left(sum) } else { 0.0 }
    };
    let of_h: Vec<f64> = (0..count).flat_map(|i| (0..hidden).map(move |j| (i, j))).map(|(i, j)| back(i, j)).collect();
    let first = of_weights(&x, &of_h, from, hidden);
    let second = of_weights(&h, &d, hidden, classes);
    [first, of_bias(&of_h, hidden), second, of_bias(&d, classes)].concat()
}

const SIZES: [usize; 3] = [48, 20, 10];

#[test]
fn gradients_in_each_precision_agree_with_rounded_factors() {
    let [from, hidden, classes] = SIZES;
    let layers = [
        Layer::Flatten,
        Layer::Linear { input: from, output: hidden },
        Layer::Relu,
        Layer::Linear { input: hidden, output: classes },
    ];
    let network = networks::network(ImageShape { channels: 3, height: 4, width: 4 }, layers);
    let (inputs, labels) = samples(network.input, 9);
    let start = weights(&network);
    let mut apart_from_f32 = Vec::new();
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let mut engine = cuda(&network, PLAIN).in_precision(precision);
        let found = engine.gradients(&inputs, &mut cross_entropy(&labels), &mut no_dropout()).unwrap().weights;
        let expected: Vec<f32> =
            reference_gradients(start.values(), &inputs, &labels, precision).into_iter().map(|d| d as f32).collect();
        let apart = distance(&found, &expected);
        // A sum between two values of 16 bits may be rounded to either.
        let allowed = if precision == Precision::Bf16 { 1e-3 } else { 1e-5 };
        assert!(apart < allowed, "{precision:?}: {apart}");
        let plain: Vec<f32> = reference_gradients(start.values(), &inputs, &labels, Precision::F32)
            .into_iter()
            .map(|d| d as f32)
            .collect();
        apart_from_f32.push(distance(&found, &plain));
    }
    assert!(apart_from_f32[0] < 1e-5, "{apart_from_f32:?}");
    assert!((1e-5..3e-3).contains(&apart_from_f32[1]), "{apart_from_f32:?}");
    assert!((1e-3..3e-2).contains(&apart_from_f32[2]), "{apart_from_f32:?}");
}

#[test]
fn every_kind_of_step_trains_similarly_in_each_precision() {
    for network in [networks::everything(), word_cnn(500, 20, 2, 0.5).unwrap()] {
        let run = |precision: Precision| {
            let mut engine = cuda(&network, SGD).in_precision(precision);
            trained(&mut engine, &network, 0..3)
        };
        let expected = run(Precision::F32);
        // Batch norm over two samples amplifies rounding errors.
        for (precision, allowed) in [(Precision::Tf32, 0.02), (Precision::Bf16, 0.4)] {
            let found = run(precision);
            assert_eq!(found, run(precision), "the same bytes twice");
            let norm = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
            let apart = found.iter().zip(&expected).map(|(f, e)| (f - e).powi(2)).sum::<f64>().sqrt() / norm;
            assert!(apart > 0.0 && apart < allowed, "{precision:?}: losses and logits differ by {apart}");
        }
    }
}

#[test]
fn a_small_network_learns_in_each_precision() {
    let network = Model::Cnn { dropout: 0.0 }.network(GREY, 10).unwrap();
    let (inputs, labels) = samples(network.input, 8);
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let mut engine = cuda(&network, SGD).in_precision(precision);
        let mut step = || engine.train_step(&inputs, &mut cross_entropy(&labels), 0.05, &mut no_dropout()).unwrap();
        let losses: Vec<f64> = (0..10).map(|_| step()).collect();
        assert!(losses[9] < losses[0] / 2.0, "{precision:?}: {losses:?}");
    }
}

#[test]
fn the_name_contains_a_precision_that_is_not_the_default() {
    let network = Model::Cnn { dropout: 0.0 }.network(GREY, 10).unwrap();
    let name = |precision| cuda(&network, SGD).in_precision(precision).name();
    let plain = concat!("fused ", env!("CARGO_PKG_VERSION"), " cuda twin");
    assert_eq!(name(Precision::F32), plain);
    assert_eq!(name(Precision::Tf32), format!("{plain} tf32"));
    assert_eq!(cuda(&network, SGD).in_precision(Precision::Bf16).reproducibility_key(), format!("{plain} bf16"));
}
