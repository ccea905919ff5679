//! The loss that the device knows: its numbers there, and room for what a batch takes.

use crate::engine::EngineError;
use plusminus_core::methods::losses::{DeviceLoss, Latent, Learned};
use plusminus_cuda::ops::{self, Determinant, ForwardCorrection, Imae, LatentState, MeanLoss, PowerLoss, SquaredError};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, HostBuffer, HostValues, Kind};
use std::mem::discriminant;

use super::orders::Places;

/// Losses that are kept on the device until they are asked for.
pub(super) const SLOTS: usize = 32;

/// A loss on the device.
#[derive(Debug)]
pub(super) struct Known {
    /// As it was told last; of one that learns, without what it has learned since.
    loss: DeviceLoss,
    pub classes: usize,
    /// The given label of every sample, −1 for none.
    labels: DeviceMemory,
    /// Numbers of the loss, in `f64`.
    parameters: Option<DeviceMemory>,
    /// A matrix of numbers a pair of classes, in `f64`.
    columns: Option<DeviceMemory>,
    kept: Option<DeviceMemory>,
    latent: Option<LatentState>,
    /// Steps so far.
    pub steps: u64,
    /// Values of the steps that nobody has asked for.
    pub losses: DeviceMemory,
    /// What a batch takes, of so many samples.
    working: Option<Working>,
}

/// Room for a batch.
#[derive(Debug)]
struct Working {
    samples: usize,
    /// A value a row, in `f64`.
    values: DeviceMemory,
    /// More of them, for losses of whole batches.
    scratch: Option<DeviceMemory>,
    drawn: Option<DeviceMemory>,
}

/// Lengths of what a loss takes: so many bytes, `i32` and `f64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lengths {
    labels: usize,
    parameters: Option<usize>,
    columns: Option<usize>,
    kept: Option<usize>,
    latent: bool,
    scratch: Option<usize>,
    drawn: bool,
}

impl Lengths {
    /// For `samples` at a time of a training file of `count`.
    fn of(loss: &DeviceLoss, classes: usize, count: usize, samples: usize) -> Self {
        let square = Some(classes * classes);
        let plain = Lengths { labels: count, ..Lengths::default() };
        match loss {
            DeviceLoss::Powers { kept, .. } => {
                Lengths { parameters: Some(4), kept: kept.as_ref().map(|_| count), ..plain }
            }
            DeviceLoss::Squares => plain,
            DeviceLoss::Imae { .. } => Lengths { parameters: Some(2), scratch: Some(samples), ..plain },
            DeviceLoss::Forward { .. } => Lengths { columns: square, ..plain },
            DeviceLoss::Determinant { .. } => {
                Lengths { parameters: Some(2), scratch: Some(Determinant::scratch(samples, classes)), ..plain }
            }
            DeviceLoss::Latent(_) => {
                Lengths { parameters: Some(1), columns: square, latent: true, drawn: true, ..plain }
            }
        }
    }
}

/// Bytes that a loss takes on a device, of `classes`, for `samples` at a time of a training file of `count`.
pub(in crate::engine) fn bytes(loss: &DeviceLoss, classes: usize, count: usize, samples: usize) -> usize {
    let Lengths { labels, parameters, columns, kept, latent, scratch, drawn } =
        Lengths::of(loss, classes, count, samples);
    let optional = [parameters, columns, scratch].into_iter().flatten().sum::<usize>();
    let square = classes * classes;
    let (ints, doubles) = if latent { (count + square, square) } else { (0, 0) };
    let ints = labels + ints + if drawn { samples } else { 0 };
    (SLOTS + samples + optional + doubles) * size_of::<f64>() + ints * size_of::<i32>() + kept.unwrap_or_default()
}

impl Known {
    /// Memory for a loss and the labels that it is held against; nothing is there yet.
    fn room(loss: &DeviceLoss, classes: usize, count: usize, device: &mut dyn Device) -> Result<Self, DeviceError> {
        let lengths = Lengths::of(loss, classes, count, 0);
        let square = classes * classes;
        let mut some = |kind, length: Option<usize>| length.map(|length| device.allocate(kind, length)).transpose();
        let parameters = some(Kind::Doubles, lengths.parameters)?;
        let columns = some(Kind::Doubles, lengths.columns)?;
        let kept = some(Kind::Bytes, lengths.kept)?;
        let latent = match columns.filter(|_| lengths.latent) {
            None => None,
            Some(columns) => Some(LatentState {
                latent: device.allocate(Kind::Ints, count)?,
                counts: device.allocate(Kind::Ints, square)?,
                transition: device.allocate(Kind::Doubles, square)?,
                columns,
            }),
        };
        Ok(Known {
            loss: loss.clone(),
            classes,
            labels: device.allocate(Kind::Ints, lengths.labels)?,
            parameters,
            columns,
            kept,
            latent,
            steps: 0,
            losses: device.allocate(Kind::Doubles, SLOTS)?,
            working: None,
        })
    }

