//! Memory that is had once and used for every step.

use std::ops::{Deref, DerefMut};

/// Values that lie together in a line of the cache.
const LINE: usize = 16;

/// Buffers that a thread has for itself.
pub(super) const SCRATCH: usize = 6;

/// Values that start with a line of the cache, so that no vector straddles two.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// So many zeroes.
    pub fn zeroes(length: usize) -> Self {
        let values = vec![0.0; length + LINE];
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Buffer { values, start, length }
    }

    /// The first `length` values, of which there may not have been so many before.
    pub fn first(&mut self, length: usize) -> &mut [f32] {
        if length > self.length {
            *self = Buffer::zeroes(length);
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

/// What a thread needs while it works on a part of a step. Nothing in it outlives the part.
#[derive(Debug, Default)]
pub(super) struct Scratch(pub(super) [Buffer; SCRATCH]);

impl Scratch {
    /// Places for so many values each, with anything in them.
    pub fn places<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        let mut buffers = self.0.iter_mut();
        lengths.map(|length| buffers.next().map_or(&mut [][..], |buffer| buffer.first(length)))
    }
}
