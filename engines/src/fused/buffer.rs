//! Buffers that are allocated once and reused in every step.

use std::ops::{Deref, DerefMut};

/// `f32` values per cache line.
const LINE: usize = 16;

/// Scratch buffers per thread.
pub(super) const SCRATCH: usize = 6;

/// A list of `f32` that starts at a cache line, so that no vector load straddles two lines.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let values = vec![0.0; length + LINE];
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Buffer { values, start, length }
    }

    /// The first `length` values. A buffer that is too short is replaced by one of zeros.
    pub fn first(&mut self, length: usize) -> &mut [f32] {
        if length > self.length {
            *self = Buffer::zeros(length);
        }
        &mut self[..length]
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.length]
    }
}

/// Scratch memory of one thread while it works on one part of a step. Its contents do not outlive the part.
#[derive(Debug, Default)]
pub(super) struct Scratch(pub(super) [Buffer; SCRATCH]);

impl Scratch {
    /// Slices of these lengths, with arbitrary contents.
    pub fn slices<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        let mut buffers = self.0.iter_mut();
        lengths.map(|length| buffers.next().map_or(&mut [][..], |buffer| buffer.first(length)))
    }
}
