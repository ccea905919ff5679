//! From layers to steps.

use super::{Affine, Flow, Id, Input, Norm, Program, Shape, Step, Unsupported, Value};
use crate::fused::convolution::Convolution;
use crate::fused::parameters::blocks;
use crate::{Plan, WeightEntry};
use plusminus_core::methods::networks::{Layer, Shortcut};
use std::ops::Range;

/// A program in the making.
pub(super) struct Builder<'a> {
    pub(super) program: Program,
    plan: &'a Plan,
    /// The shape that a vector had before it was flattened, which says where its values stand.
    flattened: Option<(Id, Shape)>,
}

impl<'a> Builder<'a> {
    pub fn new(program: Program, plan: &'a Plan) -> Self {
        Builder { program, plan, flattened: None }
    }

    pub(super) fn value(&mut self, shape: Shape) -> Id {
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

    pub(super) fn layers(&mut self, layers: &[Layer], path: &str, input: Id) -> Result<Id, Unsupported> {
        let mut value = input;
        let pools = |layer: &Layer| matches!(layer, Layer::MaxPool { .. } | Layer::GlobalMaxPool);
        for (i, layer) in layers.iter().enumerate() {
            // The maximum of what a function that grows gives is what it gives of the maximum: so pool first, and compute it of a part
            // of the values.
            let after = layers.get(i + 1);
            let before = i.checked_sub(1).and_then(|before| layers.get(before));
            let next = match (layer, after, before) {
                (Layer::Tanh, Some(pool), _) if pools(pool) => pool,
                (pool, _, Some(Layer::Tanh)) if pools(pool) => &Layer::Tanh,
                _ => layer,
            };
            value = self.layer(next, &format!("{path}{i}."), value)?;
        }
        Ok(value)
    }

    /// Adds `layer`, whose weights' names begin with `path`; what comes out of it.
    fn layer(&mut self, layer: &Layer, path: &str, value: Id) -> Result<Id, Unsupported> {
        let plan = self.plan;
        let entry = |name: &str| -> Result<&WeightEntry, Unsupported> {
            let name = format!("{path}{name}");
            let found = plan.entries().iter().find(|entry| entry.name == name);
            found.ok_or_else(|| Unsupported(format!("the weights lack {name}")))
        };
        let shape = self.shape(value);
        let refuse = |why: &str| Err(Unsupported(format!("layer {} {why}", path.trim_end_matches('.'))));
        // The shape of what is read, unless it is a vector that a linear layer may read otherwise.
        let spread = self.flattened.filter(|(flattened, _)| *flattened == value).map(|(_, shape)| shape);
        let keeps = matches!(layer, Layer::Relu | Layer::Dropout(_) | Layer::Tanh | Layer::Flatten);
        if spread.is_some() && !keeps && !matches!(layer, Layer::Linear { .. }) {
            return refuse("reads a flattened image as channels");
        }
        // What comes in has not its channels in blocks.
        let takes_any = match layer {
            Layer::Convolution(_) | Layer::Linear { .. } | Layer::Flatten | Layer::Embedding { .. } => true,
            Layer::Branches(branches) => branches.iter().all(|branch| !branch.is_empty()),
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
                let weight = parameters.weights(entry("weight")?, c.input, rows * columns, shape.stored);
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
                let weight = parameters.weights(entry("weight")?, from.channels, from.pixels(), from.stored);
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
            Layer::MaxPool { kernel, stride, padding } => self.max_pool(value, [*kernel; 2], *stride, *padding),
            Layer::GlobalMaxPool => self.max_pool(value, shape.extent(), 1, 0),
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
            Layer::Embedding { vocabulary, dimension } => {
                let output = self.value(Shape { channels: *dimension, stored: blocks(*dimension), ..shape });
                let weight = self.program.parameters.rows(entry("weight")?, *dimension, blocks(*dimension));
                let input = self.input(value);
                self.program.steps.push(Step::Embedding { input, vocabulary: *vocabulary, output, weight });
                output
            }
            Layer::Tanh => {
                let output = self.value(shape);
                let input = self.input(value);
                self.program.steps.push(Step::Tanh { input, output });
                output
            }
            Layer::Branches(branches) => {
                // From now on how it is read stands, for several read it.
                self.program.values[value].taken = true;
                let mut ends: Vec<Id> = Vec::with_capacity(branches.len());
                for (branch, layers) in branches.iter().enumerate() {
                    let end = self.layers(layers, &format!("{path}branches.{branch}."), value)?;
                    if self.flattened.is_some_and(|(flattened, from)| flattened == end && from.pixels() != 1) {
                        return refuse("joins a flattened image as channels");
                    }
                    if ends.contains(&end) {
                        return refuse("joins a value with itself");
                    }
                    ends.push(end);
                }
                let channels = ends.iter().map(|end| self.shape(*end).channels).sum();
                let extent = ends.first().map_or(shape, |end| self.shape(*end));
                let output = self.value(Shape { channels, stored: blocks(channels), ..extent });
                let inputs = ends.into_iter().map(|end| self.input(end)).collect();
                self.program.steps.push(Step::Concatenate { inputs, output });
                output
            }
        };
        // What kept a vector's places keeps them.
        if let (Some(spread), true) = (spread, keeps) {
            self.flattened = Some((output, spread));
        }
        Ok(output)
    }

    fn max_pool(&mut self, value: Id, kernel: [usize; 2], stride: usize, padding: usize) -> Id {
        let shape = self.shape(value);
        let along = |extent: usize, kernel: usize| (extent + 2 * padding - kernel) / stride + 1;
        let output =
            self.value(Shape { height: along(shape.height, kernel[0]), width: along(shape.width, kernel[1]), ..shape });
        let input = self.input(value);
        self.program.steps.push(Step::MaxPool { input, kernel, stride, padding, output });
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
