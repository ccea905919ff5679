//! What networks for text have: vectors of tokens, values side by side, and the hyperbolic tangent.

use super::{Seen, at_least, exactly, int, over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Int, Memory as At};

/// Places whose gradients are added up first, before the sums of chunks are.
const CHUNK: usize = 64;

/// y = tanh x.
#[derive(Clone, Copy, Debug)]
pub struct Tanh {
    /// What comes out.
    pub output: Memory,
    /// Values of a pixel.
    pub channels: usize,
}

impl Tanh {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, seen: Seen) -> Result<(), DeviceError> {
        let count = self.output.len();
        seen.check("what the hyperbolic tangent is taken of", count, self.channels)?;
        let [scale, shift, rectify] = seen.view();
        let end = [At(self.output), int(count)?, int(self.channels)?];
        over(device, "tangents", count, [At(seen.values), scale, shift, rectify].into_iter().chain(end))
    }

    /// The gradient with respect to what is read, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let count = self.output.len();
        exactly("a gradient of tangents", gradient, count)?;
        exactly("a gradient of what tangents are taken of", total, count)?;
        let arguments = [At(gradient), At(self.output), At(total), Int(add.into()), int(count)?];
        over(device, "tangents_gradient", count, arguments)
    }
}

/// The channels of a value as a part of wider pixels' channels.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Channels that are stored of the value.
    pub stored: usize,
    /// Those of them that count: the first so many.
    pub channels: usize,
    /// Channels of a wider pixel.
    pub wide: usize,
    /// The first of them that is the value's.
    pub start: usize,
}

impl Place {
    fn numbers(&self, narrow: Memory, wide: Memory) -> Result<[Argument; 4], DeviceError> {
        let Place { stored, channels, wide: all, start } = *self;
        let fits = stored > 0 && channels <= stored && start + channels <= all;
        if !fits || !narrow.len().is_multiple_of(stored) || narrow.len() / stored * all != wide.len() {
            return Err(DeviceError::Unfit(format!(
                "channels that do not fit: {self:?} for {} values of {}",
                narrow.len(),
                wide.len()
            )));
        }
        int(wide.len())?;
        Ok([int(stored)?, int(channels)?, int(all)?, int(start)?])
    }

    /// Copies them there. What is beside them stays as it is.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, seen: Seen, output: Memory) -> Result<(), DeviceError> {
        let count = seen.values.len();
        let numbers = self.numbers(seen.values, output)?;
        seen.check("channels to be placed", count, self.stored)?;
        let [scale, shift, rectify] = seen.view();
        let start = [At(seen.values), scale, shift, rectify, At(output), int(count)?];
        over(device, "place_channels", count, start.into_iter().chain(numbers))
    }

    /// The gradient with respect to the value, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let numbers = self.numbers(total, gradient)?;
        let start = [At(gradient), At(total), Int(add.into()), int(total.len())?];
        over(device, "place_channels_gradient", total.len(), start.into_iter().chain(numbers))
    }
}

/// A vector for every token.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// Numbers of tokens, in `f32`.
    pub tokens: Memory,
    /// Values of a vector.
    pub stored: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
}

impl Embedding {
    /// Values that sums of a gradient take for so many places.
    pub fn scratch(places: usize, stored: usize) -> usize {
        places * stored
    }

    /// What is noted of so many places, as `int`.
    pub fn links(places: usize) -> usize {
        2 * places
    }

    fn check(&self, what: &str, at_places: Memory, vectors: Memory) -> Result<(), DeviceError> {
        exactly(what, at_places, self.tokens.len() * self.stored)?;
        at_least("vectors of tokens", vectors, self.vocabulary * self.stored)?;
        int(vectors.len())?;
        if self.stored == 0 { Err(DeviceError::Unfit("vectors of no values".into())) } else { Ok(()) }
    }

    /// Reads the vectors. What is no token gives NaN.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, vectors: Memory, output: Memory) -> Result<(), DeviceError> {
        self.check("read vectors", output, vectors)?;
        let count = output.len();
        let start = [At(self.tokens), At(vectors), At(output), int(count)?];
        over(device, "embed", count, start.into_iter().chain([int(self.stored)?, int(self.vocabulary)?]))
    }

    /// Writes the gradient of every vector: zero for tokens that there are none of. `links` and `scratch` are of the lengths above, or
    /// longer.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(
        self,
        device: &mut dyn Device,
        gradient: Memory,
        vectors: Memory,
        [links, scratch]: [Memory; 2],
    ) -> Result<(), DeviceError> {
        self.check("a gradient of vectors", gradient, vectors)?;
        let (places, count) = (self.tokens.len(), gradient.len());
        at_least("links of places", links, Self::links(places))?;
        at_least("sums of vectors", scratch, Self::scratch(places, self.stored))?;
        over(device, "clear", vectors.len(), [At(vectors), int(vectors.len())?])?;
        let [number, stored, chunk] = [int(places)?, int(self.stored)?, int(CHUNK)?];
        over(device, "embed_links", places, [At(self.tokens), At(links), number, chunk])?;
        let start = [At(self.tokens), At(gradient), At(scratch), int(count)?];
        over(device, "embed_chunks", count, start.into_iter().chain([stored, number, chunk]))?;
        let start = [At(self.tokens), At(links), At(scratch), At(vectors), int(count)?];
        over(device, "embed_gradient", count, start.into_iter().chain([stored, number, int(self.vocabulary)?]))
    }
}
