//! Compares the gradients of every kind of layer with central differences of the loss.

use super::*;
use plusminus_core::methods::networks::Shortcut;

/// Compares every weight's gradient with central differences of the loss. All evaluations use equal masks.
fn gradients_agree_with_finite_differences(layers: Vec<Layer>, input: ImageShape) {
    let mut engine = engine(layers, input, 3);
    let (mut inputs, labels) = (values(4 * input.len(), 1), [0, 1, 2, 1]);
    if let Some(vocabulary) = engine.vocabulary {
        inputs.iter_mut().for_each(|value| *value = (vocabulary as f32 * (*value + 1.0) / 2.0).floor());
    }
    let Gradients { loss, weights: gradient, .. } =
        engine.gradients(&inputs, &mut cross_entropy(&labels), &mut generator(2)).unwrap();
    let (mut checked, plan) = (0, Arc::clone(engine.weights.plan()));
    let trained = plan.trained();
    for entry in plan.entries().iter().filter(|entry| entry.role.is_trained()) {
        let mut differences = Vec::new();
        for i in entry.range.clone() {
            let mut at = |delta: f32| {
                let kept = engine.weights.values()[i];
                engine.weights.values_mut()[i] = kept + delta;
                let loss = engine.gradients(&inputs, &mut cross_entropy(&labels), &mut generator(2)).unwrap().loss;
                engine.weights.values_mut()[i] = kept;
                loss
            };
            // The central difference, and the difference between the one-sided differences.
            differences.push([8, 9].map(|bits| {
                let h = 2f32.powi(-bits);
                let (more, less) = (at(h) - loss, at(-h) - loss);
                [(more - less) / (2.0 * f64::from(h)), (more + less) / f64::from(h)]
            }));
        }
        // Gradients within an array have similar sizes, so errors are relative to the largest: a missing gradient is never small. The
        // floor allows for the rounding of zero gradients, such as those of a bias before batch norm.
        let largest = differences.iter().map(|[_, [slope, _]]| slope.abs()).fold(0.0, f64::max);
        let tolerance = 1e-2 * largest + 1e-4;
        for (i, [[coarse, coarse_bend], [fine, fine_bend]]) in entry.range.clone().zip(differences) {
            // If two step sizes disagree, a kink (of a ReLU or maximum) lies between them and neither is the gradient. If the
            // curvature does not halve with the step size, as that of a smooth function does, a kink lies within both.
            if (coarse - fine).abs() < tolerance / 4.0 && (2.0 * fine_bend - coarse_bend).abs() < tolerance {
                checked += 1;
                let error = (fine - f64::from(gradient[i])).abs();
                assert!(error < tolerance, "{}, weight {i} of {trained}: {} for {fine}", entry.name, gradient[i]);
            }
        }
    }
    assert!(checked * 4 >= trained * 3, "only {checked} of {trained} weights could be checked");
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
fn gradients_of_one_input_channel_agree_with_finite_differences() {
    let mut layers = vec![convolution(1, 3, 3, 1, 0, true), Layer::Relu, convolution(3, 2, 2, 1, 0, true)];
    layers.extend(classifier(2));
    gradients_agree_with_finite_differences(layers, ImageShape { channels: 1, height: 6, width: 5 });
}

#[test]
fn gradients_of_batch_norm_agree_with_finite_differences() {
    let mut layers = vec![convolution(1, 3, 3, 1, 1, false), Layer::BatchNorm(3), convolution(3, 2, 2, 1, 0, false)];
    layers.extend([Layer::BatchNorm(2), Layer::Relu]);
    layers.extend(classifier(2));
    gradients_agree_with_finite_differences(layers, square(1, 4));
}

#[test]
fn gradients_of_overlapping_pools_agree_with_finite_differences() {
    for (kernel, stride, padding) in [(3, 2, 0), (2, 2, 0), (2, 1, 0), (1, 2, 0), (3, 2, 1), (2, 2, 1), (4, 3, 2)] {
        let pool = Layer::MaxPool { kernel, stride, padding };
        let mut layers = vec![convolution(1, 3, 2, 1, 0, true), Layer::Relu, pool];
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
        // A block without a ReLU after it.
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

fn line(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Layer {
    Layer::Convolution(Convolution { input, output, kernel: Kernel::Row(kernel), stride, padding, bias: true })
}

#[test]
fn gradients_of_convolutions_in_1d_agree_with_finite_differences() {
    for (kernel, stride, padding) in [(3, 1, 0), (3, 2, 1), (1, 1, 0), (4, 3, 2)] {
        let mut layers = vec![line(2, 3, kernel, stride, padding), Layer::Tanh];
        layers.extend(classifier(3));
        gradients_agree_with_finite_differences(layers, ImageShape { channels: 2, height: 1, width: 7 });
    }
}

#[test]
fn gradients_of_global_max_pools_agree_with_finite_differences() {
    let layers = vec![
        convolution(1, 3, 2, 1, 0, true),
        Layer::GlobalMaxPool,
        Layer::Flatten,
        Layer::Linear { input: 3, output: 3 },
    ];
    gradients_agree_with_finite_differences(layers, square(1, 4));
}

#[test]
fn gradients_of_branches_agree_with_finite_differences() {
    // The first branch is the identity, the second as deep as a block.
    let deep = vec![convolution(2, 3, 3, 1, 1, false), Layer::BatchNorm(3), Layer::Tanh];
    let mut layers = vec![
        convolution(1, 2, 2, 1, 0, true),
        Layer::Branches(vec![vec![], deep, vec![convolution(2, 1, 1, 1, 0, true), Layer::Tanh]]),
    ];
    layers.extend(classifier(6));
    gradients_agree_with_finite_differences(layers, square(1, 5));
}

#[test]
fn gradients_of_a_text_network_agree_with_finite_differences() {
    let branch = |kernel| vec![line(3, 4, kernel, 1, 0), Layer::Tanh, Layer::GlobalMaxPool];
    let layers = vec![
        Layer::Embedding { vocabulary: 6, dimension: 3 },
        Layer::Branches(vec![branch(2), branch(3)]),
        Layer::Flatten,
        Layer::Dropout(0.3),
        Layer::Linear { input: 8, output: 3 },
    ];
    gradients_agree_with_finite_differences(layers, ImageShape { channels: 1, height: 1, width: 5 });
}
