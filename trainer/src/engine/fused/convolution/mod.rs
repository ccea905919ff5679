//! Convolutions: forward, and the gradients with respect to weights and input.
//!
//! An image is copied with its border, as its view reads it, into memory of the thread that stays in the cache; then come the products,
//! for 3×3 kernels with step 1 over many channels by Winograd's filtering, for others straight from their definition; then what the
//! next step will ask of what came out, while it is there.

mod direct;
mod filtered;

pub(super) use direct::Axis;

use super::affine::Seen;
use super::memory::Buffer;
use super::program::{Id, Input, Shape};
use super::team::{Pass, Team, pieces};
use plusminus_kernels::{Add, BLOCK, ChannelMoments, GradientSums, KernelGradient, KernelTransform, PLACES, Pad};
use std::ops::Range;

/// From so many channels in and out on, the transforms of Winograd's filtering cost less than the products that they spare: on the way
/// forward, and on the way back, where two products share a transform.
const MANY: [usize; 2] = [32, 16];

/// Parts of a forward pass.
pub(super) const PARTS: usize = 16;

/// A convolution of the program.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Convolution {
    pub input: Input,
    pub output: Id,
    pub weight: Range<usize>,
    pub from: Shape,
    pub to: Shape,
    pub kernel: [usize; 2],
    pub stride: usize,
    pub margin: [usize; 2],
}

/// What a part of a backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    /// The input.
    pub x: Seen<'a>,
    /// The output.
    pub y: Seen<'a>,
    /// The gradient with respect to what readers see of the output.
    pub gradient: &'a [f32],
}

/// Where the gradient with respect to the input goes.
pub(super) struct Target<'a> {
    /// Its buffer.
    pub gradient: &'a mut [f32],
    /// Whether it is added to what is there.
    pub add: bool,
    /// Where the sums that its maker wants go, if it is complete and its maker wants any: two for each channel and sample.
    pub sums: Option<&'a mut [f32]>,
}

impl Target<'_> {
    /// The parts of it for so many samples each.
    pub fn pieces(&mut self, sample: usize, samples: usize, part: usize) -> Vec<Target<'_>> {
        let sums: Vec<Option<&mut [f32]>> = match &mut self.sums {
            Some(sums) => {
                let each = sums.len() / samples.max(1);
                pieces(sums, each, samples, part).into_iter().map(Some).collect()
            }
            None => (0..samples.div_ceil(part)).map(|_| None).collect(),
        };
        let gradients = pieces(self.gradient, sample, samples, part);
        let both = gradients.into_iter().zip(sums);
        both.map(|(gradient, sums)| Target { gradient, add: self.add, sums }).collect()
    }

    /// Sums up sample number `sample`, whose gradient now stands, if that is asked for.
    pub fn complete(&mut self, team: &Team, x: Seen<'_>, image: &[f32], sample: usize) {
        let Some(sums) = &mut self.sums else { return };
        let channels = x.mean.len();
        let (sum, product) = sums[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        let gradient = &self.gradient[image.len() * sample..][..image.len()];
        GradientSums { gradient, image, view: x.view, mean: x.mean, sum, product }.run(team.instructions);
    }
}