    /// Whether a loss and its labels have their place where this one has.
    fn holds(&self, loss: &DeviceLoss, classes: usize, count: usize) -> bool {
        let lengths = |loss| Lengths::of(loss, classes, count, 0);
        discriminant(&self.loss) == discriminant(loss)
            && (self.classes, self.labels.len()) == (classes, count)
            && lengths(&self.loss) == lengths(loss)
    }

    /// The loss as it stands, in the memory of `old` where it fits; whether it does.
    pub fn new(
        old: Option<Known>,
        loss: &DeviceLoss,
        classes: usize,
        given: &[u32],
        device: &mut dyn Device,
    ) -> Result<(Self, bool), EngineError> {
        let (mut known, same) = match old {
            Some(old) if old.holds(loss, classes, given.len()) => (old, true),
            old => {
                old.map_or(Ok(()), |old| old.free(device))?;
                (Known::room(loss, classes, given.len(), device)?, false)
            }
        };
        known.loss = loss.clone();
        // What is no class is none for the kernels either.
        let labels: Vec<i32> = given.iter().map(|label| i32::try_from(*label).unwrap_or(-1)).collect();
        device.write(HostValues::Ints(&labels), known.labels)?;
        known.write(given, device)?;
        Ok((known, same))
    }

    /// Copies the loss's numbers to their places.
    fn write(&mut self, given: &[u32], device: &mut dyn Device) -> Result<(), EngineError> {
        let flag = |set: bool| f64::from(u8::from(set));
        let mut numbers = |memory: Option<DeviceMemory>, values: &[f64]| match memory {
            Some(memory) => device.write(HostValues::Doubles(values), memory),
            None => Ok(()),
        };
        match &self.loss {
            DeviceLoss::Powers { alpha, beta, q, bound, kept } => {
                numbers(self.parameters, &[*alpha, *beta, *q, *bound])?;
                if let (Some(kept), Some(memory)) = (kept, self.kept) {
                    let bytes: Vec<u8> = kept.iter().map(|kept| u8::from(*kept)).collect();
                    device.write(HostValues::Bytes(&bytes), memory)?;
                }
            }
            DeviceLoss::Squares => {}
            DeviceLoss::Imae { t, by_weight } => numbers(self.parameters, &[*t, flag(*by_weight)])?,
            DeviceLoss::Forward { log_transition } => numbers(self.columns, log_transition)?,
            DeviceLoss::Determinant { epsilon, normalised } => {
                numbers(self.parameters, &[*epsilon, flag(*normalised)])?;
            }
            DeviceLoss::Latent(Latent { loss, learned }) => {
                let Learned { steps, transition, latent } = learned;
                let classes = self.classes;
                numbers(self.parameters, &[loss.alpha])?;
                let pairs = (0..classes).flat_map(|given| (0..classes).map(move |class| class * classes + given));
                let columns: Vec<f64> = pairs.filter_map(|at| transition.get(at)).map(|t| libm::log(*t)).collect();
                numbers(self.columns, &columns)?;
                self.steps = *steps;
                let mut counts = vec![0i32; classes * classes];
                let labelled = latent.iter().zip(given).filter_map(|(latent, given)| Some((((*latent)?), *given)));
                for (latent, given) in labelled {
                    if let Some(count) = counts.get_mut(latent as usize * classes + given as usize) {
                        *count += 1;
                    }
                }
                let latent: Vec<i32> =
                    latent.iter().map(|label| label.map_or(-1, |label| i32::try_from(label).unwrap_or(-1))).collect();
                if let Some(state) = self.latent {
                    device.write(HostValues::Doubles(transition), state.transition)?;
                    device.write(HostValues::Ints(&latent), state.latent)?;
                    device.write(HostValues::Ints(&counts), state.counts)?;
                }
            }
        }
        Ok(())
    }

