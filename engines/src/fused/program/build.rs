//! Builds a program's steps from a network's layers.

use super::ir::{Affine, Convolution, GradientFlow, Input, Norm, Program, Shape, Step, Unsupported, Value, ValueId};
use crate::fused::parameters::{Parameters, WeightOrder};
use crate::weights::{Plan, WeightEntry};
use plusminus_core::methods::networks::{self, Layer, Network, Shortcut};
use std::ops::Range;

/// The program of `network` without its gradients' buffers.
pub(super) fn build(network: &Network, plan: &Plan, order: WeightOrder) -> Result<Program, Unsupported> {
    let program = Program {
        values: Vec::new(),
        affines: Vec::new(),
        steps: Vec::new(),
        gradient_buffers: Vec::new(),
        parameters: Parameters::new(order),
        logits: 0,
    };
    let mut builder = Builder { program, plan, flattened: None };
    let input = builder.value(Shape::of_input(network.input));
    let logits = builder.layers(&network.layers, "", input)?;
    Ok(Program { logits, ..builder.program })
}

struct Builder<'a> {
    program: Program,
    plan: &'a Plan,
    /// The last flattened value and its shape before flattening, which determines the order of its elements.
    flattened: Option<(ValueId, Shape)>,
}

fn unsupported<T>(path: &str, reason: &str) -> Result<T, Unsupported> {
    Err(Unsupported(format!("layer {} {reason}", path.trim_end_matches('.'))))
}

