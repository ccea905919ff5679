//! The way forward.

use super::CudaEngine;
use super::memory::{Held, Room, geometry, input};
use crate::engine::fused::affine::{EPSILON, MOMENTUM};
use crate::engine::fused::program::{Affine, Id, Input, Program, Shape, Step};
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::ops::{
    Average, ConcatPart, Dropout, Embedding, GatherRows, Join, MaxPool, Norm, NormFromBatch, NormFromRunning,
    RunningStatistics, Subsample, Tanh, TensorView, Windows,
};
use plusminus_cuda::{Convolution, Device, DeviceError, DeviceMemory, Pass, ProductPrecision};

/// What steps look at: the program and where its values lie, for so many samples.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub program: &'a Program,
    pub held: &'a Held,
    pub room: &'a Room,
    /// Trained weights of the plan: running statistics come after them.
    pub trained: usize,
    pub samples: usize,
    pub precision: Precision,
}

impl Scene<'_> {
    /// What becomes of the factors of products.
    pub fn factors(&self) -> ProductPrecision {
        match (self.precision, self.room.narrow) {
            (Precision::Tf32, _) => ProductPrecision::Tf32,
            (Precision::Bf16, Some(room)) => ProductPrecision::Bf16 { buffers: room },
            // A network without products has no room for their factors.
            (Precision::F32 | Precision::Bf16, _) => ProductPrecision::F32,
        }
    }

    pub fn shape(&self, id: Id) -> Shape {
        self.program.values[id].shape
    }

    /// A value's stored values.
    pub fn values(&self, id: Id) -> DeviceMemory {
        self.room.values[id].part(0, self.samples * self.shape(id).len())
    }

    /// Values as their readers see them.
    pub fn see(&self, id: Id) -> TensorView {
        let value = &self.program.values[id];
        let (scale, shift) = match value.affine {
            None => (None, None),
            Some(affine) => match (&self.held.affines[affine], &self.program.affines[affine].bias) {
                (Some(moving), _) => (Some(moving.scale), Some(moving.shift)),
                (None, bias) => (None, bias.as_ref().map(|bias| self.held.parameters.part(bias.start, bias.len()))),
            },
        };
        TensorView { values: self.values(id), scale, shift, rectify: value.rectify }
    }

    /// What a convolution reads: the copy, where there is one.
    pub fn read(&self, id: Id) -> DeviceMemory {
        match self.room.copies[id] {
            Some(copy) => copy.part(0, self.samples * self.shape(id).len()),
            None => self.values(id),
        }
    }

    /// Batch norm's own, and its running statistics.
    pub fn norm(&self, affine: usize) -> Option<(Norm, RunningStatistics)> {
        let Affine { bias, norm, .. } = &self.program.affines[affine];
        let (norm, moving) = (norm.as_ref()?, self.held.affines[affine]?);
        let parameters = |range: &std::ops::Range<usize>| self.held.parameters.part(range.start, range.len());
        let running = |range: &std::ops::Range<usize>| self.held.running.part(range.start - self.trained, range.len());
        Some((
            Norm {
                gamma: parameters(&norm.scale),
                beta: parameters(&norm.shift),
                bias: bias.as_ref().map(parameters),
                scale: moving.scale,
                shift: moving.shift,
                mean: moving.mean,
                inverse: moving.inverse,
                epsilon: EPSILON as f32,
            },
            RunningStatistics { mean: running(&norm.mean), variance: running(&norm.variance) },
        ))
    }

    /// The windows of a pool over a value.
    pub fn windows(&self, input: &Input, kernel: [usize; 2], stride: usize, padding: usize) -> Windows {
        let from = self.shape(input.value);
        Windows { samples: self.samples, extent: from.extent(), kernel, stride, padding, channels: from.stored }
    }

    pub fn subsample(&self, input: &Input, stride: usize, output: Id) -> Subsample {
        let extent = |id| {
            let Shape { height, width, stored, .. } = self.shape(id);
            [height, width, stored]
        };
        Subsample { samples: self.samples, from: extent(input.value), to: extent(output), stride }
    }

    /// The vectors of the tokens that came in.
    pub fn embedding(&self, vocabulary: usize, stored: usize) -> Embedding {
        Embedding { tokens: self.values(0), stored, vocabulary }
    }

    /// Where an input's channels stand among those of an output.
    pub fn place(&self, [start, channels]: [usize; 2], input: &Input, output: Id) -> ConcatPart {
        ConcatPart { stored: self.shape(input.value).stored, channels, wide: self.shape(output).stored, start }
    }

    pub fn average(&self, input: &Input) -> Average {
        let from = self.shape(input.value);
        Average { samples: self.samples, pixels: from.pixels(), channels: from.stored }
    }
}

