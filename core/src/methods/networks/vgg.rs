//! VGG-16 with batch norm: configuration D of Simonyan & Zisserman 2015 with batch norm after every convolution, and one linear
//! layer where the paper has three.

use super::{Convolution, Initialisation, Kernel, Layer, Network};
use crate::methods::shape::ImageShape;

/// Convolutions of each stage and their channels; a 2×2 pool ends a stage.
const STAGES: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

pub(super) fn network(input: ImageShape, classes: usize) -> Network {
    let mut layers = Vec::new();
    let ImageShape { mut channels, mut height, mut width } = input;
    for (convolutions, output) in STAGES {
        for _ in 0..convolutions {
            let kernel = Kernel::Square(3);
            let convolution = Convolution { input: channels, output, kernel, stride: 1, padding: 1, bias: true };
            layers.extend([Layer::Convolution(convolution), Layer::BatchNorm(output), Layer::Relu]);
            channels = output;
        }
        layers.push(Layer::MaxPool { kernel: 2, stride: 2, padding: 0 });
        (height, width) = (height / 2, width / 2);
    }
    let features = ImageShape { channels, height, width }.len();
    layers.extend([Layer::Flatten, Layer::Linear { input: features, output: classes }]);
    Network { input, classes, layers, initialisation: Initialisation::UniformFanIn }
}
