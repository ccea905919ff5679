//! Networks on which engines are compared.

use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{Convolution, Initialisation, Kernel, Layer, Network, Shortcut};

pub(crate) fn convolution(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Layer {
    convolution_of(Kernel::Square(kernel), [input, output], stride, padding, false)
}

pub(crate) fn convolution_of(
    kernel: Kernel,
    [input, output]: [usize; 2],
    stride: usize,
    padding: usize,
    bias: bool,
) -> Layer {
    Layer::Convolution(Convolution { input, output, kernel, stride, padding, bias })
}

pub(crate) fn linear(input: usize, output: usize) -> Layer {
    Layer::Linear { input, output }
}

pub(crate) fn residual(body: Vec<Layer>) -> Layer {
    Layer::Residual { body, shortcut: Shortcut::Identity }
}

/// A mean over the image and a linear layer.
pub(crate) fn classifier(channels: usize) -> [Layer; 3] {
    [Layer::GlobalAveragePool, Layer::Flatten, linear(channels, 10)]
}

pub(crate) const SMALL: ImageShape = ImageShape { channels: 3, height: 19, width: 23 };

pub(crate) fn network(input: ImageShape, layers: impl IntoIterator<Item = Layer>) -> Network {
    let layers = layers.into_iter().collect();
    Network { input, classes: 10, layers, initialisation: Initialisation::UniformFanIn }
}

/// A network with every kind of step.
pub(crate) fn everything() -> Network {
    let projected = Layer::Residual {
        body: vec![convolution(20, 33, 3, 2, 1), Layer::BatchNorm(33), Layer::Relu, convolution(33, 33, 3, 1, 1)],
        shortcut: Shortcut::Projection(vec![convolution(20, 33, 1, 2, 0), Layer::BatchNorm(33)]),
    };
    let padded = Layer::Residual {
        body: vec![convolution(33, 48, 3, 2, 1), Layer::BatchNorm(48)],
        shortcut: Shortcut::Pad { stride: 2, channels: 48 },
    };
    network(
        SMALL,
        [
            convolution_of(Kernel::Square(3), [3, 20], 1, 1, true),
            Layer::BatchNorm(20),
            Layer::Relu,
            projected,
            Layer::Relu,
            padded,
            Layer::MaxPool { kernel: 2, stride: 1, padding: 0 },
            Layer::Dropout(0.25),
            convolution(48, 20, 2, 1, 0),
            Layer::Relu,
            Layer::Flatten,
            linear(20 * 3 * 4, 24),
            Layer::BatchNorm(24),
            Layer::Relu,
            Layer::Dropout(0.5),
            linear(24, 10),
        ],
    )
}

/// Named combinations of layers that no supported model has, each with a number of samples at which no ReLU changes sign by rounding.
pub(crate) fn layers_that_no_network_has() -> Vec<(&'static str, Network, usize)> {
    use Layer::{BatchNorm, Dropout, Flatten, GlobalAveragePool, GlobalMaxPool, MaxPool, Relu};
    let strides = [
        convolution(3, 20, 5, 2, 2),
        BatchNorm(20),
        Relu,
        convolution(20, 33, 1, 2, 0),
        BatchNorm(33),
        Relu,
        convolution(33, 48, 3, 3, 1),
        BatchNorm(48),
        Relu,
    ];
    let stem = [
        convolution(3, 20, 7, 2, 3),
        BatchNorm(20),
        Relu,
        MaxPool { kernel: 3, stride: 2, padding: 0 },
        residual(vec![convolution(20, 20, 3, 1, 1)]),
        residual(vec![convolution(20, 20, 3, 1, 1), BatchNorm(20), Relu, convolution(20, 20, 1, 1, 0)]),
        residual(vec![convolution(20, 20, 5, 1, 2), BatchNorm(20)]),
        Relu,
        GlobalMaxPool,
        Flatten,
        linear(20, 10),
    ];
    let reaching = [
        convolution(3, 20, 7, 2, 3),
        BatchNorm(20),
        Relu,
        MaxPool { kernel: 3, stride: 2, padding: 1 },
        residual(vec![MaxPool { kernel: 3, stride: 1, padding: 1 }]),
        MaxPool { kernel: 4, stride: 3, padding: 2 },
    ];
    let flattened = [
        convolution_of(Kernel::Square(4), [3, 20], 3, 1, true),
        Flatten,
        Relu,
        linear(20 * 6 * 8, 24),
        BatchNorm(24),
        Relu,
        Dropout(0.5),
        linear(24, 10),
    ];
    let between = [convolution(3, 20, 3, 1, 0), Relu, Dropout(0.3), convolution(20, 33, 3, 1, 1), Dropout(0.3), Relu];
    let sequence = [
        convolution_of(Kernel::Row(5), [3, 20], 1, 2, true),
        Relu,
        convolution_of(Kernel::Row(4), [20, 33], 2, 0, false),
        BatchNorm(33),
        GlobalMaxPool,
        Flatten,
        linear(33, 10),
    ];
    let alone = [convolution_of(Kernel::Square(3), [3, 10], 2, 1, true), GlobalAveragePool, Flatten];
    let flat = [Flatten, linear(SMALL.len(), 17), Relu, linear(17, 10)];
    vec![
        ("odd strides and channels", network(SMALL, strides.into_iter().chain(classifier(48))), 5),
        ("overlapping windows and blocks in a row", network(SMALL, stem), 5),
        ("windows that reach over the image", network(SMALL, reaching.into_iter().chain(classifier(20))), 5),
        ("a linear layer with batch norm on flattened channels", network(SMALL, flattened), 6),
        ("dropout between convolutions", network(SMALL, between.into_iter().chain(classifier(33))), 5),
        ("a sequence", network(ImageShape { channels: 3, height: 1, width: 17 }, sequence), 5),
        ("logits that are means", network(SMALL, alone), 5),
        ("linear layers on the input", network(SMALL, flat), 5),
    ]
}

/// A small network for sentences of `length` tokens from a vocabulary of 30.
pub(crate) fn sentences(length: usize, layers: Vec<Layer>) -> Network {
    let embedding = Layer::Embedding { vocabulary: 30, dimension: 20 };
    network(ImageShape { channels: 1, height: 1, width: length }, [embedding].into_iter().chain(layers))
}

/// Text networks, and branches on images.
pub(crate) fn layers_side_by_side() -> Vec<(&'static str, Network)> {
    use Layer::{BatchNorm, Branches, Dropout, Flatten, GlobalAveragePool, GlobalMaxPool, MaxPool, Relu, Tanh};
    let row =
        |width: usize, input: usize, output: usize| convolution_of(Kernel::Row(width), [input, output], 1, 0, true);
    let branch = |width: usize| vec![row(width, 20, 9), Tanh, GlobalMaxPool];
    let kim = vec![Branches([2, 3, 4].map(branch).into()), Flatten, Dropout(0.5), linear(27, 10)];
    let deep = vec![
        Tanh,
        row(3, 20, 33),
        Relu,
        Tanh,
        MaxPool { kernel: 1, stride: 2, padding: 0 },
        residual(vec![row(1, 33, 33), Tanh]),
        GlobalAveragePool,
        Flatten,
        Tanh,
        linear(33, 10),
    ];
    let means = vec![GlobalAveragePool, Flatten, linear(20, 10)];
    let sides = vec![
        vec![],
        vec![convolution(16, 7, 3, 1, 1), BatchNorm(7), Relu],
        vec![Relu, convolution(16, 5, 1, 1, 0), Tanh],
        vec![Branches(vec![vec![Relu], vec![convolution(16, 3, 1, 1, 0)]]), Dropout(0.5), Relu],
    ];
    let images = [convolution_of(Kernel::Square(3), [3, 16], 2, 1, true), Branches(sides), Relu, Tanh];
    let on_input = vec![vec![convolution(3, 7, 3, 2, 1)], vec![convolution(3, 8, 1, 2, 0), Tanh]];
    let images = images.into_iter().chain([convolution(16 + 7 + 5 + 19, 20, 3, 2, 1), Tanh]).chain(classifier(20));
    vec![
        ("a network for sentences", sentences(11, kim)),
        ("tangents everywhere", sentences(9, deep)),
        ("means of vectors", sentences(70, means)),
        ("branches in branches", network(SMALL, images)),
        ("branches on the input", network(SMALL, [Branches(on_input), Relu].into_iter().chain(classifier(15)))),
    ]
}

/// Residual blocks nested, in sequence and of single layers, whose gradients share buffers.
pub(crate) fn blocks_of_any_form() -> Vec<(&'static str, Network)> {
    use Layer::{BatchNorm, Dropout, MaxPool, Relu};
    let same = |kernel: usize| convolution(16, 16, kernel, 1, kernel / 2);
    let around =
        |shortcut: Vec<Layer>| Layer::Residual { body: vec![same(3)], shortcut: Shortcut::Projection(shortcut) };
    let on_input = Layer::Residual {
        body: vec![convolution(3, 16, 3, 2, 1)],
        shortcut: Shortcut::Projection(vec![convolution(3, 16, 1, 2, 0), BatchNorm(16)]),
    };
    let on_input = ("on the input", network(SMALL, [on_input].into_iter().chain(classifier(16))));
    let blocks = [
        ("a ReLU alone", vec![residual(vec![Relu]), Relu]),
        ("a pool alone", vec![residual(vec![MaxPool { kernel: 1, stride: 1, padding: 0 }])]),
        ("dropout alone", vec![residual(vec![Dropout(0.5)])]),
        ("two ReLUs", vec![residual(vec![same(1)]), Relu, Relu]),
        ("a projection by nothing", vec![BatchNorm(16), around(Vec::new())]),
        ("a block in a block", vec![residual(vec![residual(vec![same(3)]), Relu, same(1)])]),
        ("dropout and a ReLU at the end", vec![residual(vec![same(3), Dropout(0.5), Relu])]),
        ("a rectified block at the end", vec![residual(vec![same(3), residual(vec![same(3)]), Relu])]),
        ("a block at the end", vec![residual(vec![same(1), residual(vec![same(3), same(1)])])]),
        ("a block as a shortcut", vec![around(vec![residual(vec![same(3), same(1)])])]),
        ("a block in a shortcut", vec![around(vec![residual(vec![same(5)])]), Relu]),
        ("blocks in a row", vec![residual(vec![same(3)]), residual(vec![same(3), BatchNorm(16)]), Relu]),
    ];
    let after_a_convolution = blocks.map(|(what, layers)| {
        let layers = [convolution(3, 16, 3, 1, 1)].into_iter().chain(layers).chain(classifier(16));
        (what, network(SMALL, layers))
    });
    [on_input].into_iter().chain(after_a_convolution).collect()
}
