//! Residual networks (He et al. 2016): with basic blocks for small images, a 3×3 first convolution and no pool after it; and
//! with bottleneck blocks for ImageNet.

use super::{Convolution, Initialisation, Kernel, Layer, Network, Shortcut};
use crate::input::Fields;
use crate::methods::shape::ImageShape;
use serde::{Deserialize, Serialize};

/// The shortcut around a block that halves the extent and doubles the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Downsample {
    /// Adds channels of zeros (option A, without weights).
    Pad,
    /// A 1×1 convolution with batch norm (option B).
    Projection,
}

impl Downsample {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        fields
            .about("how shortcuts add channels: zeros, or a projection")
            .choice("shortcut", &[("pad", Downsample::Pad), ("projection", Downsample::Projection)])
            .or(Downsample::Pad)
    }
}

/// Four stages of 64, 128, 256 and 512 channels with projection shortcuts.
pub(super) fn wide(input: ImageShape, classes: usize, blocks: [usize; 4]) -> Network {
    network(input, classes, &blocks, 64, Downsample::Projection)
}

/// Three stages of 16, 32 and 64 channels, `blocks` blocks each.
pub(super) fn narrow(input: ImageShape, classes: usize, blocks: usize, downsample: Downsample) -> Network {
    network(input, classes, &[blocks; 3], 16, downsample)
}

/// Ratio of the channels outside and inside a bottleneck block.
const EXPANSION: usize = 4;

/// The network for ImageNet: a 7×7 convolution with step 2 and a 3×3 pool with step 2, then four stages of bottleneck blocks with
/// 64, 128, 256 and 512 channels inside and four times as many outside. Shortcuts are projections where the shape changes.
pub(super) fn deep(input: ImageShape, classes: usize, blocks: [usize; 4]) -> Network {
    let mut layers = convolution(input.channels, 64, 7, 2);
    layers.extend([Layer::Relu, Layer::MaxPool { kernel: 3, stride: 2, padding: 1 }]);
    let mut channels = 64;
    for (stage, count) in blocks.into_iter().enumerate() {
        let inside = 64 << stage;
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            layers.extend([bottleneck(channels, inside, stride), Layer::Relu]);
            channels = EXPANSION * inside;
        }
    }
    layers.extend([Layer::GlobalAveragePool, Layer::Flatten, Layer::Linear { input: channels, output: classes }]);
    Network { input, classes, layers, initialisation: Initialisation::HeFanOut }
}

/// Convolutions of 1×1 to fewer channels, 3×3, and 1×1 to more. The 3×3 convolution has the step, as in PyTorch's ResNets; in
/// the paper the first one has.
fn bottleneck(input: usize, inside: usize, stride: usize) -> Layer {
    let output = EXPANSION * inside;
    let mut body = convolution(input, inside, 1, 1);
    body.push(Layer::Relu);
    body.extend(convolution(inside, inside, 3, stride));
    body.push(Layer::Relu);
    body.extend(convolution(inside, output, 1, 1));
    let shortcut = match input == output && stride == 1 {
        true => Shortcut::Identity,
        false => Shortcut::Projection(convolution(input, output, 1, stride)),
    };
    Layer::Residual { body, shortcut }
}

fn network(input: ImageShape, classes: usize, blocks: &[usize], first: usize, downsample: Downsample) -> Network {
    let mut layers = convolution(input.channels, first, 3, 1);
    layers.push(Layer::Relu);
    let mut channels = first;
    for (stage, &count) in blocks.iter().enumerate() {
        for block in 0..count {
            let (stride, output) = if stage > 0 && block == 0 { (2, channels * 2) } else { (1, channels) };
            layers.push(basic_block(channels, output, stride, downsample));
            layers.push(Layer::Relu);
            channels = output;
        }
    }
    layers.extend([Layer::GlobalAveragePool, Layer::Flatten, Layer::Linear { input: channels, output: classes }]);
    Network { input, classes, layers, initialisation: Initialisation::HeFanOut }
}

fn basic_block(input: usize, output: usize, stride: usize, downsample: Downsample) -> Layer {
    let mut body = convolution(input, output, 3, stride);
    body.push(Layer::Relu);
    body.extend(convolution(output, output, 3, 1));
    let shortcut = match downsample {
        _ if input == output && stride == 1 => Shortcut::Identity,
        Downsample::Pad => Shortcut::Pad { stride, channels: output },
        Downsample::Projection => Shortcut::Projection(convolution(input, output, 1, stride)),
    };
    Layer::Residual { body, shortcut }
}

/// A convolution that keeps the extent (up to its stride), and batch norm.
fn convolution(input: usize, output: usize, extent: usize, stride: usize) -> Vec<Layer> {
    let kernel = Kernel::Square(extent);
    let convolution = Convolution { input, output, kernel, stride, padding: extent / 2, bias: false };
    vec![Layer::Convolution(convolution), Layer::BatchNorm(output)]
}
