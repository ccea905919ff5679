//! What networks for text have: vectors of tokens, values side by side, and the hyperbolic tangent.

use super::{Seen, check_len, check_min_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Int};

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
        let [scale, shift, rectify] = seen.arguments();
        let end = [Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "tangents", count, [Buffer(seen.values), scale, shift, rectify].into_iter().chain(end))
    }

    /// The gradient with respect to what is read, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let count = self.output.len();
        check_len("a gradient of tangents", gradient, count)?;
        check_len("a gradient of what tangents are taken of", total, count)?;
        let arguments = [Buffer(gradient), Buffer(self.output), Buffer(total), Int(add.into()), int(count)?];
        launch_over(device, "tangents_gradient", count, arguments)
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
    fn extent_arguments(&self, narrow: Memory, wide: Memory) -> Result<[Argument; 4], DeviceError> {
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
        let numbers = self.extent_arguments(seen.values, output)?;
        seen.check("channels to be placed", count, self.stored)?;
        let [scale, shift, rectify] = seen.arguments();
        let start = [Buffer(seen.values), scale, shift, rectify, Buffer(output), int(count)?];
        launch_over(device, "place_channels", count, start.into_iter().chain(numbers))
    }

    /// The gradient with respect to the value, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let numbers = self.extent_arguments(total, gradient)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(total.len())?];
        launch_over(device, "place_channels_gradient", total.len(), start.into_iter().chain(numbers))
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
        check_len(what, at_places, self.tokens.len() * self.stored)?;
        check_min_len("vectors of tokens", vectors, self.vocabulary * self.stored)?;
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
        let start = [Buffer(self.tokens), Buffer(vectors), Buffer(output), int(count)?];
        launch_over(device, "embed", count, start.into_iter().chain([int(self.stored)?, int(self.vocabulary)?]))
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
        check_min_len("links of places", links, Self::links(places))?;
        check_min_len("sums of vectors", scratch, Self::scratch(places, self.stored))?;
        launch_over(device, "clear", vectors.len(), [Buffer(vectors), int(vectors.len())?])?;
        let [number, stored, chunk] = [int(places)?, int(self.stored)?, int(CHUNK)?];
        launch_over(device, "embed_links", places, [Buffer(self.tokens), Buffer(links), number, chunk])?;
        let start = [Buffer(self.tokens), Buffer(gradient), Buffer(scratch), int(count)?];
        launch_over(device, "embed_chunks", count, start.into_iter().chain([stored, number, chunk]))?;
        let start = [Buffer(self.tokens), Buffer(links), Buffer(scratch), Buffer(vectors), int(count)?];
        launch_over(device, "embed_gradient", count, start.into_iter().chain([stored, number, int(self.vocabulary)?]))
    }
}
