//! The intermediate representation of a network: values, steps that compute them, and how gradients flow back.

use crate::fused::parameters::{Parameters, stored_channels};
use plusminus_core::methods::dataset::ImageShape;
use std::ops::Range;

/// The fused engine does not support a network.
#[derive(Debug, thiserror::Error)]
#[error("the fused engine does not support this network ({0}): remove `--engine fused`, or use `--engine candle`")]
pub(crate) struct Unsupported(pub(super) String);

impl Unsupported {
    /// The layer and the reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

/// An index into [`Program::values`].
pub(crate) type ValueId = usize;

/// The shape of one sample of a value, stored as `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub height: usize,
    pub width: usize,
    /// Channels of the network.
    pub channels: usize,
    /// Channels in memory: padded to whole blocks, except for the network's input.
    pub stored: usize,
}

impl Shape {
    /// The shape of a network's input.
    pub fn of_input(shape: ImageShape) -> Self {
        let ImageShape { channels, height, width } = shape;
        Shape { height, width, channels, stored: channels }
    }

    /// An image with channels padded to whole blocks.
    pub fn image([height, width]: [usize; 2], channels: usize) -> Self {
        Shape { height, width, channels, stored: stored_channels(channels) }
    }

    /// Stored values per sample.
    pub fn len(&self) -> usize {
        self.pixels() * self.stored
    }

    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub fn extent(&self) -> [usize; 2] {
        [self.height, self.width]
    }
}

/// The output of a step: stored values and the view through which later steps read them.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub shape: Shape,
    /// The scale and shift of the view, as an index into [`Program::affines`].
    pub affine: Option<usize>,
    /// Whether the view applies a ReLU.
    pub rectify: bool,
    /// The buffer of the gradient with respect to the viewed values, as an index into [`Program::gradient_buffers`].
    pub gradient_buffer: Option<usize>,
    /// Whether a step has read the value while the program is built. The view must not change afterwards.
    pub(super) is_read: bool,
}

/// A scale and a shift per channel.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    /// Stored channels.
    pub channels: usize,
    /// The bias of the step before, if any, as a range of the stored parameters.
    pub bias: Option<Range<usize>>,
    /// The batch norm that follows, if any.
    pub norm: Option<Norm>,
}

/// Batch norm: ranges of scale and shift within the stored parameters, and of the running statistics within the plan.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub scale: Range<usize>,
    pub shift: Range<usize>,
    pub mean: Range<usize>,
    pub variance: Range<usize>,
}

/// A value that a step reads, and what the backward pass does with its gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub value: ValueId,
    pub flow: GradientFlow,
    /// Whether this step completes the gradient in the backward pass, because it is the first reader of the value.
    pub completes: bool,
}

/// How the backward pass of a step treats the gradient of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GradientFlow {
    /// The gradient is not needed.
    None,
    /// The step overwrites the buffer.
    Write,
    /// The step adds to what later steps have written.
    Add,
    /// The gradient equals that of the output and occupies the same buffer.
    Share,
}

/// A convolution. A margin is the number of zeros added at each end of an axis.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub input: Input,
    pub output: ValueId,
    /// The kernels within the stored parameters.
    pub weight: Range<usize>,
    pub from: Shape,
    pub to: Shape,
    pub kernel: [usize; 2],
    pub stride: usize,
    pub margin: [usize; 2],
}

/// A step of the forward and the backward pass.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Convolution(Convolution),
    /// A product of each sample with a matrix.
    Linear {
        input: Input,
        output: ValueId,
        weight: Range<usize>,
    },
    /// The sum of two values, or a copy of one.
    Join {
        inputs: [Option<Input>; 2],
        rectify: bool,
        output: ValueId,
    },
    /// Every `stride`-th pixel, with zeros in the additional channels.
    Subsample {
        input: Input,
        stride: usize,
        output: ValueId,
    },
    MaxPool {
        input: Input,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        output: ValueId,
    },
    /// The mean of each channel over the image.
    Average {
        input: Input,
        output: ValueId,
    },
    /// Zeroes a share of the values and scales the others up.
    Dropout {
        input: Input,
        share: f64,
        output: ValueId,
    },
    /// The vector of every token: a row of the weights, with as many values as a pixel has stored channels.
    Embedding {
        input: Input,
        vocabulary: usize,
        output: ValueId,
        weight: Range<usize>,
    },
    Tanh {
        input: Input,
        output: ValueId,
    },
    /// The channels of several values one after another, without their padding.
    Concatenate {
        inputs: Vec<Input>,
        output: ValueId,
    },
}

impl Step {
    /// The value that the step computes.
    pub fn output(&self) -> ValueId {
        match self {
            Step::Convolution(Convolution { output, .. })
            | Step::Linear { output, .. }
            | Step::Join { output, .. }
            | Step::Subsample { output, .. }
            | Step::MaxPool { output, .. }
            | Step::Average { output, .. }
            | Step::Dropout { output, .. }
            | Step::Embedding { output, .. }
            | Step::Tanh { output, .. }
            | Step::Concatenate { output, .. } => *output,
        }
    }

    /// The values that the step reads.
    pub(super) fn inputs(&mut self) -> Vec<&mut Input> {
        match self {
            Step::Convolution(Convolution { input, .. })
            | Step::Linear { input, .. }
            | Step::Subsample { input, .. }
            | Step::MaxPool { input, .. }
            | Step::Average { input, .. }
            | Step::Dropout { input, .. }
            | Step::Embedding { input, .. }
            | Step::Tanh { input, .. } => vec![input],
            Step::Join { inputs, .. } => inputs.iter_mut().flatten().collect(),
            Step::Concatenate { inputs, .. } => inputs.iter_mut().collect(),
        }
    }
}

/// A compiled network.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The network's input is the first.
    pub values: Vec<Value>,
    pub affines: Vec<Affine>,
    pub steps: Vec<Step>,
    /// Values per sample of each buffer for gradients.
    pub gradient_buffers: Vec<usize>,
    pub parameters: Parameters,
    pub logits: ValueId,
}

impl Program {
    /// The vocabulary, if the network's inputs are token ids.
    pub fn vocabulary(&self) -> Option<usize> {
        self.steps.iter().find_map(|step| match step {
            Step::Embedding { vocabulary, .. } => Some(*vocabulary),
            _ => None,
        })
    }

    /// The first channel and the number of channels of each input within the output of a [`Step::Concatenate`].
    pub fn channel_ranges(&self, inputs: &[Input]) -> impl Iterator<Item = [usize; 2]> {
        inputs.iter().scan(0, |next, input| {
            let channels = self.values[input.value].shape.channels;
            let start = std::mem::replace(next, *next + channels);
            Some([start, channels])
        })
    }

    /// Whether the backward pass of `step` must apply the gradient of the ReLU in its output.
    ///
    /// Convolutions and linear layers apply it through their view.
    pub fn masks_gradient(&self, step: &Step) -> bool {
        match step {
            Step::Join { rectify, .. } => *rectify,
            Step::Convolution(_) | Step::Linear { .. } => false,
            _ => self.values[step.output()].rectify,
        }
    }
}
