//! The loss on the device: its parameters, its state, and the memory of a batch.

use super::step_parameters::DeviceStepParameters;
use crate::error::EngineError;
use plusminus_core::methods::losses::{DeviceLoss, Latent, Learned};
use plusminus_cuda::ops::{self, Determinant, ForwardCorrection, Imae, LatentState, MeanLoss, PowerLoss, SquaredError};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, HostBuffer, HostValues, Kind};
use std::mem::discriminant;

/// Losses of steps that the device keeps until the host reads them.
pub(super) const SLOTS: usize = 32;

/// A loss on the device.
#[derive(Debug)]
pub(super) struct LossOnDevice {
    /// The loss as last set, without the state that the device has learned since.
    loss: DeviceLoss,
    pub classes: usize,
    /// The given label of every sample of the training file; −1 for none.
    labels: DeviceMemory,
    /// The loss's parameters, in `f64`.
    parameters: Option<DeviceMemory>,
    /// A matrix of `[classes, classes]`, in `f64`: the logarithms of a transition matrix, by columns.
    columns: Option<DeviceMemory>,
    /// Whether each sample is kept, as bytes.
    kept: Option<DeviceMemory>,
    latent: Option<LatentState>,
    /// Steps so far.
    pub steps: u64,
    /// The losses of steps that the host has not read yet.
    pub losses: DeviceMemory,
    batch: Option<BatchMemory>,
}

/// The memory of a batch.
#[derive(Debug)]
struct BatchMemory {
    /// The number of samples that the buffers hold.
    capacity: usize,
    /// One loss per sample, in `f64`.
    values: DeviceMemory,
    /// Intermediate values of losses that depend on the whole batch, in `f64`.
    scratch: Option<DeviceMemory>,
    /// The latent labels that the loss has drawn.
    drawn: Option<DeviceMemory>,
}

/// The lengths of a loss's buffers: `i32` (labels), bytes (kept) or `f64` (the others).
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
    /// For batches of `samples` out of `count` samples of the training file.
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

/// Bytes of device memory that a loss over `classes` classes occupies, for batches of `samples` out of `count` samples of the training
/// file.
pub(crate) fn loss_memory(loss: &DeviceLoss, classes: usize, count: usize, samples: usize) -> usize {
    let Lengths { labels, parameters, columns, kept, latent, scratch, drawn } =
        Lengths::of(loss, classes, count, samples);
    let optional = [parameters, columns, scratch].into_iter().flatten().sum::<usize>();
    let square = classes * classes;
    let (ints, doubles) = if latent { (count + square, square) } else { (0, 0) };
    let ints = labels + ints + if drawn { samples } else { 0 };
    (SLOTS + samples + optional + doubles) * size_of::<f64>() + ints * size_of::<i32>() + kept.unwrap_or_default()
}

impl LossOnDevice {
    /// Allocates memory for a loss and the labels, without contents.
    fn allocate(loss: &DeviceLoss, classes: usize, count: usize, device: &mut dyn Device) -> Result<Self, DeviceError> {
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
        Ok(LossOnDevice {
            loss: loss.clone(),
            classes,
            labels: device.allocate(Kind::Ints, lengths.labels)?,
            parameters,
            columns,
            kept,
            latent,
            steps: 0,
            losses: device.allocate(Kind::Doubles, SLOTS)?,
            batch: None,
        })
    }

    /// Whether another loss and its labels fit this loss's memory.
    fn fits(&self, loss: &DeviceLoss, classes: usize, count: usize) -> bool {
        let lengths = |loss| Lengths::of(loss, classes, count, 0);
        discriminant(&self.loss) == discriminant(loss)
            && (self.classes, self.labels.len()) == (classes, count)
            && lengths(&self.loss) == lengths(loss)
    }

