//! The engine's device memory: that of the model for the lifetime of the engine, and that of a batch.

use super::step_parameters;
use crate::engine::Checkpoint;
use crate::error::EngineError;
use crate::fused::{Affine, Program, Step, Value, ValueId, WeightOrder, compile};
use crate::optimizer::{optimizer_values_per_weight, state_lists};
use crate::weights::{Plan, Weights};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::ops::{Embedding, MAX_RATES, partials};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, Geometry, Kind};
use std::convert::Infallible;

/// Bytes of device memory that an engine occupies after a step of `samples` samples, without cuDNN's workspace. `None` if it does not
/// support the network.
pub(crate) fn memory(network: &Network, optimizer: &Optimizer, samples: usize, precision: Precision) -> Option<usize> {
    let plan = Plan::of(network);
    let program = compile(network, &plan, WeightOrder::Rows).ok()?;
    let lists = 2 + optimizer_values_per_weight(optimizer);
    let running = plan.len() - plan.trained();
    let norms: usize = program.affines.iter().map(|affine| bytes(norm_lengths(affine))).sum();
    let model = (lists * program.parameters.len() + running + MAX_RATES) * size_of::<f32>() + norms;
    Some(model + BatchBuffers::lengths(&program, samples, precision).bytes())
}

/// The numbers of `f32` and `f64` of an affine during a step: none without batch norm.
fn norm_lengths(affine: &Affine) -> [usize; 2] {
    if affine.norm.is_some() { [6 * affine.channels, affine.channels] } else { [0, 0] }
}

fn bytes([floats, doubles]: [usize; 2]) -> usize {
    floats * size_of::<f32>() + doubles * size_of::<f64>()
}

/// Batch norm during a step, with one value per channel each.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormMemory {
    /// The view is scale · x + shift.
    pub scale: DeviceMemory,
    pub shift: DeviceMemory,
    pub mean: DeviceMemory,
    /// 1/√(variance + ε), in `f64`.
    pub inverse: DeviceMemory,
    /// α, β and γ of the gradient with respect to the stored value, α g + β x + γ.
    pub factors: [DeviceMemory; 3],
}

/// The model's memory: weights, gradients and optimiser state.
#[derive(Debug)]
pub(super) struct ModelMemory {
    pub parameters: DeviceMemory,
    pub gradients: DeviceMemory,
    /// The running statistics, in the plan's order.
    pub running: DeviceMemory,
    /// The lists of the optimiser's state.
    pub optimizer_state: [Option<DeviceMemory>; 2],
    pub rates: DeviceMemory,
    /// By the program's affines; `None` without batch norm.
    pub norms: Vec<Option<NormMemory>>,
}

impl ModelMemory {
    /// Allocates the memory and copies the weights.
    pub fn new(
        program: &Program,
        weights: &Weights,
        optimizer: &Optimizer,
        device: &mut dyn Device,
    ) -> Result<Self, DeviceError> {
        let plan = weights.plan();
        let count = program.parameters.len();
        let [first, second] = state_lists(optimizer);
        let mut list = |used: bool| used.then(|| device.allocate(Kind::Floats, count)).transpose();
        let optimizer_state = [list(first)?, list(second)?];
        let mut floats = |length| device.allocate(Kind::Floats, length);
        let (parameters, gradients) = (floats(count)?, floats(count)?);
        let (running, rates) = (floats(plan.len() - plan.trained())?, floats(MAX_RATES)?);
        let mut norms = Vec::new();
        for affine in &program.affines {
            let [length, doubles] = norm_lengths(affine);
            let channels = affine.channels;
            norms.push(if doubles == 0 {
                None
            } else {
                let all = device.allocate(Kind::Floats, length)?;
                let part = |i: usize| all.part(i * channels, channels);
                let inverse = device.allocate(Kind::Doubles, doubles)?;
                let factors = [part(3), part(4), part(5)];
                Some(NormMemory { scale: part(0), shift: part(1), mean: part(2), inverse, factors })
            });
        }
        let model = ModelMemory { parameters, gradients, running, optimizer_state, rates, norms };
        model.write(program, device, weights)?;
        Ok(model)
    }

    /// Copies weights and running statistics to the device.
    fn write(&self, program: &Program, device: &mut dyn Device, weights: &Weights) -> Result<(), DeviceError> {
        device.upload(&program.parameters.store(weights.values()), self.parameters)?;
        device.upload(&weights.values()[weights.plan().trained()..], self.running)
    }

    /// Copies weights and running statistics from the device.
    pub fn read(&self, program: &Program, device: &dyn Device, weights: &mut Weights) -> Result<(), DeviceError> {
        let trained = weights.plan().trained();
        let mut stored = vec![0.0; self.parameters.len()];
        device.download(self.parameters, &mut stored)?;
        program.parameters.restore(&stored, weights.values_mut());
        device.download(self.running, &mut weights.values_mut()[trained..])
    }

