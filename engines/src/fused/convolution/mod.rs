//! Convolutions: the forward pass, and the gradients of weights and input.
//!
//! A thread copies an image, padded and through its view, into scratch memory that stays in the cache. Then follow the products, by
//! `winograd` for 3×3 kernels with stride 1 over many channels, otherwise by `direct`. Then follow the statistics that the next step needs
//! of the output, while the output is still in the cache.

mod common;
mod direct;
mod winograd;

use super::affine::ValueView;
use super::buffer::Buffer;
use super::gradient_target::{BackwardInputs, GradientTarget};
use super::program::Convolution;
use super::threads::{StepContext, Threads, sample_chunks};
use plusminus_kernels::{Add, KernelGradient, KernelTransform};

/// Parts of a forward pass.
pub(super) const FORWARD_PARTS: usize = 16;

impl Convolution {
    /// y = x ∗ w. Also computes mean and squared deviations of every output image if `moments` is given.
    pub(super) fn forward(
        &self,
        StepContext { threads, samples, weights }: StepContext<'_>,
        x: ValueView<'_>,
        y: &mut [f32],
        moments: Option<&mut [f32]>,
        packed: &mut Buffer,
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(FORWARD_PARTS);
        let [winograd, _] = self.uses_winograd();
        let weights = if winograd {
            let transform = packed.first(self.packed_length(true));
            KernelTransform { kernels: weights, inputs: self.from.stored, transform, transposed: false }
                .run(threads.instructions);
            &*transform
        } else {
            weights
        };
        let mut none = [];
        let (moments, each) = moments.map_or((&mut none[..], 0), |moments| (moments, 2 * self.to.stored));
        let parts = sample_chunks(y, self.to.len(), samples, part).into_iter();
        let parts = parts.zip(sample_chunks(moments, each, samples, part)).enumerate();
        threads.for_each(parts.collect(), |(i, (y, moments)), scratch| {
            let x = x.samples(i * part, self.from.len());
            if winograd {
                self.forward_winograd(threads, weights, x, y, moments, scratch);
            } else {
                self.forward_direct(threads, weights, x, y, moments, scratch);
            }
        });
    }

    /// Writes the gradient of the weights to their range of `weight_gradient`, and that of the input to `target`.
    pub(super) fn backward(
        &self,
        StepContext { threads, samples, weights }: StepContext<'_>,
        inputs: BackwardInputs<'_>,
        weight_gradient: &mut [f32],
        mut target: Option<GradientTarget<'_>>,
        [packed, sums]: [&mut Buffer; 2],
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(self.backward_parts());
        let parts = samples.div_ceil(part);
        let [_, winograd] = self.uses_winograd();
        let size = self.packed_length(winograd);
        let weights = if target.is_some() { self.pack_transposed(threads, weights, packed) } else { &[] };
        let sums = sums.first(parts * size);
        sums.fill(0.0);
        let targets: Vec<Option<GradientTarget<'_>>> = match &mut target {
            Some(target) => target.chunks(self.from.len(), samples, part).into_iter().map(Some).collect(),
            None => (0..parts).map(|_| None).collect(),
        };
        let work = sums.chunks_mut(size).zip(targets).enumerate().collect();
        threads.for_each(work, |(i, (sums, target)), scratch| {
            let first = i * part;
            let count = part.min(samples - first);
            let inputs = BackwardInputs {
                x: inputs.x.samples(first, self.from.len()),
                y: inputs.y.samples(first, self.to.len()),
                gradient: &inputs.gradient[first * self.to.len()..][..count * self.to.len()],
            };
            if winograd {
                self.backward_winograd(threads, weights, inputs, sums, target, scratch);
            } else {
                self.backward_direct(threads, weights, inputs, sums, target, scratch);
            }
        });
        // Adds the parts in their order, so that the sum does not depend on the threads.
        let (total, others) = sums.split_at_mut(size);
        for values in others.chunks(size) {
            Add { values, total: &mut *total }.run(threads.instructions);
        }
        let weight_gradient = &mut weight_gradient[self.weight.clone()];
        if winograd {
            KernelGradient { transform: total, inputs: self.from.stored, kernels: weight_gradient }
                .run(threads.instructions);
        } else {
            weight_gradient.copy_from_slice(total);
        }
    }

    /// Packs the weights for the gradient of the input.
    fn pack_transposed<'a>(&self, threads: &Threads, weights: &[f32], packed: &'a mut Buffer) -> &'a [f32] {
        let [_, winograd] = self.uses_winograd();
        let packed = packed.first(self.packed_length(winograd));
        if winograd {
            let inputs = self.from.stored;
            KernelTransform { kernels: weights, inputs, transform: &mut *packed, transposed: true }
                .run(threads.instructions);
        } else {
            self.transpose_direct(weights, packed);
        }
        packed
    }
}
