//! The 8-layer network of Wang et al. 2018 ("Iterative learning with open-set noisy labels"), as its authors released it with
//! symmetric cross entropy (Wang et al. 2019): three stages of two 3×3 convolutions and a 2×2 pool, then two linear layers; batch
//! norm and ReLU after each but the last. The open-set table of Zhang & Sabuncu 2018 uses it too.

use super::{Convolution, Initialisation, Kernel, Layer, Network};
use crate::methods::shape::ImageShape;

/// Channels of each stage.
const STAGES: [usize; 3] = [64, 128, 196];

/// Outputs of the first linear layer.
const HIDDEN: usize = 256;

pub(super) fn network(input: ImageShape, classes: usize) -> Network {
    let mut layers = Vec::new();
    let ImageShape { mut channels, mut height, mut width } = input;
    for output in STAGES {
        for _ in 0..2 {
            let kernel = Kernel::Square(3);
            let convolution = Convolution { input: channels, output, kernel, stride: 1, padding: 1, bias: true };
            layers.extend([Layer::Convolution(convolution), Layer::BatchNorm(output), Layer::Relu]);
            channels = output;
        }
        layers.push(Layer::MaxPool { kernel: 2, stride: 2, padding: 0 });
        (height, width) = (height / 2, width / 2);
    }
    let features = ImageShape { channels, height, width }.len();
    layers.extend([
        Layer::Flatten,
        Layer::Linear { input: features, output: HIDDEN },
        Layer::BatchNorm(HIDDEN),
        Layer::Relu,
        Layer::Linear { input: HIDDEN, output: classes },
    ]);
    Network { input, classes, layers, initialisation: Initialisation::HeNormal }
}