impl Builder<'_> {
    fn value(&mut self, shape: Shape) -> ValueId {
        let value = Value { shape, affine: None, rectify: false, gradient_buffer: None, is_read: false };
        self.program.values.push(value);
        self.program.values.len() - 1
    }

    /// Records that a step reads `value`.
    fn input(&mut self, value: ValueId) -> Input {
        self.program.values[value].is_read = true;
        Input { value, flow: GradientFlow::None, completes: false }
    }

    fn shape(&self, value: ValueId) -> Shape {
        self.program.values[value].shape
    }

    /// Adds a step with one input, and its output of this shape.
    fn step(&mut self, value: ValueId, shape: Shape, step: impl FnOnce(Input, ValueId) -> Step) -> ValueId {
        let output = self.value(shape);
        let input = self.input(value);
        self.program.steps.push(step(input, output));
        output
    }

    /// Adds a scale and shift to the view of `value`.
    fn affine(&mut self, value: ValueId, bias: Option<Range<usize>>) -> usize {
        self.program.affines.push(Affine { channels: self.shape(value).stored, bias, norm: None });
        let affine = self.program.affines.len() - 1;
        self.program.values[value].affine = Some(affine);
        affine
    }

    /// Adds `layers`, whose weights' names start with `path`. Returns the output of the last.
    fn layers(&mut self, layers: &[Layer], path: &str, input: ValueId) -> Result<ValueId, Unsupported> {
        let mut value = input;
        let pools = |layer: &Layer| matches!(layer, Layer::MaxPool { .. } | Layer::GlobalMaxPool);
        for (i, layer) in layers.iter().enumerate() {
            // A monotonic function commutes with the maximum. So pool before tanh, which then has fewer values.
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

    /// Adds `layer`, whose weights' names start with `path`. Returns its output.
    fn layer(&mut self, layer: &Layer, path: &str, value: ValueId) -> Result<ValueId, Unsupported> {
        let shape = self.shape(value);
        let unflattened = self.flattened.filter(|(flattened, _)| *flattened == value).map(|(_, shape)| shape);
        let elementwise = matches!(layer, Layer::Relu | Layer::Dropout(_) | Layer::Tanh | Layer::Flatten);
        if unflattened.is_some() && !elementwise && !matches!(layer, Layer::Linear { .. }) {
            return unsupported(path, "reads a flattened image as channels");
        }
        if value == 0 && !reads_input(layer) {
            return unsupported(path, "cannot read the network's input");
        }
        let output = match layer {
            Layer::Convolution(convolution) => self.convolution(convolution, path, value)?,
            Layer::Linear { output, .. } => self.linear(*output, path, value, unflattened.unwrap_or(shape))?,
            Layer::BatchNorm(_) => self.batch_norm(path, value)?,
            Layer::Relu => self.relu(value),
            Layer::MaxPool { kernel, stride, padding } => self.max_pool(value, [*kernel; 2], *stride, *padding),
            Layer::GlobalMaxPool => self.max_pool(value, shape.extent(), 1, 0),
            Layer::GlobalAveragePool => {
                let mean = Shape { height: 1, width: 1, ..shape };
                self.step(value, mean, |input, output| Step::Average { input, output })
            }
            Layer::Flatten => {
                self.flattened = Some((value, unflattened.unwrap_or(shape)));
                value
            }
            Layer::Dropout(share) if *share == 0.0 => value,
            Layer::Dropout(share) => {
                self.step(value, shape, |input, output| Step::Dropout { input, share: *share, output })
            }
            Layer::Residual { body, shortcut } => self.residual(body, shortcut, path, value)?,
            Layer::Embedding { vocabulary, dimension } => self.embedding(*vocabulary, *dimension, path, value)?,
            Layer::Tanh => self.step(value, shape, |input, output| Step::Tanh { input, output }),
            Layer::Branches(branches) => self.branches(branches, path, value)?,
        };
        // The order of a flattened image's elements is unchanged.
        if let (Some(unflattened), true) = (unflattened, elementwise) {
            self.flattened = Some((output, unflattened));
        }
        Ok(output)
    }

    fn convolution(
        &mut self,
        layer: &networks::Convolution,
        path: &str,
        value: ValueId,
    ) -> Result<ValueId, Unsupported> {
        let from = self.shape(value);
        let ((rows, columns), (above, left), stride) = (layer.extent(), layer.margin(), layer.stride);
        let along = |extent: usize, kernel: usize, margin: usize| (extent + 2 * margin - kernel) / stride + 1;
        let extent = [along(from.height, rows, above), along(from.width, columns, left)];
        let output = self.value(Shape::image(extent, layer.output));
        let kernels = entry(self.plan, path, "weight")?;
        let weight = self.program.parameters.weights(kernels, layer.input, rows * columns, from.stored);
        let bias = if layer.bias { Some(self.vector(path, "bias")?) } else { None };
        let input = self.input(value);
        let (to, kernel, margin) = (self.shape(output), [rows, columns], [above, left]);
        let convolution = Convolution { input, output, weight, from, to, kernel, stride, margin };
        self.program.steps.push(Step::Convolution(convolution));
        if bias.is_some() {
            self.affine(output, bias);
        }
        Ok(output)
    }

    /// `from` is the shape of `value` before it was flattened.
    fn linear(&mut self, outputs: usize, path: &str, value: ValueId, from: Shape) -> Result<ValueId, Unsupported> {
        let output = self.value(Shape::image([1, 1], outputs));
        let matrix = entry(self.plan, path, "weight")?;
        let weight = self.program.parameters.weights(matrix, from.channels, from.pixels(), from.stored);
        let bias = self.vector(path, "bias")?;
        let input = self.input(value);
        self.program.steps.push(Step::Linear { input, output, weight });
        self.affine(output, Some(bias));
        Ok(output)
    }

    /// Batch norm becomes part of the view of the convolution's or linear layer's output.
    fn batch_norm(&mut self, path: &str, value: ValueId) -> Result<ValueId, Unsupported> {
        let computed =
            self.program.steps.last().is_some_and(|step| {
                step.output() == value && matches!(step, Step::Convolution(_) | Step::Linear { .. })
            });
        let Value { is_read, rectify, affine, .. } = self.program.values[value];
        let normalised = affine.is_some_and(|affine| self.program.affines[affine].norm.is_some());
        if !computed || is_read || rectify || normalised {
            return unsupported(path, "normalises a value that is not the output of a convolution or linear layer");
        }
        let affine = affine.unwrap_or_else(|| self.affine(value, None));
        let norm = Norm {
            scale: self.vector(path, "weight")?,
            shift: self.vector(path, "bias")?,
            mean: entry(self.plan, path, "running_mean")?.range.clone(),
            variance: entry(self.plan, path, "running_var")?.range.clone(),
        };
        self.program.affines[affine].norm = Some(norm);
        Ok(value)
    }

    /// ReLU becomes part of the join or the view if no step has read the value yet.
    fn relu(&mut self, value: ValueId) -> ValueId {
        if self.program.values[value].is_read {
            return self.join([Some(value), None], true);
        }
        match self.program.steps.last_mut() {
            Some(Step::Join { rectify, output, .. }) if *output == value => *rectify = true,
            _ => self.program.values[value].rectify = true,
        }
        value
    }

    fn residual(
        &mut self,
        body: &[Layer],
        shortcut: &Shortcut,
        path: &str,
        value: ValueId,
    ) -> Result<ValueId, Unsupported> {
        // Body and shortcut read the value, so its view must not change any more.
        self.program.values[value].is_read = true;
        let inside = self.layers(body, &format!("{path}body."), value)?;
        let around = match shortcut {
            Shortcut::Identity => value,
            Shortcut::Pad { stride, channels } => {
                let extent = self.shape(value).extent().map(|extent| extent.div_ceil(*stride));
                let subsample = |input, output| Step::Subsample { input, stride: *stride, output };
                self.step(value, Shape::image(extent, *channels), subsample)
            }
            Shortcut::Projection(layers) => self.layers(layers, &format!("{path}shortcut."), value)?,
        };
        if inside == around {
            return unsupported(path, "adds a value to itself");
        }
        Ok(self.join([Some(inside), Some(around)], false))
    }

    fn embedding(
        &mut self,
        vocabulary: usize,
        dimension: usize,
        path: &str,
        value: ValueId,
    ) -> Result<ValueId, Unsupported> {
        let shape = Shape::image(self.shape(value).extent(), dimension);
        let output = self.value(shape);
        let vectors = entry(self.plan, path, "weight")?;
        let weight = self.program.parameters.rows(vectors, dimension, shape.stored);
        let input = self.input(value);
        self.program.steps.push(Step::Embedding { input, vocabulary, output, weight });
        Ok(output)
    }

    fn branches(&mut self, branches: &[Vec<Layer>], path: &str, value: ValueId) -> Result<ValueId, Unsupported> {
        // Several branches read the value, so its view must not change any more.
        self.program.values[value].is_read = true;
        let mut ends: Vec<ValueId> = Vec::with_capacity(branches.len());
        for (branch, layers) in branches.iter().enumerate() {
            let end = self.layers(layers, &format!("{path}branches.{branch}."), value)?;
            if self.flattened.is_some_and(|(flattened, from)| flattened == end && from.pixels() != 1) {
                return unsupported(path, "joins a flattened image as channels");
            }
            if ends.contains(&end) {
                return unsupported(path, "joins a value with itself");
            }
            ends.push(end);
        }
        let channels = ends.iter().map(|end| self.shape(*end).channels).sum();
        let extent = ends.first().map_or(self.shape(value), |end| self.shape(*end)).extent();
        let output = self.value(Shape::image(extent, channels));
        let inputs = ends.into_iter().map(|end| self.input(end)).collect();
        self.program.steps.push(Step::Concatenate { inputs, output });
        Ok(output)
    }

    fn max_pool(&mut self, value: ValueId, kernel: [usize; 2], stride: usize, padding: usize) -> ValueId {
        let shape = self.shape(value);
        let along = |extent: usize, kernel: usize| (extent + 2 * padding - kernel) / stride + 1;
        let pooled = Shape { height: along(shape.height, kernel[0]), width: along(shape.width, kernel[1]), ..shape };
        self.step(value, pooled, |input, output| Step::MaxPool { input, kernel, stride, padding, output })
    }

    fn join(&mut self, values: [Option<ValueId>; 2], rectify: bool) -> ValueId {
        let shape = self.shape(values[0].unwrap_or_default());
        let output = self.value(shape);
        let inputs = values.map(|value| value.map(|value| self.input(value)));
        self.program.steps.push(Step::Join { inputs, rectify, output });
        output
    }

    /// Allocates the stored parameters of a vector.
    fn vector(&mut self, path: &str, name: &str) -> Result<Range<usize>, Unsupported> {
        let entry = entry(self.plan, path, name)?;
        Ok(self.program.parameters.vector(entry))
    }
}

fn entry<'p>(plan: &'p Plan, path: &str, name: &str) -> Result<&'p WeightEntry, Unsupported> {
    let name = format!("{path}{name}");
    let found = plan.entries().iter().find(|entry| entry.name == name);
    found.ok_or_else(|| Unsupported(format!("the weights lack {name}")))
}

/// Whether a layer can read the network's input, whose channels are not padded to blocks.
fn reads_input(layer: &Layer) -> bool {
    match layer {
        Layer::Convolution(_) | Layer::Linear { .. } | Layer::Flatten | Layer::Embedding { .. } => true,
        Layer::Branches(branches) => branches.iter().all(|branch| !branch.is_empty()),
        Layer::Residual { shortcut: Shortcut::Projection(around), .. } => !around.is_empty(),
        Layer::Dropout(share) => *share == 0.0,
        _ => false,
    }
}