impl CudaEngine {
    /// What steps look at, and the device, if there is room for a batch.
    pub(super) fn scene(&mut self, samples: usize) -> Result<(Scene<'_>, &mut dyn Device), DeviceError> {
        let CudaEngine { program, device, weights, held, room, precision, .. } = self;
        let room = room.as_ref().ok_or_else(|| DeviceError::InvalidArgument("no samples were loaded".into()))?;
        let trained = weights.plan().trained();
        Ok((Scene { program, held, room, trained, samples, precision: *precision }, &mut **device))
    }

    /// A forward pass of the samples whose inputs stand where the first step reads them, to the logits.
    pub(super) fn forward(&mut self, samples: usize, training: bool) -> Result<(), DeviceError> {
        let (scene, device) = self.scene(samples)?;
        let Scene { program, room, .. } = scene;
        let mut copied = vec![false; program.values.len()];
        for (place, step) in program.steps.iter().enumerate() {
            scene.step(place, step, &mut copied, training, device)?;
            let Some(affine) = program.values[step.output()].affine else { continue };
            let Some((norm, running)) = scene.norm(affine) else { continue };
            let channels = program.affines[affine].channels;
            if training {
                let values = scene.values(step.output());
                let momentum = MOMENTUM as f32;
                NormFromBatch { values, partial: room.partial, norm, running, momentum, channels }.run(device)?;
            } else {
                NormFromRunning { norm, running, channels }.run(device)?;
            }
        }
        let logits = &program.values[program.logits].shape;
        GatherRows {
            input: scene.see(program.logits),
            output: room.logits.part(0, samples * logits.channels),
            classes: logits.channels,
            stored: logits.stored,
        }
        .run(device)
    }
}

impl Scene<'_> {
    fn step(
        &self,
        place: usize,
        step: &Step,
        copied: &mut [bool],
        training: bool,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let output = step.output();
        let (to, channels) = (self.values(output), self.shape(output).stored);
        if let Some(geometry) = geometry(self.program, step, self.samples) {
            let id = input(step);
            if self.room.copies[id].is_some() && !std::mem::replace(&mut copied[id], true) {
                let channels = self.shape(id).stored;
                let copy = self.read(id);
                Join { first: self.see(id), second: None, rectify: false, output: copy, channels }.run(device)?;
            }
            let (x, w) = (self.read(id), self.weights(step, self.held.parameters));
            let (scratch, factors) = (self.room.scratch, self.factors());
            return Convolution { geometry, pass: Pass::Forward, x, w, y: to, scratch, factors }.run(device);
        }
        match step {
            Step::Convolution(_) | Step::Linear { .. } => Ok(()),
            Step::Join { inputs, rectify, .. } => {
                let [Some(first), second] = inputs else { return Ok(()) };
                let second = second.map(|input| self.see(input.value));
                let first = self.see(first.value);
                Join { first, second, rectify: *rectify, output: to, channels }.run(device)
            }
            Step::Dropout { input, .. } => {
                let seen = self.see(input.value);
                match self.room.masks[place] {
                    Some(mask) if training => {
                        Dropout { input: seen, mask: mask.part(0, to.len()), output: to, channels }.run(device)
                    }
                    _ => Join { first: seen, second: None, rectify: false, output: to, channels }.run(device),
                }
            }
            Step::Subsample { input, stride, .. } => {
                self.subsample(input, *stride, output).run(device, self.see(input.value), to)
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let windows = self.windows(input, *kernel, *stride, *padding);
                self.pool(place, windows, to.len())?.run(device, self.see(input.value), to)
            }
            Step::Average { input, .. } => self.average(input).run(device, self.see(input.value), to),
            Step::Embedding { vocabulary, .. } => {
                let vectors = self.weights(step, self.held.parameters);
                self.embedding(*vocabulary, channels).run(device, vectors, to)
            }
            Step::Tanh { input, .. } => Tanh { output: to, channels }.run(device, self.see(input.value)),
            Step::Concatenate { inputs, .. } => {
                // What is beside the channels of the network is zero from the beginning.
                for (place, input) in self.program.places(inputs).zip(inputs) {
                    self.place(place, input, output).run(device, self.see(input.value), to)?;
                }
                Ok(())
            }
        }
    }

    /// A step's weights within a list that is stored as they are.
    pub fn weights(&self, step: &Step, list: DeviceMemory) -> DeviceMemory {
        match step {
            Step::Convolution(convolution) => list.part(convolution.weight.start, convolution.weight.len()),
            Step::Linear { weight, .. } | Step::Embedding { weight, .. } => list.part(weight.start, weight.len()),
            _ => list.part(0, 0),
        }
    }

    pub fn pool(&self, place: usize, windows: Windows, outputs: usize) -> Result<MaxPool, DeviceError> {
        let places = self.room.places[place].map(|places| places.part(0, outputs));
        let places = places.ok_or_else(|| DeviceError::InvalidArgument("a pool without places".into()))?;
        Ok(MaxPool { windows, places })
    }
}
