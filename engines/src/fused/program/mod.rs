//! A network as a list of steps over buffers, made once: the same for the processor and for a GPU.

mod build;
mod route;

use super::convolution::Convolution;
use super::parameters::{Order, Parameters, blocks};
use crate::Plan;
use build::Builder;
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::Network;
use std::ops::Range;

/// Why the fused engine cannot run a network.
#[derive(Debug, thiserror::Error)]
#[error("the fused engine cannot run this network ({0}): leave `--engine` away, or use `--engine candle`")]
pub(crate) struct Unsupported(String);

impl Unsupported {
    /// Which layer it is, and what is the matter with it.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

/// The place of a value in [`Program::values`].
pub(crate) type Id = usize;

/// The extent of what a sample is at some point of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub height: usize,
    pub width: usize,
    /// Channels of the network.
    pub channels: usize,
    /// Channels as stored: whole blocks, but for a network's input.
    pub stored: usize,
}

impl Shape {
    fn new(shape: ImageShape) -> Self {
        Shape { height: shape.height, width: shape.width, channels: shape.channels, stored: blocks(shape.channels) }
    }

    /// Stored values.
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

/// What a step leaves for others: stored values, and how they are read.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub shape: Shape,
    /// The scale and shift that its readers see it through, by their place in [`Program::affines`].
    pub affine: Option<usize>,
    /// Whether they see it rectified.
    pub rectify: bool,
    /// The buffer for the gradient with respect to what they see.
    pub slot: Option<usize>,
    /// Whether it has been read: then how it is read stands.
    taken: bool,
}

/// A scale and a shift a channel.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    /// Stored channels.
    pub channels: usize,
    /// A bias of the step before, if it has one.
    pub bias: Option<Range<usize>>,
    /// Batch norm, if that follows.
    pub norm: Option<Norm>,
}

/// Batch norm: places of its scale and shift among the stored parameters, and of its running statistics in the plan.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub scale: Range<usize>,
    pub shift: Range<usize>,
    pub mean: Range<usize>,
    pub variance: Range<usize>,
}

/// How a step reads a value, and what it does with the value's gradient on the way back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub value: Id,
    pub flow: Flow,
    /// Whether the gradient is complete after this step, which is then the first one to read the value.
    pub completes: bool,
}

/// What becomes of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nobody asks for it.
    None,
    /// It is written.
    Write,
    /// It is added to what later steps wrote.
    Add,
    /// It is the output's gradient, in the same buffer.
    Share,
}

/// A step of a forward pass, and of the backward pass.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Convolution(Convolution),
    /// A product with a matrix, a row a sample.
    Linear {
        input: Input,
        output: Id,
        weight: Range<usize>,
    },
    /// The sum of two values, or a copy of one.
    Join {
        inputs: [Option<Input>; 2],
        rectify: bool,
        output: Id,
    },
    /// Every `stride`-th pixel, with channels of zeroes after its own.
    Subsample {
        input: Input,
        stride: usize,
        output: Id,
    },
    MaxPool {
        input: Input,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        output: Id,
    },
    Average {
        input: Input,
        output: Id,
    },
    Dropout {
        input: Input,
        share: f64,
        output: Id,
    },
    /// A vector for every token: row number so and so of the weights, each of as many values as are stored a pixel.
    Embedding {
        input: Input,
        vocabulary: usize,
        output: Id,
        weight: Range<usize>,
    },
    Tanh {
        input: Input,
        output: Id,
    },
    /// The channels of several values, one value's after the other's; of each those of the network alone.
    Concatenate {
        inputs: Vec<Input>,
        output: Id,
    },
}

impl Step {
    /// What it leaves.
    pub fn output(&self) -> Id {
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

    fn inputs(&mut self) -> Vec<&mut Input> {
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

/// A network, ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What comes in is the first.
    pub values: Vec<Value>,
    pub affines: Vec<Affine>,
    pub steps: Vec<Step>,
    /// Stored values a sample of each buffer for gradients.
    pub slots: Vec<usize>,
    pub parameters: Parameters,
    pub logits: Id,
}

impl Program {
    /// How many tokens there are, if what comes in are numbers of tokens.
    pub fn vocabulary(&self) -> Option<usize> {
        self.steps.iter().find_map(|step| match step {
            Step::Embedding { vocabulary, .. } => Some(*vocabulary),
            _ => None,
        })
    }

    /// Where each of the values that are joined channel after channel begins, and how many of its channels count.
    pub fn places(&self, inputs: &[Input]) -> impl Iterator<Item = [usize; 2]> {
        inputs.iter().scan(0, |next, input| {
            let channels = self.values[input.value].shape.channels;
            let start = std::mem::replace(next, *next + channels);
            Some([start, channels])
        })
    }

    /// The program of `network`, whose weights are laid out as `plan` says and stored in this order.
    pub fn new(network: &Network, plan: &Plan, order: Order) -> Result<Program, Unsupported> {
        let input = Shape { stored: network.input.channels, ..Shape::new(network.input) };
        let program = Program {
            values: Vec::new(),
            affines: Vec::new(),
            steps: Vec::new(),
            slots: Vec::new(),
            parameters: Parameters::new(order),
            logits: 0,
        };
        let mut builder = Builder::new(program, plan);
        let input = builder.value(input);
        let logits = builder.layers(&network.layers, "", input)?;
        let mut program = builder.program;
        program.logits = logits;
        if logits == input {
            return Err(Unsupported("nothing comes of its input".into()));
        }
        if program.values[logits].shape.pixels() != 1 {
            return Err(Unsupported("its logits are a flattened image".into()));
        }
        if !program.parameters.covers(plan) {
            return Err(Unsupported("it has weights that no step uses".into()));
        }
        program.route();
        Ok(program)
    }
}
