//! A network as a list of steps over buffers, made once.

use super::convolution::Convolution;
use super::parameters::{Parameters, blocks};
use crate::engine::{Entry, Plan};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{Layer, Network, Shortcut};
use std::ops::Range;

/// Why the fused engine cannot run a network.
#[derive(Debug, thiserror::Error)]
#[error("the fused engine cannot run this network ({0}): leave `--engine` away, or use `--engine candle`")]
pub(crate) struct Unsupported(String);

/// The place of a value in [`Program::values`].
pub(super) type Id = usize;

/// The extent of what a sample is at some point of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
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
pub(super) struct Value {
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
pub(super) struct Affine {
    /// Stored channels.
    pub channels: usize,
    /// A bias of the step before, if it has one.
    pub bias: Option<Range<usize>>,
    /// Batch norm, if that follows.
    pub norm: Option<Norm>,
}

/// Batch norm: places of its scale and shift among the stored parameters, and of its running statistics in the plan.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub scale: Range<usize>,
    pub shift: Range<usize>,
    pub mean: Range<usize>,
    pub variance: Range<usize>,
}

/// How a step reads a value, and what it does with the value's gradient on the way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub value: Id,
    pub flow: Flow,
    /// Whether the gradient is complete after this step, which is then the first one to read the value.
    pub completes: bool,
}

/// What becomes of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
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
pub(super) enum Step {
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
            | Step::Dropout { output, .. } => *output,
        }
    }

    fn inputs(&mut self) -> Vec<&mut Input> {
        match self {
            Step::Convolution(Convolution { input, .. })
            | Step::Linear { input, .. }
            | Step::Subsample { input, .. }
            | Step::MaxPool { input, .. }
            | Step::Average { input, .. }
            | Step::Dropout { input, .. } => vec![input],
            Step::Join { inputs, .. } => inputs.iter_mut().flatten().collect(),
        }
    }
}

/// A network, ready to be run.
#[derive(Clone, Debug)]
pub(super) struct Program {
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
    /// The program of `network`, whose weights are laid out as `plan` says.
    pub fn new(network: &Network, plan: &Plan) -> Result<Program, Unsupported> {
        let input = Shape { stored: network.input.channels, ..Shape::new(network.input) };
        let program = Program {
            values: Vec::new(),
            affines: Vec::new(),
            steps: Vec::new(),
            slots: Vec::new(),
            parameters: Parameters::default(),
            logits: 0,
        };
        let mut builder = Builder { program, plan, flattened: None };
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

    /// Finds a buffer for every gradient, the same for several where their times do not overlap.
    fn route(&mut self) {
        let Program { values, steps, slots, logits, .. } = self;
        let mut pool = Pool { slots, free: Vec::new(), users: Vec::new() };
        values[*logits].slot = Some(pool.take(values[*logits].shape.len()));
        // First steps to read a value, and makers: by their place.
        let mut first_reader = vec![usize::MAX; values.len()];
        let mut readers = vec![Vec::new(); values.len()];
        let mut maker = vec![usize::MAX; values.len()];
        for (place, step) in steps.iter_mut().enumerate() {
            maker[step.output()] = place;
            for input in step.inputs() {
                first_reader[input.value] = first_reader[input.value].min(place);
                readers[input.value].push(place);
            }
        }
        // Makers that leave the gradient of what they made as it is: they neither mask it nor pass its buffer on.
        let reads_only: Vec<bool> = steps
            .iter()
            .map(|step| match step {
                Step::Join { .. } => false,
                Step::Convolution(_) | Step::Linear { .. } => true,
                _ => !values[step.output()].rectify,
            })
            .collect();
        for (place, step) in steps.iter_mut().enumerate().rev() {
            let output = step.output();
            let Some(slot) = values[output].slot else { continue };
            let join = matches!(step, Step::Join { .. });
            let mut sharing: Option<Id> = None;
            for input in step.inputs() {
                let value = input.value;
                input.completes = first_reader[value] == place;
                input.flow = if value == 0 {
                    Flow::None
                } else if values[value].slot.is_some() {
                    Flow::Add
                } else {
                    // Of two that share a buffer the first must be complete, and used up, as it is, before the second grows or is
                    // masked: its maker comes after the second's readers, and only reads.
                    let safe = sharing.is_none_or(|other| {
                        let grows = readers[value].iter().all(|reader| *reader == place || *reader < maker[other]);
                        let reads =
                            reads_only[maker[other]] && (maker[value] < maker[other] || reads_only[maker[value]]);
                        grows && reads && readers[other].len() == 1
                    });
                    if join && safe && values[value].shape == values[output].shape {
                        sharing = Some(value);
                        pool.share(slot);
                        values[value].slot = Some(slot);
                        Flow::Share
                    } else {
                        values[value].slot = Some(pool.take(values[value].shape.len()));
                        Flow::Write
                    }
                };
            }
            pool.release(slot);
        }
    }
}

/// Buffers for gradients, and which are in use.
struct Pool<'a> {
    slots: &'a mut Vec<usize>,
    free: Vec<usize>,
    users: Vec<usize>,
}

