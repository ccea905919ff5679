//! The data that lie on the device, and inputs made of them there.

use crate::engine::EngineError;
use crate::engine::Samples;
use crate::engine::fused::program::Shape;
use crate::engine::tokens;
use plusminus_cuda::ops::{Gather, GatherTokens};
use plusminus_cuda::{Device, DeviceError, DeviceMemory, HostValues, Kind};

/// The share of a device's memory that a job's data may take: one in so many. The rest is for networks, of which several may train there.
const SHARE: usize = 8;

/// Values that are copied together.
const TOGETHER: usize = 1 << 20;

/// The data of a job, on the device.
#[derive(Debug)]
pub(super) enum Holding {
    Images { pixels: DeviceMemory, table: DeviceMemory, centre: Option<DeviceMemory> },
    Tokens(DeviceMemory),
}

impl Holding {
    /// Copies samples of this shape to the device, where they are no more than its share.
    ///
    /// # Errors
    /// A token that is none of the `vocabulary`, whose vector would lie nowhere; or what went wrong on the device.
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
        let whole = |values: usize| {
            if length > 0 && values.is_multiple_of(length) {
                return Ok(());
            }
            Err(EngineError::new(format!("{values} values are no samples of {length}")))
        };
        Ok(Some(match samples {
            Samples::Images { parts, table, centre } => {
                parts.iter().try_for_each(|part| whole(part.len()))?;
                let pixels = device.allocate(Kind::Bytes, parts.iter().map(|part| part.len()).sum())?;
                let mut start = 0;
                for part in parts {
                    device.write(HostValues::Bytes(part), pixels.part(start, part.len()))?;
                    start += part.len();
                }
                let mut floats = |values: &[f32]| {
                    let memory = device.allocate(Kind::Floats, values.len())?;
                    device.upload(values, memory).map(|()| memory)
                };
                Holding::Images { pixels, table: floats(table)?, centre: centre.map(floats).transpose()? }
            }
            Samples::Tokens { parts } => {
                parts.iter().try_for_each(|part| whole(part.len()))?;
                if let Some(vocabulary) = vocabulary {
                    parts.iter().try_for_each(|part| tokens::check_numbers(part, vocabulary))?;
                }
                let tokens = device.allocate(Kind::Ints, parts.iter().map(|part| part.len()).sum())?;
                let (mut start, mut numbers) = (0, Vec::new());
                for part in parts.iter().flat_map(|part| part.chunks(TOGETHER)) {
                    numbers.clear();
                    numbers.extend(part.iter().map(|token| token.cast_signed()));
                    device.write(HostValues::Ints(&numbers), tokens.part(start, part.len()))?;
                    start += part.len();
                }
                Holding::Tokens(tokens)
            }
        }))
    }

    /// Gives the memory back.
    pub fn free(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        match self {
            Holding::Images { pixels, table, centre } => {
                [Some(pixels), Some(table), centre].into_iter().flatten().try_for_each(|memory| device.free(memory))
            }
            Holding::Tokens(tokens) => device.free(tokens),
        }
    }

    /// Writes the inputs of samples to `to`, moved where it is said how. Tokens stay where they are.
    pub fn gather(
        &self,
        shape: Shape,
        samples: DeviceMemory,
        moves: Option<DeviceMemory>,
        to: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        match *self {
            Holding::Images { pixels, table, centre } => {
                let shape = [shape.channels, shape.height, shape.width];
                Gather { pixels, table, centre, samples, moves, to, shape }.run(device)
            }
            Holding::Tokens(tokens) => {
                GatherTokens { tokens, samples, to, length: shape.pixels() * shape.channels }.run(device)
            }
        }
    }
}
