//! What the backward pass of a convolution or linear layer reads, and where the gradient of its input goes.

use super::affine::ValueView;
use super::threads::{Threads, sample_chunks};
use plusminus_kernels::GradientSums;

/// What a part of a backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct BackwardInputs<'a> {
    /// The input.
    pub x: ValueView<'a>,
    /// The output.
    pub y: ValueView<'a>,
    /// The gradient with respect to the viewed output.
    pub gradient: &'a [f32],
}

/// Where the gradient with respect to the viewed input goes.
pub(super) struct GradientTarget<'a> {
    pub gradient: &'a mut [f32],
    /// Whether to add to the buffer instead of overwriting it.
    pub add: bool,
    /// For each sample, Σ g and Σ g · (x − mean) of every channel: requested if this step completes the gradient and the input's view has
    /// a scale and shift.
    pub sums: Option<&'a mut [f32]>,
}

impl GradientTarget<'_> {
    /// Splits the target of `samples` samples of `size` values each into chunks of `part` samples.
    pub fn chunks(&mut self, size: usize, samples: usize, part: usize) -> Vec<GradientTarget<'_>> {
        let sums: Vec<Option<&mut [f32]>> = match &mut self.sums {
            Some(sums) => {
                let each = sums.len() / samples.max(1);
                sample_chunks(sums, each, samples, part).into_iter().map(Some).collect()
            }
            None => (0..samples.div_ceil(part)).map(|_| None).collect(),
        };
        let gradients = sample_chunks(self.gradient, size, samples, part);
        let both = gradients.into_iter().zip(sums);
        both.map(|(gradient, sums)| GradientTarget { gradient, add: self.add, sums }).collect()
    }

    /// Computes the sums of a sample, if requested. Its gradient must be complete; `image` has its stored input.
    pub fn sum_sample(&mut self, threads: &Threads, x: ValueView<'_>, image: &[f32], sample: usize) {
        let Some(sums) = &mut self.sums else { return };
        let channels = x.mean.len();
        let (sum, product) = sums[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        let gradient = &self.gradient[image.len() * sample..][..image.len()];
        GradientSums { gradient, image, view: x.view, mean: x.mean, sum, product }.run(threads.instructions);
    }
}
