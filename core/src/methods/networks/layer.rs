//! The layers of networks, and their numbers of weights.

use crate::methods::shape::{ImageShape, product};

/// A network: layers from an image, or from a sequence of tokens, to logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Shape of a sample: an image, or a row of tokens for an [`Layer::Embedding`].
    pub input: ImageShape,
    /// Number of logits.
    pub classes: usize,
    /// The layers from input to logits.
    pub layers: Vec<Layer>,
    /// Distribution of the initial weights.
    pub initialisation: Initialisation,
}

/// Distribution of the initial weights of convolutions and linear layers. Batch norm starts as the identity, embeddings are
/// standard normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Weights and biases uniform in ±1/√fan_in: PyTorch's default.
    UniformFanIn,
    /// Weights normal with variance 2/fan_in, truncated at two deviations of the untruncated distribution, and biases 0:
    /// He et al. 2015, as in Keras's `he_normal`.
    HeNormal,
    /// Convolutions normal with variance 2/fan_out and linear layers as in [`Initialisation::UniformFanIn`]:
    /// He et al. 2015, as in PyTorch's ResNets.
    HeFanOut,
}

/// One layer. Images are channels × height × width; a sequence is an image of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Maps a row of tokens, 1 × 1 × length, to one vector per token, dimension × 1 × length. Tokens have no gradient, so it must
    /// be the first layer.
    Embedding {
        /// Number of tokens, counted from 0.
        vocabulary: usize,
        /// Values per token.
        dimension: usize,
    },
    /// A convolution over an image or a sequence.
    Convolution(Convolution),
    /// Batch normalisation over this many channels, ε = 1e-5, running statistics with momentum 0.1; one scale and one shift per
    /// channel.
    BatchNorm(usize),
    /// max(x, 0), with gradient 0 at 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// Maximum over square windows; of equal values the first gets the gradient.
    MaxPool {
        /// Extent of the window.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// Padding of −∞ on every side, at most half the window.
        padding: usize,
    },
    /// Mean over the image, one value per channel.
    GlobalAveragePool,
    /// Maximum over the image or the sequence, one value per channel; of equal values the first gets the gradient.
    GlobalMaxPool,
    /// Channels × height × width to a vector.
    Flatten,
    /// Zeroes this share of the values in training and scales the others by 1/(1 − share).
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
        /// The path around the block.
        shortcut: Shortcut,
    },
    /// Parallel layers that all take x; their outputs are concatenated along channels.
    Branches(Vec<Vec<Layer>>),
}

/// A convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Shape of the kernels.
    pub kernel: Kernel,
    /// Step of the kernels.
    pub stride: usize,
    /// Zeros on every side; in one dimension on both ends.
    pub padding: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// Shape of a convolution's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// This many rows and columns: a 2-d convolution.
    Square(usize),
    /// One row of this many columns, over images of one row: a 1-d convolution.
    Row(usize),
}

/// The path around a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortcut {
    /// x.
    Identity,
    /// Every `stride`-th pixel of x, followed by channels of zeros (He et al. 2016, option A).
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
    /// Number of trained weights, without the running statistics of batch norm; `usize::MAX` on overflow.
    pub fn parameters(&self) -> usize {
        total(&self.layers)
    }

    /// The network without its last layer, if that is linear. It returns the penultimate features, and `classes` is their
    /// number. Layers keep their positions, so weights keep their names.
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

    /// Rows of padding above and below, and columns left and right.
    pub fn margin(&self) -> (usize, usize) {
        match self.kernel {
            Kernel::Square(_) => (self.padding, self.padding),
            Kernel::Row(_) => (0, self.padding),
        }
    }
}

impl Layer {
    /// Number of trained weights; `usize::MAX` on overflow.
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

    /// The lists of layers inside this layer.
    pub(super) fn inner(&self) -> Vec<&[Layer]> {
        match self {
            Layer::Residual { body, shortcut: Shortcut::Projection(around) } => vec![body, around],
            Layer::Residual { body, .. } => vec![body],
            Layer::Branches(branches) => branches.iter().map(Vec::as_slice).collect(),
            _ => Vec::new(),
        }
    }
}
