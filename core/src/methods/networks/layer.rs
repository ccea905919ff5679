//! The layers that networks are made of, and their numbers of weights.

use crate::methods::dataset::{ImageShape, product};

/// A network: layers from an image, or from a sequence of tokens, to logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// What comes in: an image, or a row of tokens' numbers for an [`Layer::Embedding`].
    pub input: ImageShape,
    /// How many logits come out.
    pub classes: usize,
    /// In order.
    pub layers: Vec<Layer>,
    /// How weights start.
    pub initialisation: Initialisation,
}

/// How the weights of convolutions and linear layers start. Batch norm starts as the identity everywhere, and an embedding
/// standard normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Weights and biases uniform in ±1/√fan_in: PyTorch's default.
    UniformFanIn,
    /// Weights normal with variance 2/fan_in, cut off at two deviations of the normal distribution that is cut, and biases 0:
    /// He et al. 2015, as Keras's `he_normal` has it.
    HeNormal,
    /// Convolutions normal with variance 2/fan_out and linear layers as in [`Initialisation::UniformFanIn`]:
    /// He et al. 2015, as PyTorch's ResNets have it.
    HeFanOut,
}

/// One layer. Images are channels × height × width; a sequence is an image of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A row of numbers of tokens, 1 × 1 × length, to a vector for each, dimension × 1 × length. As numbers have no gradient, it
    /// can only be a network's first layer.
    Embedding {
        /// Tokens that there are, numbered from 0.
        vocabulary: usize,
        /// Values a token.
        dimension: usize,
    },
    /// A convolution over an image or a sequence.
    Convolution(Convolution),
    /// Batch normalisation over so many channels, ε = 1e-5, running statistics with momentum 0.1; a scale and a shift a channel.
    BatchNorm(usize),
    /// max(x, 0), with gradient 0 at 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// Maximum over square windows; the first of equals takes the gradient.
    MaxPool {
        /// Extent of the window.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// How far windows reach over every side of the image, at most half their extent; what is there counts for nothing (−∞).
        padding: usize,
    },
    /// Mean over the image, a value a channel.
    GlobalAveragePool,
    /// Maximum over the image, a value a channel (over a sequence: over time); the first of equals takes the gradient.
    GlobalMaxPool,
    /// Channels × height × width to a vector.
    Flatten,
    /// Zeroes this share of the values in training and scales the others up.
    Dropout(f64),
    /// x W + b.
    Linear {
        /// Values in.
        input: usize,
        /// Values out.
        output: usize,
    },
    /// body(x) + shortcut(x).
    Residual {
        /// The layers of the block.
        body: Vec<Layer>,
        /// What is added to them.
        shortcut: Shortcut,
    },
    /// Layers side by side that all take x; what they give is joined channel after channel.
    Branches(Vec<Vec<Layer>>),
}

/// A convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Form and extent of the kernels.
    pub kernel: Kernel,
    /// Step of the kernels.
    pub stride: usize,
    /// Zeroes on every side; in one dimension, on both ends.
    pub padding: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// Form and extent of a convolution's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// So many rows and as many columns: a 2-d convolution.
    Square(usize),
    /// One row of so many columns, over images of one row: a 1-d convolution.
    Row(usize),
}

/// The path around a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortcut {
    /// x.
    Identity,
    /// Every `stride`-th pixel of x, with channels of zeroes after its own (He et al. 2016, option A).
    Pad {
        /// Step.
        stride: usize,
        /// Channels out.
        channels: usize,
    },
    /// A convolution and batch norm (option B).
    Projection(Vec<Layer>),
}

impl Network {
    /// How many weights are trained (batch norm's running statistics are not); `usize::MAX` if they are beyond counting.
    pub fn parameters(&self) -> usize {
        total(&self.layers)
    }

    /// The same network without its last layer, if that is a linear one: what comes out are the penultimate features, whose
    /// number stands for the number of classes. Layers keep their places, and so their weights their names.
    pub fn features(&self) -> Option<Network> {
        let (Layer::Linear { input, .. }, before) = self.layers.split_last()? else { return None };
        Some(Network { classes: *input, layers: before.to_vec(), ..*self })
    }
}

fn total(layers: &[Layer]) -> usize {
    layers.iter().map(Layer::parameters).fold(0, usize::saturating_add)
}

impl Convolution {
    /// Rows and columns of a kernel.
    pub fn extent(&self) -> (usize, usize) {
        match self.kernel {
            Kernel::Square(extent) => (extent, extent),
            Kernel::Row(columns) => (1, columns),
        }
    }

    /// Rows of zeroes above and below, and columns of them left and right.
    pub fn margin(&self) -> (usize, usize) {
        match self.kernel {
            Kernel::Square(_) => (self.padding, self.padding),
            Kernel::Row(_) => (0, self.padding),
        }
    }
}

impl Layer {
    /// How many weights are trained; `usize::MAX` if they are beyond counting.
    pub fn parameters(&self) -> usize {
        let own = match self {
            Layer::Embedding { vocabulary, dimension } => product([*vocabulary, *dimension]),
            Layer::Convolution(c) => {
                let (rows, columns) = c.extent();
                product([c.output, c.input, rows, columns]).saturating_add(if c.bias { c.output } else { 0 })
            }
            Layer::BatchNorm(channels) => product([2, *channels]),
            Layer::Linear { input, output } => product([*input, *output]).saturating_add(*output),
            _ => 0,
        };
        self.inner().into_iter().map(total).fold(own, usize::saturating_add)
    }

    /// The lists of layers that it is made of, where it is.
    pub(super) fn inner(&self) -> Vec<&[Layer]> {
        match self {
            Layer::Residual { body, shortcut: Shortcut::Projection(around) } => vec![body, around],
            Layer::Residual { body, .. } => vec![body],
            Layer::Branches(branches) => branches.iter().map(Vec::as_slice).collect(),
            _ => Vec::new(),
        }
    }
}
