//! The program with its memory for one batch, from which the operations of a step are made.

use super::memory::{BatchMemory, ModelMemory};
use crate::fused::{Affine, EPSILON, GradientFlow, Input, Program, Shape, Step, ValueId};
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::ops::{
    Average, ConcatPart, Embedding, MaxPool, Norm, RunningStatistics, Subsample, TensorView, Windows,
};
use plusminus_cuda::{DeviceError, DeviceMemory, ProductPrecision};
use std::ops::Range;

/// The program with its memory for `samples` samples.
#[derive(Clone, Copy)]
pub(super) struct BatchView<'a> {
    pub program: &'a Program,
    pub model: &'a ModelMemory,
    pub batch: &'a BatchMemory,
    /// Trained weights of the plan, after which the running statistics start.
    pub trained: usize,
    pub samples: usize,
    pub precision: Precision,
}

impl BatchView<'_> {
    /// The precision of the factors of products.
    pub fn factors(&self) -> ProductPrecision {
        match (self.precision, self.batch.buffers.halves) {
            (Precision::Tf32, _) => ProductPrecision::Tf32,
            (Precision::Bf16, Some(room)) => ProductPrecision::Bf16 { buffers: room },
            // A network without products has no buffers for their factors.
            (Precision::F32 | Precision::Bf16, _) => ProductPrecision::F32,
        }
    }

    pub fn shape(&self, id: ValueId) -> Shape {
        self.program.values[id].shape
    }

    /// The stored values of a value.
    pub fn values(&self, id: ValueId) -> DeviceMemory {
        self.batch.buffers.values[id].part(0, self.samples * self.shape(id).len())
    }

    /// A value as later steps read it.
    pub fn view(&self, id: ValueId) -> TensorView {
        let value = &self.program.values[id];
        let (scale, shift) = match value.affine {
            None => (None, None),
            Some(affine) => match (&self.model.norms[affine], &self.program.affines[affine].bias) {
                (Some(norm), _) => (Some(norm.scale), Some(norm.shift)),
                (None, bias) => (None, bias.as_ref().map(|bias| self.parameters(bias))),
            },
        };
        TensorView { values: self.values(id), scale, shift, rectify: value.rectify }
    }

    /// The memory that a convolution reads: the copy of a value's view, if there is one.
    pub fn convolution_input(&self, id: ValueId) -> DeviceMemory {
        match self.batch.buffers.copies[id] {
            Some(copy) => copy.part(0, self.samples * self.shape(id).len()),
            None => self.values(id),
        }
    }

    /// The gradient with respect to a value's view.
    pub fn gradient(&self, id: ValueId) -> Option<DeviceMemory> {
        let buffer = self.program.values[id].gradient_buffer?;
        Some(self.batch.buffers.gradients[buffer].part(0, self.samples * self.shape(id).len()))
    }

    /// The gradient that a step writes for an input, and whether it adds to the buffer.
    pub fn target(&self, input: &Input) -> Option<(DeviceMemory, bool)> {
        match input.flow {
            GradientFlow::None | GradientFlow::Share => None,
            GradientFlow::Write | GradientFlow::Add => {
                Some((self.gradient(input.value)?, input.flow == GradientFlow::Add))
            }
        }
    }

    /// A range of the stored parameters.
    pub fn parameters(&self, range: &Range<usize>) -> DeviceMemory {
        self.model.parameters.part(range.start, range.len())
    }

    /// A range of the gradients of the stored parameters.
    pub fn parameter_gradients(&self, range: &Range<usize>) -> DeviceMemory {
        self.model.gradients.part(range.start, range.len())
    }

    /// A step's weights within a list in the layout of the stored parameters.
    pub fn weights(&self, step: &Step, list: DeviceMemory) -> DeviceMemory {
        match step {
            Step::Convolution(convolution) => list.part(convolution.weight.start, convolution.weight.len()),
            Step::Linear { weight, .. } | Step::Embedding { weight, .. } => list.part(weight.start, weight.len()),
            _ => list.part(0, 0),
        }
    }

    /// The batch norm of an affine, if any, and its running statistics.
    pub fn norm(&self, affine: usize) -> Option<(Norm, RunningStatistics)> {
        let Affine { bias, norm, .. } = &self.program.affines[affine];
        let (norm, memory) = (norm.as_ref()?, self.model.norms[affine]?);
        let running = |range: &Range<usize>| self.model.running.part(range.start - self.trained, range.len());
        Some((
            Norm {
                gamma: self.parameters(&norm.scale),
                beta: self.parameters(&norm.shift),
                bias: bias.as_ref().map(|bias| self.parameters(bias)),
                scale: memory.scale,
                shift: memory.shift,
                mean: memory.mean,
                inverse: memory.inverse,
                epsilon: EPSILON as f32,
            },
            RunningStatistics { mean: running(&norm.mean), variance: running(&norm.variance) },
        ))
    }

    /// The max pool at `index`, whose output has `outputs` values.
    pub fn max_pool(&self, index: usize, windows: Windows, outputs: usize) -> Result<MaxPool, DeviceError> {
        let places = self.batch.buffers.maxima[index].map(|maxima| maxima.part(0, outputs));
        let places =
            places.ok_or_else(|| DeviceError::InvalidArgument("a max pool lacks memory for its maxima".into()))?;
        Ok(MaxPool { windows, places })
    }

    /// The windows of a pool over a value.
    pub fn windows(&self, input: &Input, kernel: [usize; 2], stride: usize, padding: usize) -> Windows {
        let from = self.shape(input.value);
        Windows { samples: self.samples, extent: from.extent(), kernel, stride, padding, channels: from.stored }
    }

    pub fn subsample(&self, input: &Input, stride: usize, output: ValueId) -> Subsample {
        let extent = |id| {
            let Shape { height, width, stored, .. } = self.shape(id);
            [height, width, stored]
        };
        Subsample { samples: self.samples, from: extent(input.value), to: extent(output), stride }
    }

    /// The embedding of the network's input.
    pub fn embedding(&self, vocabulary: usize, stored: usize) -> Embedding {
        Embedding { tokens: self.values(0), stored, vocabulary }
    }

    /// The position of an input's channels within a concatenation.
    pub fn place(&self, [start, channels]: [usize; 2], input: &Input, output: ValueId) -> ConcatPart {
        ConcatPart { stored: self.shape(input.value).stored, channels, wide: self.shape(output).stored, start }
    }

    pub fn average(&self, input: &Input) -> Average {
        let from = self.shape(input.value);
        Average { samples: self.samples, pixels: from.pixels(), channels: from.stored }
    }
}
