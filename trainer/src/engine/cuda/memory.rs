//! What lies on the device: weights and what the optimiser remembers for as long as the engine lives, and room for a batch.

use super::orders;
use crate::engine::fused::parameters::Order;
use crate::engine::fused::program::{Affine, Program, Step, Value};
use crate::engine::optimizer::Updater;
use crate::engine::{EngineError, Moments, Plan, Weights};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::ops::{Embedding, MAX_RATES, partials};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, Geometry, Kind};

/// Bytes of the device's memory that an engine holds once it has taken a step of so many `samples`, beside what cuDNN asks for; nothing
/// where it cannot run the network.
pub(in crate::engine) fn memory(
    network: &Network,
    optimizer: &Optimizer,
    samples: usize,
    precision: Precision,
) -> Option<usize> {
    let plan = Plan::of(network);
    let program = Program::new(network, &plan, Order::Rows).ok()?;
    let lists = 2 + Updater::lists(optimizer).into_iter().filter(|there| *there).count();
    let running = plan.len() - plan.trained();
    let affines: usize = program.affines.iter().map(|affine| bytes(of_affine(affine))).sum();
    let held = (lists * program.parameters.len() + running + MAX_RATES) * size_of::<f32>() + affines;
    Some(held + Lengths::of(&program, samples, precision).bytes())
}

/// What an affine takes: so many `f32` a channel, and one `f64`, where there is batch norm.
fn of_affine(affine: &Affine) -> [usize; 2] {
    if affine.norm.is_some() { [6 * affine.channels, affine.channels] } else { [0, 0] }
}

fn bytes([floats, doubles]: [usize; 2]) -> usize {
    floats * size_of::<f32>() + doubles * size_of::<f64>()
}

/// What batch norm has during a step, a value a channel each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    pub scale: DeviceMemory,
    pub shift: DeviceMemory,
    pub mean: DeviceMemory,
    pub inverse: DeviceMemory,
    pub factors: [DeviceMemory; 3],
}

/// What the engine holds.
#[derive(Debug)]
pub(super) struct Held {
    pub parameters: DeviceMemory,
    pub gradients: DeviceMemory,
    /// The running statistics, in the plan's order.
    pub running: DeviceMemory,
    /// What the optimiser remembers.
    pub moments: [Option<DeviceMemory>; 2],
    pub rates: DeviceMemory,
    /// Of every affine with batch norm.
    pub affines: Vec<Option<Moving>>,
}

impl Held {
    pub fn new(
        program: &Program,
        weights: &Weights,
        optimizer: &Optimizer,
        device: &mut dyn Device,
    ) -> Result<Self, DeviceError> {
        let plan = weights.plan();
        let count = program.parameters.len();
        let [first, second] = Updater::lists(optimizer);
        let mut list = |there: bool| there.then(|| device.allocate(Kind::Floats, count)).transpose();
        let moments = [list(first)?, list(second)?];
        let mut floats = |length| device.allocate(Kind::Floats, length);
        let (parameters, gradients) = (floats(count)?, floats(count)?);
        let (running, rates) = (floats(plan.len() - plan.trained())?, floats(MAX_RATES)?);
        let mut affines = Vec::new();
        for affine in &program.affines {
            let [length, doubles] = of_affine(affine);
            let channels = affine.channels;
            affines.push(if doubles == 0 {
                None
            } else {
                let all = device.allocate(Kind::Floats, length)?;
                let part = |i: usize| all.part(i * channels, channels);
                let inverse = device.allocate(Kind::Doubles, doubles)?;
                let factors = [part(3), part(4), part(5)];
                Some(Moving { scale: part(0), shift: part(1), mean: part(2), inverse, factors })
            });
        }
        let held = Held { parameters, gradients, running, moments, rates, affines };
        held.write(program, device, weights)?;
        Ok(held)
    }

    /// Copies weights and running statistics to the device.
    fn write(&self, program: &Program, device: &mut dyn Device, weights: &Weights) -> Result<(), DeviceError> {
        device.upload(&program.parameters.store(weights.values()), self.parameters)?;
        device.upload(&weights.values()[weights.plan().trained()..], self.running)
    }