impl Convolution {
    pub(in crate::engine::fused) fn new(
        (input, from): (Input, Shape),
        (output, to): (Id, Shape),
        (kernel, stride, margin): ([usize; 2], usize, [usize; 2]),
        weight: Range<usize>,
    ) -> Self {
        Convolution { input, output, weight, from, to, kernel, stride, margin }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether it is computed by Winograd's filtering, on the way forward and on the way back.
    pub(in crate::engine::fused) fn filters(&self) -> [bool; 2] {
        let fits = self.kernel == [3, 3] && self.stride == 1 && self.from.stored.is_multiple_of(BLOCK);
        MANY.map(|many| fits && self.from.stored.min(self.to.stored) >= many)
    }

    /// Weights as the products take them, and sums that their gradient takes while it is added up.
    fn sums(&self, filters: bool) -> usize {
        if filters { self.weight.len() / self.taps() * PLACES } else { self.weight.len() }
    }

    /// Parts of a backward pass, each with sums of its own: fewer where these are large.
    pub(in crate::engine::fused) fn parts(&self) -> usize {
        match self.sums(self.filters()[1]) {
            0..=0x4_0000 => 8,
            0x4_0001..=0x10_0000 => 4,
            _ => 2,
        }
    }

    /// Values that all threads share in a step: packed weights, and the sums of every part.
    pub(in crate::engine::fused) fn shared(&self) -> [usize; 2] {
        let [_, back] = self.filters();
        [self.sums(back).max(self.weight.len()), self.parts() * self.sums(back)]
    }

    /// y = x ∗ w, and mean and squares of every output image where `moments` asks for them.
    pub(in crate::engine::fused) fn forward(
        &self,
        Pass { team, samples, weights }: Pass<'_>,
        x: Seen<'_>,
        y: &mut [f32],
        moments: Option<&mut [f32]>,
        packed: &mut Buffer,
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(PARTS);
        let [filters, _] = self.filters();
        let weights = if filters {
            let transform = packed.first(self.sums(true));
            KernelTransform { kernels: weights, inputs: self.from.stored, transform, transposed: false }
                .run(team.instructions);
            &*transform
        } else {
            weights
        };
        let mut none = [];
        let (moments, each) = moments.map_or((&mut none[..], 0), |moments| (moments, 2 * self.to.stored));
        let parts = pieces(y, self.to.len(), samples, part).into_iter();
        let parts = parts.zip(pieces(moments, each, samples, part)).enumerate();
        team.each(parts.collect(), |(i, (y, moments)), scratch| {
            let x = x.samples(i * part, self.from.len());
            if filters {
                self.forward_filtered(team, weights, x, y, moments, scratch);
            } else {
                self.forward_direct(team, weights, x, y, moments, scratch);
            }
        });
    }

    /// The gradients of a forward pass: `weight_gradient` is written.
    pub(in crate::engine::fused) fn backward(
        &self,
        Pass { team, samples, weights }: Pass<'_>,
        backward: Backward<'_>,
        weight_gradient: &mut [f32],
        mut target: Option<Target<'_>>,
        [packed, sums]: [&mut Buffer; 2],
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(self.parts());
        let parts = samples.div_ceil(part);
        let [_, filters] = self.filters();
        let size = self.sums(filters);
        let weights = if target.is_some() { self.pack_transposed(team, weights, packed) } else { &[] };
        let sums = sums.first(parts * size);
        sums.fill(0.0);
        let targets: Vec<Option<Target<'_>>> = match &mut target {
            Some(target) => target.pieces(self.from.len(), samples, part).into_iter().map(Some).collect(),
            None => (0..parts).map(|_| None).collect(),
        };
        let work = sums.chunks_mut(size).zip(targets).enumerate().collect();
        team.each(work, |(i, (sums, target)), scratch| {
            let first = i * part;
            let count = part.min(samples - first);
            let backward = Backward {
                x: backward.x.samples(first, self.from.len()),
                y: backward.y.samples(first, self.to.len()),
                gradient: &backward.gradient[first * self.to.len()..][..count * self.to.len()],
            };
            if filters {
                self.backward_filtered(team, weights, backward, sums, target, scratch);
            } else {
                self.backward_direct(team, weights, backward, sums, target, scratch);
            }
        });
        let (total, others) = sums.split_at_mut(size);
        for values in others.chunks(size) {
            Add { values, total: &mut *total }.run(team.instructions);
        }
        let weight_gradient = &mut weight_gradient[self.weight.clone()];
        if filters {
            KernelGradient { transform: total, inputs: self.from.stored, kernels: weight_gradient }
                .run(team.instructions);
        } else {
            weight_gradient.copy_from_slice(total);
        }
    }

    /// Copies an input image, as it is read, with its border into a larger one of so many columns.
    fn pad(&self, team: &Team, x: Seen<'_>, sample: usize, padded: &mut [f32], columns: usize) {
        Pad {
            image: x.sample(sample, self.from.len()),
            extent: self.from.extent(),
            channels: self.from.stored,
            view: x.view,
            padded,
            columns,
            before: self.margin,
        }
        .run(team.instructions);
    }

    /// Moments of an output image.
    fn measure(&self, team: &Team, image: &[f32], moments: &mut [f32], sample: usize) {
        if moments.is_empty() {
            return;
        }
        let channels = self.to.stored;
        let (mean, squares) = moments[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        ChannelMoments { image, mean, squares }.run(team.instructions);
    }

    /// The weights that the gradient with respect to the input is made with.
    fn pack_transposed<'a>(&self, team: &Team, weights: &[f32], packed: &'a mut Buffer) -> &'a [f32] {
        let [_, filters] = self.filters();
        let packed = packed.first(self.sums(filters));
        if filters {
            let inputs = self.from.stored;
            KernelTransform { kernels: weights, inputs, transform: &mut *packed, transposed: true }
                .run(team.instructions);
        } else {
            self.turn(weights, packed);
        }
        packed
    }
}