    /// Copies the optimiser's state from the device, in the plan's order.
    pub fn optimizer_state(
        &self,
        program: &Program,
        device: &dyn Device,
        trained: usize,
    ) -> Result<[Vec<f32>; 2], DeviceError> {
        let read = |memory: Option<DeviceMemory>| {
            let Some(memory) = memory else { return Ok(Vec::new()) };
            let (mut stored, mut values) = (vec![0.0; memory.len()], vec![0.0; trained]);
            device.download(memory, &mut stored)?;
            program.parameters.restore(&stored, &mut values);
            Ok(values)
        };
        let [first, second] = self.optimizer_state;
        Ok([read(first)?, read(second)?])
    }

    /// Copies the weights and the optimiser's state of a checkpoint to the device.
    pub fn restore(
        &self,
        program: &Program,
        device: &mut dyn Device,
        checkpoint: &Checkpoint,
    ) -> Result<(), EngineError> {
        let Checkpoint { weights, optimizer } = checkpoint;
        let trained = weights.plan().trained();
        let lists = [&optimizer.first, &optimizer.second];
        let found = lists.map(Vec::len);
        let expected = self.optimizer_state.map(|memory| if memory.is_some() { trained } else { 0 });
        if found != expected {
            return Err(EngineError::new(format!(
                "the checkpoint belongs to another optimiser: its state has {found:?} values, expected {expected:?}; restart the job \
                 without it"
            )));
        }
        for (values, memory) in lists.into_iter().zip(self.optimizer_state) {
            if let Some(memory) = memory {
                device.upload(&program.parameters.store(values), memory)?;
            }
        }
        Ok(self.write(program, device, weights)?)
    }
}

/// The buffers of a batch: their memory, or (as `BatchBuffers<usize>`) their lengths.
#[derive(Debug)]
pub(super) struct BatchBuffers<T> {
    /// The parameters of a step.
    pub step_parameters: T,
    /// Inputs from the host, `[samples, channels, height, width]`.
    pub inputs: T,
    /// Logits and their gradient, `[samples, classes]` without padding.
    pub logits: T,
    pub logits_gradient: T,
    /// The stored values of each value.
    pub values: Vec<T>,
    /// Viewed values that convolutions read, where the view differs from the stored values.
    pub copies: Vec<Option<T>>,
    /// The program's buffers for gradients.
    pub gradients: Vec<T>,
    /// Dropout's masks, by the index of the step.
    pub masks: Vec<Option<T>>,
    /// The positions of the maxima of pools, by the index of the step.
    pub maxima: Vec<Option<T>>,
    /// Partial sums over chunks of one value.
    pub partial_sums: T,
    /// The gradient with respect to the stored output of a convolution.
    pub stored_gradient: T,
    /// Partial sums of the gradients of weights.
    pub scratch: T,
    /// Links between equal tokens.
    pub links: Option<T>,
    /// A convolution's input, weights and output in 16 bits; `None` if the precision does not require them.
    pub halves: Option<[T; 3]>,
}

impl<T> BatchBuffers<T> {
    /// Applies a function to every buffer and its kind.
    fn try_map<U, E>(self, mut f: impl FnMut(Kind, T) -> Result<U, E>) -> Result<BatchBuffers<U>, E> {
        let [x, weights, y] = match self.halves {
            Some(halves) => halves.map(Some),
            None => [None, None, None],
        };
        let mut half = |buffer: Option<T>| buffer.map(|buffer| f(Kind::Halves, buffer)).transpose();
        let halves = match [half(x)?, half(weights)?, half(y)?] {
            [Some(x), Some(weights), Some(y)] => Some([x, weights, y]),
            _ => None,
        };
        let mut some = |kind, buffers: Vec<Option<T>>| {
            buffers
                .into_iter()
                .map(|buffer| buffer.map(|buffer| f(kind, buffer)).transpose())
                .collect::<Result<Vec<_>, E>>()
        };
        let copies = some(Kind::Floats, self.copies)?;
        let masks = some(Kind::Floats, self.masks)?;
        let maxima = some(Kind::Ints, self.maxima)?;
        let mut all =
            |buffers: Vec<T>| buffers.into_iter().map(|buffer| f(Kind::Floats, buffer)).collect::<Result<Vec<_>, E>>();
        Ok(BatchBuffers {
            values: all(self.values)?,
            gradients: all(self.gradients)?,
            step_parameters: f(Kind::Ints, self.step_parameters)?,
            inputs: f(Kind::Floats, self.inputs)?,
            logits: f(Kind::Floats, self.logits)?,
            logits_gradient: f(Kind::Floats, self.logits_gradient)?,
            partial_sums: f(Kind::Floats, self.partial_sums)?,
            stored_gradient: f(Kind::Floats, self.stored_gradient)?,
            scratch: f(Kind::Floats, self.scratch)?,
            links: self.links.map(|links| f(Kind::Ints, links)).transpose()?,
            copies,
            masks,
            maxima,
            halves,
        })
    }
}