    /// Has room for so many samples at a time; whether what there was has its place still.
    pub fn make_room(&mut self, samples: usize, device: &mut dyn Device) -> Result<bool, DeviceError> {
        if self.working.as_ref().is_some_and(|working| working.samples >= samples) {
            return Ok(true);
        }
        if let Some(working) = self.working.take() {
            working.free(device)?;
        }
        let lengths = Lengths::of(&self.loss, self.classes, self.labels.len(), samples);
        let values = device.allocate(Kind::Doubles, samples)?;
        let scratch = lengths.scratch.map(|length| device.allocate(Kind::Doubles, length)).transpose()?;
        let drawn = lengths.drawn.then(|| device.allocate(Kind::Ints, samples)).transpose()?;
        self.working = Some(Working { samples, values, scratch, drawn });
        Ok(false)
    }

    /// Gives all memory back.
    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Known { labels, parameters, columns, kept, latent, losses, working, .. } = self;
        working.map_or(Ok(()), |working| working.free(device))?;
        let state = latent.map(|state| [state.latent, state.counts, state.transition]);
        let optional = [parameters, columns, kept].into_iter().flatten().chain(state.into_iter().flatten());
        [labels, losses].into_iter().chain(optional).try_for_each(|memory| device.free(memory))
    }

    /// Whether a step draws a number a sample.
    pub fn draws(&self) -> bool {
        self.latent.is_some()
    }

    /// Whether the next step begins with a new matrix.
    pub fn refreshes(&self) -> bool {
        matches!(&self.loss, DeviceLoss::Latent(latent) if latent.refreshes(self.steps))
    }

    /// Value and gradient of the logits of a batch.
    pub fn run(
        &self,
        [logits, gradient]: [DeviceMemory; 2],
        samples: usize,
        orders: Places,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let lacking = || DeviceError::InvalidArgument("a loss without its memory".into());
        let working = self.working.as_ref().ok_or_else(lacking)?;
        let values = working.values.part(0, samples);
        let (labels, classes) = (self.labels, self.classes);
        let batch = ops::LossBatch { logits, gradient, labels, samples: orders.samples(samples), values, classes };
        let parameters = || self.parameters.ok_or_else(lacking);
        let scratch = |length| working.scratch.map(|scratch| scratch.part(0, length)).ok_or_else(lacking);
        match &self.loss {
            DeviceLoss::Powers { .. } => PowerLoss { parameters: parameters()?, kept: self.kept }.run(device, batch)?,
            DeviceLoss::Squares => SquaredError.run(device, batch)?,
            DeviceLoss::Imae { .. } => {
                Imae { parameters: parameters()?, weights: scratch(samples)? }.run(device, batch)?;
            }
            DeviceLoss::Forward { .. } => {
                ForwardCorrection { columns: self.columns.ok_or_else(lacking)? }.run(device, batch)?;
            }
            DeviceLoss::Determinant { .. } => {
                let scratch = scratch(Determinant::scratch(samples, classes))?;
                Determinant { parameters: parameters()?, scratch }.run(device, batch)?;
            }
            DeviceLoss::Latent(_) => {
                let (Some(state), Some(drawn)) = (self.latent, working.drawn) else { return Err(lacking()) };
                let (step, stream, drawn) = (orders.step(), orders.latent(), drawn.part(0, samples));
                ops::LatentLabels { state, parameters: parameters()?, step, stream, drawn }.run(device, batch)?;
            }
        }
        // The determinant is one value of a whole batch.
        let whole = matches!(self.loss, DeviceLoss::Determinant { .. });
        let values = if whole { values.part(0, 1) } else { values };
        MeanLoss { values, step: orders.step(), losses: self.losses }.run(device)
    }

    /// What it has learned, where it learns.
    pub fn learned(&self, device: &dyn Device) -> Result<Option<Learned>, DeviceError> {
        let Some(state) = self.latent else { return Ok(None) };
        let mut transition = vec![0.0; state.transition.len()];
        device.read(state.transition, HostBuffer::Doubles(&mut transition))?;
        let mut latent = vec![0; state.latent.len()];
        device.read(state.latent, HostBuffer::Ints(&mut latent))?;
        let latent = latent.into_iter().map(|label| u32::try_from(label).ok()).collect();
        Ok(Some(Learned { steps: self.steps, transition, latent }))
    }
}

impl Working {
    fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Working { samples: _, values, scratch, drawn } = self;
        [Some(values), scratch, drawn].into_iter().flatten().try_for_each(|memory| device.free(memory))
    }
}
