//! What both algorithms of a convolution share: their selection, their memory, and the copies around the products.

use crate::fused::affine::ValueView;
use crate::fused::program::Convolution;
use crate::fused::threads::Threads;
use plusminus_kernels::{BLOCK, ChannelMoments, PLACES, Pad};

/// From this number of input and output channels on, Winograd's algorithm saves more in products than its transforms cost: in the forward
/// pass, and in the backward pass, where two products share a transform.
const MANY: [usize; 2] = [32, 16];

impl Convolution {
    /// Kernel positions.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether Winograd's algorithm computes the forward pass, and the backward pass.
    pub(in crate::fused) fn uses_winograd(&self) -> [bool; 2] {
        let fits = self.kernel == [3, 3] && self.stride == 1 && self.from.stored.is_multiple_of(BLOCK);
        MANY.map(|many| fits && self.from.stored.min(self.to.stored) >= many)
    }

    /// The number of values of the weights as the products read them, and of their gradient as the products accumulate it.
    pub(super) fn packed_length(&self, winograd: bool) -> usize {
        if winograd { self.weight.len() / self.taps() * PLACES } else { self.weight.len() }
    }

    /// Parts of a backward pass. Each has its own gradient of the weights, so large weights mean fewer parts.
    pub(in crate::fused) fn backward_parts(&self) -> usize {
        match self.packed_length(self.uses_winograd()[1]) {
            0..=0x4_0000 => 8,
            0x4_0001..=0x10_0000 => 4,
            _ => 2,
        }
    }

    /// The lengths of the buffers that all threads share: the packed weights, and the gradients of every part.
    pub(in crate::fused) fn shared_lengths(&self) -> [usize; 2] {
        let [_, backward] = self.uses_winograd();
        [self.packed_length(backward).max(self.weight.len()), self.backward_parts() * self.packed_length(backward)]
    }

    /// Copies an input image, through its view, into a padded image with `columns` columns.
    pub(super) fn pad(&self, threads: &Threads, x: ValueView<'_>, sample: usize, padded: &mut [f32], columns: usize) {
        Pad {
            image: x.sample(sample, self.from.len()),
            extent: self.from.extent(),
            channels: self.from.stored,
            view: x.view,
            padded,
            columns,
            before: self.margin,
        }
        .run(threads.instructions);
    }

    /// Computes mean and squared deviations of an output image, unless `moments` is empty.
    pub(super) fn sample_moments(&self, threads: &Threads, image: &[f32], moments: &mut [f32], sample: usize) {
        if moments.is_empty() {
            return;
        }
        let channels = self.to.stored;
        let (mean, squares) = moments[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        ChannelMoments { image, mean, squares }.run(threads.instructions);
    }
}
