//! The two-layer network of DMI's Fashion-MNIST experiment (Xu et al. 2019 and its released code):
//! conv 5×5-16, ReLU, pool 2, conv 5×5-32, ReLU, pool 2, dropout, linear.

use super::{Convolution, Initialisation, Kernel, Layer, Network};
use crate::methods::shape::ImageShape;

pub(super) fn network(input: ImageShape, classes: usize, dropout: f64) -> Network {
    let convolution = |input, output| {
        let kernel = Kernel::Square(5);
        Layer::Convolution(Convolution { input, output, kernel, stride: 1, padding: 0, bias: true })
    };
    let pool = Layer::MaxPool { kernel: 2, stride: 2, padding: 0 };
    // The extent after both convolutions and pools. The check of the network reports an extent that is too small.
    let left = |extent: usize| (extent.saturating_sub(4) / 2).saturating_sub(4) / 2;
    Network {
        input,
        classes,
        layers: vec![
            convolution(input.channels, 16),
            Layer::Relu,
            pool.clone(),
            convolution(16, 32),
            Layer::Relu,
            pool,
            Layer::Flatten,
            Layer::Dropout(dropout),
            Layer::Linear { input: 32 * left(input.height) * left(input.width), output: classes },
        ],
        initialisation: Initialisation::UniformFanIn,
    }
}