    /// Copies them from there.
    pub fn read(&self, program: &Program, device: &dyn Device, weights: &mut Weights) -> Result<(), DeviceError> {
        let trained = weights.plan().trained();
        let mut stored = vec![0.0; self.parameters.len()];
        device.download(self.parameters, &mut stored)?;
        program.parameters.restore(&stored, weights.values_mut());
        device.download(self.running, &mut weights.values_mut()[trained..])
    }

    /// What the optimiser remembers, in the plan's order.
    pub fn moments(
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
        let [first, second] = self.moments;
        Ok([read(first)?, read(second)?])
    }

    /// Goes on from another engine's weights and moments.
    pub fn restore(
        &self,
        program: &Program,
        device: &mut dyn Device,
        weights: &Weights,
        moments: &Moments,
    ) -> Result<(), EngineError> {
        let trained = weights.plan().trained();
        let lists = [&moments.first, &moments.second];
        let found = lists.map(Vec::len);
        let expected = self.moments.map(|memory| if memory.is_some() { trained } else { 0 });
        if found != expected {
            return Err(EngineError::new(format!(
                "the optimiser's memory has {found:?} values where this network and optimiser have {expected:?}: it is another \
                 optimiser's; start the job again"
            )));
        }
        for (values, memory) in lists.into_iter().zip(self.moments) {
            if let Some(memory) = memory {
                device.upload(&program.parameters.store(values), memory)?;
            }
        }
        Ok(self.write(program, device, weights)?)
    }
}

/// Lengths of all that a batch takes.
struct Lengths {
    orders: usize,
    inputs: usize,
    logits: usize,
    values: Vec<usize>,
    copies: Vec<Option<usize>>,
    slots: Vec<usize>,
    masks: Vec<Option<usize>>,
    places: Vec<Option<usize>>,
    partial: usize,
    stored: usize,
    scratch: usize,
    links: usize,
    narrow: [usize; 3],
}

impl Lengths {
    fn of(program: &Program, samples: usize, precision: Precision) -> Self {
        let length = |value: usize| samples * program.values[value].shape.len();
        let (mut copies, mut stored, mut scratch) = (vec![None; program.values.len()], 0, 0);
        let (mut links, mut narrow) = (0, [0; 3]);
        for step in &program.steps {
            if let Some(geometry) = geometry(program, step, samples) {
                let read = input(step);
                if !is_plain(&program.values[read]) {
                    copies[read] = Some(length(read));
                }
                stored = stored.max(length(step.output()));
                scratch = scratch.max(geometry.scratch());
                if precision == Precision::Bf16 {
                    let lengths = [geometry.input_len(), geometry.weights(), geometry.output_len()];
                    narrow = std::array::from_fn(|i| lengths[i].max(narrow[i]));
                }
            }
            if let Step::Embedding { output, .. } = step {
                let shape = program.values[*output].shape;
                let places = samples * shape.pixels();
                scratch = scratch.max(Embedding::scratch(places, shape.stored));
                links = Embedding::links(places);
            }
        }
        let of_values = program.values.iter().filter(|value| value.affine.is_some());
        let partial = of_values.map(|value| partials(samples * value.shape.pixels(), value.shape.stored)).max();
        let only = |which: fn(&Step) -> bool| {
            program.steps.iter().map(|step| which(step).then(|| length(step.output()))).collect::<Vec<_>>()
        };
        Lengths {
            orders: orders::length(samples),
            inputs: length(0),
            logits: samples * program.values[program.logits].shape.channels,
            values: (0..program.values.len()).map(length).collect(),
            copies,
            slots: program.slots.iter().map(|slot| samples * slot).collect(),
            masks: only(|step| matches!(step, Step::Dropout { .. })),
            places: only(|step| matches!(step, Step::MaxPool { .. })),
            partial: partial.unwrap_or_default(),
            stored,
            scratch,
            links,
            narrow,
        }
    }

    fn bytes(&self) -> usize {
        let Lengths {
            orders,
            inputs,
            logits,
            values,
            copies,
            slots,
            masks,
            places,
            partial,
            stored,
            scratch,
            links,
            narrow,
        } = self;
        let lists = [values, slots].into_iter().flatten().sum::<usize>();
        let optional = [copies, masks, places].into_iter().flatten().flatten().sum::<usize>();
        (orders + inputs + 2 * logits + lists + optional + partial + stored + scratch + links) * size_of::<f32>()
            + narrow.iter().sum::<usize>() * size_of::<u16>()
    }
}