impl Pool<'_> {
    /// A free buffer: the smallest that is large enough, else the largest, enlarged, else a new one.
    fn take(&mut self, length: usize) -> usize {
        let slots = &*self.slots;
        let fitting = self.free.iter().copied().filter(|slot| slots[*slot] >= length).min_by_key(|slot| slots[*slot]);
        let slot = fitting.or_else(|| self.free.iter().copied().max_by_key(|slot| slots[*slot]));
        match slot {
            Some(slot) => {
                self.free.retain(|free| *free != slot);
                self.slots[slot] = self.slots[slot].max(length);
                self.users[slot] = 1;
                slot
            }
            None => {
                self.slots.push(length);
                self.users.push(1);
                self.slots.len() - 1
            }
        }
    }

    fn share(&mut self, slot: usize) {
        self.users[slot] += 1;
    }

    fn release(&mut self, slot: usize) {
        self.users[slot] -= 1;
        if self.users[slot] == 0 {
            self.free.push(slot);
        }
    }
}

struct Builder<'a> {
    program: Program,
    plan: &'a Plan,
    /// The shape that a vector had before it was flattened, which says where its values stand.
    flattened: Option<(Id, Shape)>,
}

impl Builder<'_> {
    fn value(&mut self, shape: Shape) -> Id {
        self.program.values.push(Value { shape, affine: None, rectify: false, slot: None, taken: false });
        self.program.values.len() - 1
    }

    /// Notes that a step reads `value`.
    fn input(&mut self, value: Id) -> Input {
        self.program.values[value].taken = true;
        Input { value, flow: Flow::None, completes: false }
    }

    fn shape(&self, value: Id) -> Shape {
        self.program.values[value].shape
    }

    fn affine(&mut self, value: Id, bias: Option<Range<usize>>) -> usize {
        self.program.affines.push(Affine { channels: self.shape(value).stored, bias, norm: None });
        let affine = self.program.affines.len() - 1;
        self.program.values[value].affine = Some(affine);
        affine
    }

    fn layers(&mut self, layers: &[Layer], path: &str, input: Id) -> Result<Id, Unsupported> {
        let mut value = input;
        for (i, layer) in layers.iter().enumerate() {
            value = self.layer(layer, &format!("{path}{i}."), value)?;
        }
        Ok(value)
    }

    /// Adds `layer`, whose weights' names begin with `path`; what comes out of it.
    fn layer(&mut self, layer: &Layer, path: &str, value: Id) -> Result<Id, Unsupported> {
        let plan = self.plan;
        let entry = |name: &str| -> Result<&Entry, Unsupported> {
            let name = format!("{path}{name}");
            let found = plan.entries().iter().find(|entry| entry.name == name);
            found.ok_or_else(|| Unsupported(format!("the weights lack {name}")))
        };
        let shape = self.shape(value);
        let refuse = |why: &str| Err(Unsupported(format!("layer {} {why}", path.trim_end_matches('.'))));
        // The shape of what is read, unless it is a vector that a linear layer may read otherwise.
        let spread = self.flattened.filter(|(flattened, _)| *flattened == value).map(|(_, shape)| shape);
        if spread.is_some() && !matches!(layer, Layer::Linear { .. } | Layer::Relu | Layer::Dropout(_) | Layer::Flatten)
        {
            return refuse("reads a flattened image as channels");
        }
        // What comes in has not its channels in blocks.
        let takes_any = match layer {
            Layer::Convolution(_) | Layer::Linear { .. } | Layer::Flatten => true,
            Layer::Residual { shortcut: Shortcut::Projection(around), .. } => !around.is_empty(),
            Layer::Dropout(share) => *share == 0.0,
            _ => false,
        };
        if value == 0 && !takes_any {
            return refuse("is none that an input can go into");
        }
        let output = match layer {
            Layer::Convolution(c) => {
                let (rows, columns) = c.extent();
                let (above, left) = c.margin();
                let along = |extent: usize, kernel: usize, margin: usize| (extent + 2 * margin - kernel) / c.stride + 1;
                let output = self.value(Shape {
                    height: along(shape.height, rows, above),
                    width: along(shape.width, columns, left),
                    channels: c.output,
                    stored: blocks(c.output),
                });
                let parameters = &mut self.program.parameters;
                let weight = parameters.panels(entry("weight")?, c.input, rows * columns, shape.stored);
                let bias = if c.bias { Some(parameters.vector(entry("bias")?)) } else { None };
                let input = self.input(value);
                let to = self.shape(output);
                let convolution =
                    Convolution::new((input, shape), (output, to), ([rows, columns], c.stride, [above, left]), weight);
                self.program.steps.push(Step::Convolution(convolution));
                if bias.is_some() {
                    self.affine(output, bias);
                }
                output
            }
            Layer::Linear { output, .. } => {
                let from = spread.unwrap_or(shape);
                let result = self.value(Shape { height: 1, width: 1, channels: *output, stored: blocks(*output) });
                let parameters = &mut self.program.parameters;
                let weight = parameters.panels(entry("weight")?, from.channels, from.pixels(), from.stored);
                let bias = parameters.vector(entry("bias")?);
                let input = self.input(value);
                self.program.steps.push(Step::Linear { input, output: result, weight });
                self.affine(result, Some(bias));
                result
            }
            Layer::BatchNorm(_) => {
                let made = self.program.steps.last().is_some_and(|step| {
                    step.output() == value && matches!(step, Step::Convolution(_) | Step::Linear { .. })
                });
                let Value { taken, rectify, affine, .. } = self.program.values[value];
                let normed = affine.is_some_and(|affine| self.program.affines[affine].norm.is_some());
                if !made || taken || rectify || normed {
                    return refuse("normalises what is no convolution's or linear layer's");
                }
                let affine = affine.unwrap_or_else(|| self.affine(value, None));
                let parameters = &mut self.program.parameters;
                let norm = Norm {
                    scale: parameters.vector(entry("weight")?),
                    shift: parameters.vector(entry("bias")?),
                    mean: entry("running_mean")?.range.clone(),
                    variance: entry("running_var")?.range.clone(),
                };
                self.program.affines[affine].norm = Some(norm);
                value
            }
            Layer::Relu => {
                let last = self.program.steps.last_mut();
                match last {
                    Some(Step::Join { rectify, output, .. })
                        if *output == value && !self.program.values[value].taken =>
                    {
                        *rectify = true;
                        value
                    }
                    _ if !self.program.values[value].taken => {
                        self.program.values[value].rectify = true;
                        value
                    }
                    _ => self.join([Some(value), None], true),
                }
            }
            Layer::MaxPool { kernel, stride } => self.max_pool(value, [*kernel; 2], *stride),
            Layer::GlobalMaxPool => self.max_pool(value, shape.extent(), 1),
            Layer::GlobalAveragePool => {
                let output = self.value(Shape { height: 1, width: 1, ..shape });
                let input = self.input(value);
                self.program.steps.push(Step::Average { input, output });
                output
            }
            Layer::Flatten => {
                self.flattened = Some((value, spread.unwrap_or(shape)));
                value
            }
            Layer::Dropout(share) if *share == 0.0 => value,
            Layer::Dropout(share) => {
                let output = self.value(shape);
                let input = self.input(value);
                self.program.steps.push(Step::Dropout { input, share: *share, output });
                output
            }
            Layer::Residual { body, shortcut } => {
                // From now on how it is read stands, for two read it.
                self.program.values[value].taken = true;
                let inside = self.layers(body, &format!("{path}body."), value)?;
                let around = match shortcut {
                    Shortcut::Identity => value,
                    Shortcut::Pad { stride, channels } => {
                        let output = self.value(Shape {
                            height: shape.height.div_ceil(*stride),
                            width: shape.width.div_ceil(*stride),
                            channels: *channels,
                            stored: blocks(*channels),
                        });
                        let input = self.input(value);
                        self.program.steps.push(Step::Subsample { input, stride: *stride, output });
                        output
                    }
                    Shortcut::Projection(layers) => self.layers(layers, &format!("{path}shortcut."), value)?,
                };
                if inside == around {
                    return refuse("adds a value to itself");
                }
                self.join([Some(inside), Some(around)], false)
            }
            Layer::Embedding { .. } | Layer::Tanh | Layer::Branches(_) => {
                return refuse("is of a kind that it lacks");
            }
        };
        // What kept a vector's places keeps them.
        if let (Some(spread), Layer::Dropout(_) | Layer::Relu) = (spread, layer) {
            self.flattened = Some((output, spread));
        }
        Ok(output)
    }

    fn max_pool(&mut self, value: Id, kernel: [usize; 2], stride: usize) -> Id {
        let shape = self.shape(value);
        let along = |extent: usize, kernel: usize| (extent - kernel) / stride + 1;
        let output =
            self.value(Shape { height: along(shape.height, kernel[0]), width: along(shape.width, kernel[1]), ..shape });
        let input = self.input(value);
        self.program.steps.push(Step::MaxPool { input, kernel, stride, output });
        output
    }

    fn join(&mut self, values: [Option<Id>; 2], rectify: bool) -> Id {
        let shape = self.shape(values[0].unwrap_or_default());
        let output = self.value(shape);
        let inputs = values.map(|value| value.map(|value| self.input(value)));
        self.program.steps.push(Step::Join { inputs, rectify, output });
        output
    }
}
