//! Compares the two forms of each operation with each other, on the CPU, where both run.

use super::super::ops::{
    AddRelu, BatchNorm, BatchNormEvaluation, Convolve, GlobalAverage, MaxPool, Operation, PadChannels, Relu,
};
use super::*;
use std::sync::OnceLock;

/// Arguments of the given shapes, rounded to quarters, so that many are equal and some are 0.
fn arguments<const N: usize>(shapes: [&[usize]; N]) -> [Var; N] {
    let mut epoch = 20;
    shapes.map(|shape| {
        epoch += 1;
        let values = values(shape.iter().product(), epoch).iter().map(|value| (4.0 * value).round() / 4.0).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    })
}

/// The value of a form and the gradients of its arguments, with a different weight for each value.
fn run<const N: usize>(
    arguments: &[Var; N],
    form: impl FnOnce([&Tensor; N]) -> candle_core::Result<Tensor>,
) -> Vec<Tensor> {
    let y = form(arguments.each_ref().map(|variable| variable.as_tensor())).unwrap();
    let weights = Tensor::from_vec(values(y.elem_count(), 30), y.shape(), &Device::Cpu).unwrap();
    let gradients = y.mul(&weights).unwrap().sum_all().unwrap().backward().unwrap();
    let slopes = arguments.iter().map(|variable| gradients.get(variable).unwrap().clone());
    [y].into_iter().chain(slopes).collect()
}

fn assert_near(ours: &[Tensor], theirs: &[Tensor]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.dims(), theirs.dims());
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in values(ours).iter().zip(values(theirs)) {
            assert!((a - b).abs() < 1e-4, "{a} against {b}:\n{ours}\n{theirs}");
        }
    }
}

/// Both forms of an operation have equal values and gradients on arguments of these shapes.
fn forms_agree<const N: usize, O: Operation<N>>(make: impl Fn() -> O, shapes: [&[usize]; N]) {
    let arguments = arguments(shapes);
    assert_near(&run(&arguments, |a| make().custom(a)), &run(&arguments, |a| make().composed(a)));
}

#[test]
fn both_forms_of_a_convolution_agree() {
    // Strides that leave rows or columns over, kernels of one row, and kernels smaller than the stride.
    for (shape, kernels, stride, margin) in [
        ([2, 6, 5, 3], [4, 3, 3, 3], 1, (1, 1)),
        ([2, 6, 5, 3], [4, 3, 3, 3], 2, (1, 1)),
        ([2, 5, 6, 2], [3, 2, 3, 3], 2, (0, 0)),
        ([1, 7, 7, 2], [3, 2, 1, 1], 2, (0, 0)),
        ([3, 4, 4, 1], [2, 1, 2, 2], 3, (1, 1)),
        ([2, 1, 8, 3], [4, 3, 1, 3], 1, (0, 0)),
        ([2, 1, 8, 3], [4, 3, 1, 4], 2, (0, 2)),
        ([5, 1, 1, 6], [4, 6, 1, 1], 1, (0, 0)),
    ] {
        let make = || Convolve { stride, margin };
        forms_agree::<2, _>(make, [&shape, &kernels]);
        forms_agree::<3, _>(make, [&shape, &kernels, &kernels[..1]]);
    }
}

#[test]
fn both_forms_of_max_pooling_agree_on_equal_maxima() {
    for (shape, kernel, stride, padding) in [
        ([2, 6, 6, 3], (2, 2), 2, 0),
        ([2, 7, 5, 2], (2, 2), 2, 0),
        ([1, 6, 7, 2], (3, 3), 2, 0),
        ([1, 5, 5, 1], (2, 2), 1, 0),
        ([1, 5, 6, 2], (1, 1), 2, 0),
        ([3, 1, 9, 4], (1, 9), 1, 0),
        ([2, 3, 4, 5], (3, 4), 1, 0),
        ([2, 6, 7, 3], (3, 3), 2, 1),
        ([2, 5, 4, 2], (2, 2), 2, 1),
        ([1, 1, 1, 2], (3, 3), 2, 1),
        ([2, 6, 5, 2], (5, 4), 1, 2),
    ] {
        forms_agree(|| MaxPool { kernel, stride, padding }, [&shape]);
    }
}

#[test]
fn both_forms_of_relu_averages_and_shortcuts_agree() {
    let shape: &[usize] = &[2, 5, 4, 3];
    forms_agree(|| Relu, [shape]);
    forms_agree(|| AddRelu, [shape, shape]);
    forms_agree(|| GlobalAverage, [shape]);
    for (stride, channels) in [(1, 3), (1, 5), (2, 3), (2, 6), (3, 4)] {
        forms_agree(|| PadChannels { stride, channels }, [shape]);
    }
}

#[test]
fn both_forms_of_batch_norm_agree_in_values_and_statistics() {
    for (shape, relu) in [([4, 3, 5, 2], false), ([4, 3, 5, 2], true), ([6, 1, 1, 3], true), ([1, 1, 1, 2], false)] {
        let arguments = arguments([&shape, &shape[3..], &shape[3..]]);
        let places = [Arc::new(OnceLock::new()), Arc::new(OnceLock::new())];
        let [custom, composed] =
            places.each_ref().map(|statistics| BatchNorm { relu, statistics: Arc::clone(statistics) });
        assert_near(&run(&arguments, |a| custom.custom(a)), &run(&arguments, |a| composed.composed(a)));
        let [custom, composed] = places.each_ref().map(|statistics| statistics.get().unwrap());
        assert_eq!(custom.count, composed.count);
        let statistics = custom.mean.iter().chain(&custom.variance).zip(composed.mean.iter().chain(&composed.variance));
        statistics.for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} against {b}"));
    }
}

#[test]
fn both_forms_of_batch_norm_in_evaluation_agree() {
    for relu in [false, true] {
        let [x] = arguments([&[3, 2, 4, 2]]);
        let make = || BatchNormEvaluation::new(&[1.5, -0.5], &[0.1, 0.2], &[0.3, -0.2], &[2.0, 0.5], relu);
        assert_near(&[make().custom([&x]).unwrap()], &[make().composed([&x]).unwrap()]);
    }
}

#[test]
fn nan_propagates_through_both_forms_of_pools_and_relu() {
    for place in 0..4 {
        let mut values = [1.0, 3.0, 2.0, -1.0];
        values[place] = f32::NAN;
        let x = Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 2, 2, 1)).unwrap();
        let pool = || MaxPool { kernel: (2, 2), stride: 2, padding: 0 };
        let maxima = [pool().custom([&x]).unwrap(), pool().composed([&x]).unwrap()];
        let rectified = [Relu.custom([&x]).unwrap(), Relu.composed([&x]).unwrap()];
        let at = |tensor: &Tensor, place: usize| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[place];
        assert!(maxima.iter().all(|y| at(y, 0).is_nan()) && rectified.iter().all(|y| at(y, place).is_nan()), "{place}");
    }
}
