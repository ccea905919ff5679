//! The data on the device, from which the device gathers inputs.

use crate::batch::Samples;
use crate::error::EngineError;
use crate::fused::Shape;
use crate::tokens;
use plusminus_cuda::ops::{Gather, GatherTokens};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, HostValues, Kind};

/// A job's data may occupy 1/`SHARE` of a device's memory. The rest is for networks, of which several may train on the device.
const SHARE: usize = 8;

/// Values per copy.
const CHUNK: usize = 1 << 20;

/// The data of a job on the device.
#[derive(Debug)]
pub(super) enum HeldSamples {
    Images { pixels: DeviceMemory, table: DeviceMemory, centre: Option<DeviceMemory> },
    Tokens(DeviceMemory),
}

impl HeldSamples {
    /// Copies samples of this shape to the device. `None` if they exceed their share of its memory.
    ///
    /// # Errors
    /// A part is not a whole number of samples, a token lies outside the vocabulary, or the device fails.
    pub fn new(
        samples: &Samples<'_>,
        shape: Shape,
        vocabulary: Option<usize>,
        device: &mut dyn Device,
    ) -> Result<Option<Self>, EngineError> {
        if samples.bytes() > device.capacity() / SHARE {
            return Ok(None);
        }
        let length = shape.pixels() * shape.channels;
        match samples {
            Samples::Images { parts, table, centre } => {
                parts.iter().try_for_each(|part| check_whole(part.len(), length))?;
                let pixels = copy_images(parts, device)?;
                let mut floats = |values: &[f32]| {
                    let memory = device.allocate(Kind::Floats, values.len())?;
                    device.upload(values, memory).map(|()| memory)
                };
                let (table, centre) = (floats(table)?, centre.map(floats).transpose()?);
                Ok(Some(HeldSamples::Images { pixels, table, centre }))
            }
            Samples::Tokens { parts } => {
                parts.iter().try_for_each(|part| check_whole(part.len(), length))?;
                if let Some(vocabulary) = vocabulary {
                    parts.iter().try_for_each(|part| tokens::check_ids(part, vocabulary))?;
                }
                Ok(Some(HeldSamples::Tokens(copy_tokens(parts, device)?)))
            }
        }
    }

    /// Frees the memory.
    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        match self {
            HeldSamples::Images { pixels, table, centre } => {
                [Some(pixels), Some(table), centre].into_iter().flatten().try_for_each(|memory| device.free(memory))
            }
            HeldSamples::Tokens(tokens) => device.free(tokens),
        }
    }

    /// Writes the inputs of samples to `to`, with transforms if given. Tokens have no transforms.
    pub fn gather(
        &self,
        shape: Shape,
        samples: DeviceMemory,
        transforms: Option<DeviceMemory>,
        to: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        match *self {
            HeldSamples::Images { pixels, table, centre } => {
                let shape = [shape.channels, shape.height, shape.width];
                Gather { pixels, table, centre, samples, moves: transforms, to, shape }.run(device)
            }
            HeldSamples::Tokens(tokens) => {
                GatherTokens { tokens, samples, to, length: shape.pixels() * shape.channels }.run(device)
            }
        }
    }
}

/// Fails unless `values` is a whole number of samples of `length` values.
fn check_whole(values: usize, length: usize) -> Result<(), EngineError> {
    if length > 0 && values.is_multiple_of(length) {
        return Ok(());
    }
    Err(EngineError::new(format!("{values} values are not a whole number of samples of {length} values")))
}

/// Copies the parts to one block of memory.
fn copy_images(parts: &[&[u8]], device: &mut dyn Device) -> Result<DeviceMemory, DeviceError> {
    let pixels = device.allocate(Kind::Bytes, parts.iter().map(|part| part.len()).sum())?;
    let mut start = 0;
    for part in parts {
        device.write(HostValues::Bytes(part), pixels.part(start, part.len()))?;
        start += part.len();
    }
    Ok(pixels)
}

/// Copies the parts to one block of memory, as signed numbers.
fn copy_tokens(parts: &[&[u32]], device: &mut dyn Device) -> Result<DeviceMemory, DeviceError> {
    let tokens = device.allocate(Kind::Ints, parts.iter().map(|part| part.len()).sum())?;
    let (mut start, mut numbers) = (0, Vec::new());
    for part in parts.iter().flat_map(|part| part.chunks(CHUNK)) {
        numbers.clear();
        numbers.extend(part.iter().map(|token| token.cast_signed()));
        device.write(HostValues::Ints(&numbers), tokens.part(start, part.len()))?;
        start += part.len();
    }
    Ok(tokens)
}