    /// Copies a loss to the device, to the memory of `old` if it fits. Returns whether it did.
    pub fn new(
        old: Option<LossOnDevice>,
        loss: &DeviceLoss,
        classes: usize,
        given: &[u32],
        device: &mut dyn Device,
    ) -> Result<(Self, bool), EngineError> {
        let (mut loaded, same) = match old {
            Some(old) if old.fits(loss, classes, given.len()) => (old, true),
            old => {
                old.map_or(Ok(()), |old| old.free(device))?;
                (LossOnDevice::allocate(loss, classes, given.len(), device)?, false)
            }
        };
        loaded.loss = loss.clone();
        // Kernels treat −1 as no class.
        let labels: Vec<i32> = given.iter().map(|label| i32::try_from(*label).unwrap_or(-1)).collect();
        device.write(HostValues::Ints(&labels), loaded.labels)?;
        loaded.write(given, device)?;
        Ok((loaded, same))
    }

    /// Copies the loss's parameters and state.
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

    /// Allocates buffers for at least `samples` samples. Returns whether the present buffers sufficed.
    pub fn reserve(&mut self, samples: usize, device: &mut dyn Device) -> Result<bool, DeviceError> {
        if self.batch.as_ref().is_some_and(|batch| batch.capacity >= samples) {
            return Ok(true);
        }
        if let Some(batch) = self.batch.take() {
            batch.free(device)?;
        }
        let lengths = Lengths::of(&self.loss, self.classes, self.labels.len(), samples);
        let values = device.allocate(Kind::Doubles, samples)?;
        let scratch = lengths.scratch.map(|length| device.allocate(Kind::Doubles, length)).transpose()?;
        let drawn = lengths.drawn.then(|| device.allocate(Kind::Ints, samples)).transpose()?;
        self.batch = Some(BatchMemory { capacity: samples, values, scratch, drawn });
        Ok(false)
    }

    /// Frees the memory.
    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let LossOnDevice { labels, parameters, columns, kept, latent, losses, batch, .. } = self;
        batch.map_or(Ok(()), |batch| batch.free(device))?;
        let state = latent.map(|state| [state.latent, state.counts, state.transition]);
        let optional = [parameters, columns, kept].into_iter().flatten().chain(state.into_iter().flatten());
        [labels, losses].into_iter().chain(optional).try_for_each(|memory| device.free(memory))
    }

    /// Whether a step draws one random number per sample.
    pub fn draws(&self) -> bool {
        self.latent.is_some()
    }

    /// Whether the next step starts with an update of the transition matrix.
    pub fn refreshes(&self) -> bool {
        matches!(&self.loss, DeviceLoss::Latent(latent) if latent.refreshes(self.steps))
    }

    /// Computes the loss of a batch and its gradient with respect to the logits.
    pub fn run(
        &self,
        [logits, gradient]: [DeviceMemory; 2],
        samples: usize,
        step: DeviceStepParameters,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let lacking = || DeviceError::InvalidArgument("the loss lacks its memory".into());
        let memory = self.batch.as_ref().ok_or_else(lacking)?;
        let values = memory.values.part(0, samples);
        let (labels, classes) = (self.labels, self.classes);
        let batch = ops::LossBatch { logits, gradient, labels, samples: step.samples(samples), values, classes };
        let parameters = || self.parameters.ok_or_else(lacking);
        let scratch = |length| memory.scratch.map(|scratch| scratch.part(0, length)).ok_or_else(lacking);
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
                let (Some(state), Some(drawn)) = (self.latent, memory.drawn) else { return Err(lacking()) };
                let (stream, drawn) = (step.latent(), drawn.part(0, samples));
                ops::LatentLabels { state, parameters: parameters()?, step: step.step(), stream, drawn }
                    .run(device, batch)?;
            }
        }
        // The determinant has one value per batch.
        let whole = matches!(self.loss, DeviceLoss::Determinant { .. });
        let values = if whole { values.part(0, 1) } else { values };
        MeanLoss { values, step: step.step(), losses: self.losses }.run(device)
    }

    /// The state that the loss has learned, if any.
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

impl BatchMemory {
    fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let BatchMemory { capacity: _, values, scratch, drawn } = self;
        [Some(values), scratch, drawn].into_iter().flatten().try_for_each(|memory| device.free(memory))
    }
}