/// Room for a batch.
#[derive(Debug)]
pub(super) struct Room {
    /// Of so many samples.
    pub samples: usize,
    /// What the host says to a step.
    pub orders: DeviceMemory,
    /// Inputs as they come.
    pub inputs: DeviceMemory,
    /// Logits without the zeroes behind them, and their gradient.
    pub logits: DeviceMemory,
    pub gradient: DeviceMemory,
    /// What each value holds.
    pub values: Vec<DeviceMemory>,
    /// Those that convolutions read, as they are seen, where that is not as they are stored.
    pub copies: Vec<Option<DeviceMemory>>,
    /// Gradients on their way back.
    pub slots: Vec<DeviceMemory>,
    /// Dropout's masks and the places of what pools chose, by the place of the step.
    pub masks: Vec<Option<DeviceMemory>>,
    pub places: Vec<Option<DeviceMemory>>,
    /// Sums of chunks of one value at a time.
    pub partial: DeviceMemory,
    /// The gradient with respect to the stored values of what a convolution left.
    pub stored: DeviceMemory,
    /// Sums of weights' gradients.
    pub scratch: DeviceMemory,
    /// Which tokens are the same.
    pub links: Option<DeviceMemory>,
    /// What a convolution reads, its weights and what it leaves, in 16 bits; none where there is no need of them.
    pub narrow: Option<[DeviceMemory; 3]>,
}

impl Room {
    pub fn new(
        program: &Program,
        samples: usize,
        precision: Precision,
        device: &mut dyn Device,
    ) -> Result<Self, DeviceError> {
        let lengths = Lengths::of(program, samples, precision);
        let mut made = |kind, length| device.allocate(kind, length);
        let mut all =
            |kind, lengths: &[usize]| lengths.iter().map(|length| made(kind, *length)).collect::<Result<Vec<_>, _>>();
        let (values, slots) = (all(Kind::Floats, &lengths.values)?, all(Kind::Floats, &lengths.slots)?);
        let mut some = |kind, lengths: &[Option<usize>]| {
            lengths
                .iter()
                .map(|length| length.map(|length| device.allocate(kind, length)).transpose())
                .collect::<Result<Vec<_>, _>>()
        };
        let copies = some(Kind::Floats, &lengths.copies)?;
        let masks = some(Kind::Floats, &lengths.masks)?;
        let places = some(Kind::Ints, &lengths.places)?;
        let orders = device.allocate(Kind::Ints, lengths.orders)?;
        // A GPU has no memory of no length, and would give some.
        let links = if lengths.links > 0 { Some(device.allocate(Kind::Ints, lengths.links)?) } else { None };
        let narrow = if lengths.narrow == [0; 3] {
            None
        } else {
            let [x, w, y] = lengths.narrow.map(|length| device.allocate(Kind::Halves, length));
            Some([x?, w?, y?])
        };
        let mut floats = |length| device.allocate(Kind::Floats, length);
        Ok(Room {
            samples,
            orders,
            inputs: floats(lengths.inputs)?,
            logits: floats(lengths.logits)?,
            gradient: floats(lengths.logits)?,
            values,
            copies,
            slots,
            masks,
            places,
            partial: floats(lengths.partial)?,
            stored: floats(lengths.stored)?,
            scratch: floats(lengths.scratch)?,
            links,
            narrow,
        })
    }

    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Room {
            samples: _,
            orders,
            inputs,
            logits,
            gradient,
            values,
            copies,
            slots,
            masks,
            places,
            partial,
            stored,
            scratch,
            links,
            narrow,
        } = self;
        let optional = [copies, masks, places].into_iter().flatten().flatten();
        let single = [orders, inputs, logits, gradient, partial, stored, scratch];
        single
            .into_iter()
            .chain(links)
            .chain(narrow.into_iter().flatten())
            .chain(values)
            .chain(slots)
            .chain(optional)
            .try_for_each(|memory| device.free(memory))
    }
}

/// Whether readers see a value as it is stored.
fn is_plain(value: &Value) -> bool {
    value.affine.is_none() && !value.rectify
}

/// The value that a convolution or a linear layer reads.
pub(super) fn input(step: &Step) -> usize {
    match step {
        Step::Convolution(convolution) => convolution.input.value,
        Step::Linear { input, .. } => input.value,
        _ => 0,
    }
}

/// The convolution that a step is, if it is one; a linear layer is one over images of one pixel.
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
