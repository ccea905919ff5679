//! Operations of text networks: embeddings, concatenation of channels, and tanh.

use super::{TensorView, check_len, check_min_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Int};

/// Positions per chunk of an embedding gradient. Positions are added up within chunks first, then the chunks.
const CHUNK: usize = 64;

/// y = tanh x.
#[derive(Clone, Copy, Debug)]
pub struct Tanh {
    /// The output.
    pub output: DeviceMemory,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl Tanh {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, input: TensorView) -> Result<(), DeviceError> {
        let count = self.output.len();
        input.check("input of tanh", count, self.channels)?;
        let [scale, shift, rectify] = input.arguments();
        let end = [Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "tangents", count, [Buffer(input.values), scale, shift, rectify].into_iter().chain(end))
    }

    /// Computes the gradient with respect to the input. `add` adds it to `total`; otherwise it overwrites `total`.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn back(
        self,
        device: &mut dyn Device,
        gradient: DeviceMemory,
        total: DeviceMemory,
        add: bool,
    ) -> Result<(), DeviceError> {
        let count = self.output.len();
        check_len("output gradient of tanh", gradient, count)?;
        check_len("input gradient of tanh", total, count)?;
        let arguments = [Buffer(gradient), Buffer(self.output), Buffer(total), Int(add.into()), int(count)?];
        launch_over(device, "tangents_gradient", count, arguments)
    }
}

/// A value's channels as a slice of the channels of a wider value: one input of a concatenation.
#[derive(Clone, Copy, Debug)]
pub struct ConcatPart {
    /// Stored channels of the value.
    pub stored: usize,
    /// Channels to copy; the rest of `stored` is padding.
    pub channels: usize,
    /// Channels of the wider value.
    pub wide: usize,
    /// First channel within the wider value.
    pub start: usize,
}

impl ConcatPart {
    fn extent_arguments(&self, narrow: DeviceMemory, wide: DeviceMemory) -> Result<[Argument; 4], DeviceError> {
        let ConcatPart { stored, channels, wide: all, start } = *self;
        let fits = stored > 0 && channels <= stored && start + channels <= all;
        if !fits || !narrow.len().is_multiple_of(stored) || narrow.len() / stored * all != wide.len() {
            return Err(DeviceError::InvalidArgument(format!(
                "channels do not match: {self:?} for {} and {} values",
                narrow.len(),
                wide.len()
            )));
        }
        int(wide.len())?;
        Ok([int(stored)?, int(channels)?, int(all)?, int(start)?])
    }

    /// Copies the channels into `output`. Its other channels keep their values.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, input: TensorView, output: DeviceMemory) -> Result<(), DeviceError> {
        let count = input.values.len();
        let numbers = self.extent_arguments(input.values, output)?;
        input.check("channels to concatenate", count, self.stored)?;
        let [scale, shift, rectify] = input.arguments();
        let start = [Buffer(input.values), scale, shift, rectify, Buffer(output), int(count)?];
        launch_over(device, "place_channels", count, start.into_iter().chain(numbers))
    }

    /// Computes the gradient with respect to the value. `add` adds it to `total`; otherwise it overwrites `total`.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn back(
        self,
        device: &mut dyn Device,
        gradient: DeviceMemory,
        total: DeviceMemory,
        add: bool,
    ) -> Result<(), DeviceError> {
        let numbers = self.extent_arguments(total, gradient)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(total.len())?];
        launch_over(device, "place_channels_gradient", total.len(), start.into_iter().chain(numbers))
    }
}

/// A table of vectors, one per token.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// Token numbers, in `f32`.
    pub tokens: DeviceMemory,
    /// Values per vector.
    pub stored: usize,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
}

impl Embedding {
    /// Length of the gradient's scratch memory for `places` token positions, in values.
    pub fn scratch(places: usize, stored: usize) -> usize {
        places * stored
    }

    /// Length of the links between equal tokens for `places` positions, in `int` values.
    pub fn links(places: usize) -> usize {
        2 * places
    }

    fn check(&self, what: &str, at_places: DeviceMemory, vectors: DeviceMemory) -> Result<(), DeviceError> {
        check_len(what, at_places, self.tokens.len() * self.stored)?;
        check_min_len("token vectors", vectors, self.vocabulary * self.stored)?;
        int(vectors.len())?;
        if self.stored == 0 {
            Err(DeviceError::InvalidArgument("an embedding requires vectors with at least one value".into()))
        } else {
            Ok(())
        }
    }

    /// Looks up the vectors. A number outside the vocabulary reads as NaN.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, vectors: DeviceMemory, output: DeviceMemory) -> Result<(), DeviceError> {
        self.check("embedded tokens", output, vectors)?;
        let count = output.len();
        let start = [Buffer(self.tokens), Buffer(vectors), Buffer(output), int(count)?];
        launch_over(device, "embed", count, start.into_iter().chain([int(self.stored)?, int(self.vocabulary)?]))
    }

    /// Computes the gradient of every vector; it is zero for tokens that do not occur. `links` and `scratch` have at least the lengths
    /// [`Embedding::links`] and [`Embedding::scratch`].
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn back(
        self,
        device: &mut dyn Device,
        gradient: DeviceMemory,
        vectors: DeviceMemory,
        [links, scratch]: [DeviceMemory; 2],
    ) -> Result<(), DeviceError> {
        self.check("gradient of embedded tokens", gradient, vectors)?;
        let (places, count) = (self.tokens.len(), gradient.len());
        check_min_len("links between equal tokens", links, Self::links(places))?;
        check_min_len("scratch memory of an embedding gradient", scratch, Self::scratch(places, self.stored))?;
        launch_over(device, "clear", vectors.len(), [Buffer(vectors), int(vectors.len())?])?;
        let [number, stored, chunk] = [int(places)?, int(self.stored)?, int(CHUNK)?];
        launch_over(device, "embed_links", places, [Buffer(self.tokens), Buffer(links), number, chunk])?;
        let start = [Buffer(self.tokens), Buffer(gradient), Buffer(scratch), int(count)?];
        launch_over(device, "embed_chunks", count, start.into_iter().chain([stored, number, chunk]))?;
        let start = [Buffer(self.tokens), Buffer(links), Buffer(scratch), Buffer(vectors), int(count)?];
        launch_over(device, "embed_gradient", count, start.into_iter().chain([stored, number, int(self.vocabulary)?]))
    }
}