impl BatchBuffers<usize> {
    /// The lengths of the buffers for `samples` samples.
    fn lengths(program: &Program, samples: usize, precision: Precision) -> Self {
        let length = |value: usize| samples * program.values[value].shape.len();
        let (mut copies, mut stored_gradient, mut scratch) = (vec![None; program.values.len()], 0, 0);
        let (mut links, mut halves) = (0, [0; 3]);
        for step in &program.steps {
            if let Some(geometry) = geometry(program, step, samples) {
                let read = input(step);
                if !is_plain(&program.values[read]) {
                    copies[read] = Some(length(read));
                }
                stored_gradient = stored_gradient.max(length(step.output()));
                scratch = scratch.max(geometry.scratch());
                if precision == Precision::Bf16 {
                    let lengths = [geometry.input_len(), geometry.weights(), geometry.output_len()];
                    halves = std::array::from_fn(|i| lengths[i].max(halves[i]));
                }
            }
            if let Step::Embedding { output, .. } = step {
                let shape = program.values[*output].shape;
                let tokens = samples * shape.pixels();
                scratch = scratch.max(Embedding::scratch(tokens, shape.stored));
                links = Embedding::links(tokens);
            }
        }
        let with_affine = program.values.iter().filter(|value| value.affine.is_some());
        let partial_sums = with_affine.map(|value| partials(samples * value.shape.pixels(), value.shape.stored)).max();
        let outputs_of = |which: fn(&Step) -> bool| {
            program.steps.iter().map(|step| which(step).then(|| length(step.output()))).collect::<Vec<_>>()
        };
        let logits = samples * program.values[program.logits].shape.channels;
        BatchBuffers {
            step_parameters: step_parameters::length(samples),
            inputs: length(0),
            logits,
            logits_gradient: logits,
            values: (0..program.values.len()).map(length).collect(),
            copies,
            gradients: program.gradient_buffers.iter().map(|buffer| samples * buffer).collect(),
            masks: outputs_of(|step| matches!(step, Step::Dropout { .. })),
            maxima: outputs_of(|step| matches!(step, Step::MaxPool { .. })),
            partial_sums: partial_sums.unwrap_or_default(),
            stored_gradient,
            scratch,
            // A GPU would allocate memory for an empty buffer.
            links: (links > 0).then_some(links),
            halves: (halves != [0; 3]).then_some(halves),
        }
    }

    fn bytes(self) -> usize {
        let mut bytes = 0;
        let Ok(_) = self.try_map(|kind, length| {
            bytes += length * kind.size().unwrap_or(0);
            Ok::<_, Infallible>(())
        });
        bytes
    }
}

/// The memory of a batch.
#[derive(Debug)]
pub(super) struct BatchMemory {
    /// The number of samples that the buffers hold.
    pub capacity: usize,
    pub buffers: BatchBuffers<DeviceMemory>,
}

impl BatchMemory {
    /// Allocates buffers for `samples` samples.
    pub fn new(
        program: &Program,
        samples: usize,
        precision: Precision,
        device: &mut dyn Device,
    ) -> Result<Self, DeviceError> {
        let lengths = BatchBuffers::lengths(program, samples, precision);
        Ok(BatchMemory { capacity: samples, buffers: lengths.try_map(|kind, length| device.allocate(kind, length))? })
    }

    /// Frees the buffers.
    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        self.buffers.try_map(|_, memory| device.free(memory)).map(|_| ())
    }
}

/// Whether later steps read a value as it is stored.
fn is_plain(value: &Value) -> bool {
    value.affine.is_none() && !value.rectify
}

/// The value that a convolution or linear layer reads.
pub(super) fn input(step: &Step) -> ValueId {
    match step {
        Step::Convolution(convolution) => convolution.input.value,
        Step::Linear { input, .. } => input.value,
        _ => 0,
    }
}

/// The geometry of a convolution, or of a linear layer as a convolution of images of one pixel. `None` for other steps.
pub(super) fn geometry(program: &Program, step: &Step, samples: usize) -> Option<Geometry> {
    match step {
        Step::Convolution(c) => Some(Geometry {
            samples,
            from: c.from.extent(),
            inputs: c.from.stored,
            to: c.to.extent(),
            outputs: c.to.stored,
            kernel: c.kernel,
            stride: c.stride,
            margin: c.margin,
        }),
        Step::Linear { input, output, .. } => Some(Geometry {
            samples,
            from: [1, 1],
            inputs: program.values[input.value].shape.len(),
            to: [1, 1],
            outputs: program.values[*output].shape.stored,
            kernel: [1, 1],
            stride: 1,
            margin: [0, 0],
        }),
        _ => None,
    }
}
