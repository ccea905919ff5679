//! The layers that networks are made of, their output shapes and their numbers of weights.

use crate::methods::dataset::ImageShape;

/// A network: layers from an image to logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// What comes in.
    pub input: ImageShape,
    /// How many logits come out.
    pub classes: usize,
    /// In order.
    pub layers: Vec<Layer>,
    /// How weights start.
    pub initialisation: Initialisation,
}

/// How the weights of convolutions and linear layers start. Batch norm starts as the identity everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Weights and biases uniform in ±1/√fan_in: PyTorch's default.
    UniformFanIn,
    /// Convolutions normal with variance 2/fan_out and linear layers as in [`Initialisation::UniformFanIn`]:
    /// He et al. 2015, as PyTorch's ResNets have it.
    HeFanOut,
}

/// One layer. Images are channels × height × width.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A 2-d convolution.
    Convolution(Convolution),
    /// Batch normalisation over so many channels, ε = 1e-5, running statistics with momentum 0.1; a scale and a shift a channel.
    BatchNorm(usize),
    /// max(x, 0), with gradient 0 at 0.
    Relu,
    /// Maximum over windows; the first of equals takes the gradient.
    MaxPool {
        /// Extent of the window.
        kernel: usize,
        /// Step of the window.
        stride: usize,
    },
    /// Mean over the image, a value a channel.
    GlobalAveragePool,
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
}

/// A 2-d convolution with a square kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Extent of the kernel.
    pub kernel: usize,
    /// Step of the kernel.
    pub stride: usize,
    /// Zeroes on every side.
    pub padding: usize,
    /// Whether a bias is added.
    pub bias: bool,
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
    /// How many weights are trained (batch norm's running statistics are not).
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// Checks that every layer can take what the one before gives and that `classes` logits come out.
    ///
    /// # Errors
    /// The layer that cannot, and why.
    pub fn check(&self) -> Result<(), String> {
        let logits = ImageShape { channels: self.classes, height: 1, width: 1 };
        match output(&self.layers, self.input)? {
            shape if shape == logits => Ok(()),
            other => Err(format!("expected {} logits, found {other:?}", self.classes)),
        }
    }
}

fn output(layers: &[Layer], input: ImageShape) -> Result<ImageShape, String> {
    layers.iter().try_fold(input, |shape, layer| layer.output(shape))
}

impl Layer {
    /// How many weights are trained.
    pub fn parameters(&self) -> usize {
        match self {
            Layer::Convolution(c) => c.output * c.input * c.kernel * c.kernel + if c.bias { c.output } else { 0 },
            Layer::BatchNorm(channels) => 2 * channels,
            Layer::Linear { input, output } => input * output + output,
            Layer::Residual { body, shortcut } => {
                let around = match shortcut {
                    Shortcut::Projection(layers) => layers.as_slice(),
                    Shortcut::Identity | Shortcut::Pad { .. } => &[],
                };
                body.iter().chain(around).map(Layer::parameters).sum()
            }
            Layer::Relu | Layer::MaxPool { .. } | Layer::GlobalAveragePool | Layer::Flatten | Layer::Dropout(_) => 0,
        }
    }

    /// The shape that comes out where `shape` goes in.
    ///
    /// # Errors
    /// Why the layer cannot take it.
    pub fn output(&self, shape: ImageShape) -> Result<ImageShape, String> {
        let ImageShape { channels, height, width } = shape;
        let wants = |expected: usize| {
            if channels == expected {
                Ok(())
            } else {
                Err(format!("{self:?}: expected {expected} channels, found {channels}"))
            }
        };
        let slide = |extent: usize, kernel: usize, stride: usize, padding: usize| {
            (extent + 2 * padding).checked_sub(kernel).map(|room| room / stride + 1).ok_or_else(|| {
                format!("an image of {height}×{width} is smaller than the {kernel}×{kernel} window it meets")
            })
        };
        Ok(match self {
            Layer::Convolution(c) => {
                wants(c.input)?;
                let height = slide(height, c.kernel, c.stride, c.padding)?;
                let width = slide(width, c.kernel, c.stride, c.padding)?;
                ImageShape { channels: c.output, height, width }
            }
            Layer::BatchNorm(expected) => {
                wants(*expected)?;
                shape
            }
            Layer::Relu | Layer::Dropout(_) => shape,
            Layer::MaxPool { kernel, stride } => ImageShape {
                channels,
                height: slide(height, *kernel, *stride, 0)?,
                width: slide(width, *kernel, *stride, 0)?,
            },
            Layer::GlobalAveragePool => ImageShape { channels, height: 1, width: 1 },
            Layer::Flatten => ImageShape { channels: shape.len(), height: 1, width: 1 },
            Layer::Linear { input, output } => {
                wants(*input)?;
                ImageShape { channels: *output, height: 1, width: 1 }
            }
            Layer::Residual { body, shortcut } => {
                let inside = output(body, shape)?;
                let around = match shortcut {
                    Shortcut::Identity => shape,
                    Shortcut::Pad { stride, channels } => ImageShape {
                        channels: *channels,
                        height: height.div_ceil(*stride),
                        width: width.div_ceil(*stride),
                    },
                    Shortcut::Projection(layers) => output(layers, shape)?,
                };
                if inside != around {
                    return Err(format!("a block gives {inside:?} and its shortcut {around:?}"));
                }
                inside
            }
        })
    }
}
