//! The host memory that an engine occupies, computed before the engine exists.
//!
//! Each length repeats one where a buffer is allocated. A test compares the two for every network.

use super::buffer::SCRATCH;
use super::convolution::FORWARD_PARTS;
use super::linear::Linear;
use super::parameters::WeightOrder;
use super::program::{Convolution, Program, Step, compile};
use crate::optimizer::optimizer_values_per_weight;
use crate::weights::Plan;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::PLACES;
use std::num::NonZeroUsize;

/// Bytes that an engine occupies after a step of `samples` samples; `None` if it does not support the network.
pub(crate) fn memory(network: &Network, optimizer: &Optimizer, samples: usize, threads: NonZeroUsize) -> Option<usize> {
    let plan = Plan::of(network);
    let program = compile(network, &plan, WeightOrder::Panels).ok()?;
    // Parameters, their gradients, and the optimiser's state.
    let lists = 2 + optimizer_values_per_weight(optimizer);
    let classes = program.values[program.logits].shape.channels;
    let values = samples * (program.values_per_sample() + 2 * classes)
        + lists * program.parameters.len()
        + program.shared_lengths(samples).iter().sum::<usize>()
        + threads.get() * program.scratch_lengths(samples).iter().sum::<usize>()
        + plan.len();
    Some(values * size_of::<f32>())
}

impl Program {
    /// Values per sample of a batch: outputs of steps, gradients, sums, masks.
    fn values_per_sample(&self) -> usize {
        let masks = self.steps.iter().filter(|step| matches!(step, Step::Dropout { .. })).map(Step::output);
        let values = (0..self.values.len()).chain(masks).map(|value| self.values[value].shape.len());
        let partials = self.affines.iter().map(|affine| 2 * affine.channels);
        values.chain(partials).chain(self.gradient_buffers.iter().copied()).sum()
    }

    /// The lengths of the buffers that threads share during a step.
    fn shared_lengths(&self, samples: usize) -> [usize; 2] {
        largest(self.steps.iter().map(|step| match step {
            Step::Convolution(convolution) => convolution.shared_lengths(),
            Step::Linear { .. } => {
                let [packed, _] = self.linear(step).map_or([0, 0], |linear| linear.shared_lengths());
                [packed, samples * self.values[step.output()].shape.len()]
            }
            _ => [0, 0],
        }))
    }

    /// The lengths of each thread's scratch buffers.
    fn scratch_lengths(&self, samples: usize) -> [usize; SCRATCH] {
        largest(self.steps.iter().map(|step| match step {
            Step::Convolution(convolution) => convolution.scratch_lengths(samples),
            // In the backward pass every part reads all samples.
            _ => self.linear(step).map_or([0; SCRATCH], |linear| {
                let piece = linear.pieces().iter().map(ExactSizeIterator::len).max().unwrap_or(0);
                filled([samples * piece])
            }),
        }))
    }

    fn linear<'a>(&self, step: &'a Step) -> Option<Linear<'a>> {
        let Step::Linear { input, output, weight } = step else { return None };
        Some(Linear { from: self.values[input.value].shape, outputs: self.values[*output].shape.stored, weight })
    }
}

impl Convolution {
    /// The lengths of a thread's scratch buffers, for both passes.
    fn scratch_lengths(&self, samples: usize) -> [usize; SCRATCH] {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let [forward, backward] = [FORWARD_PARTS, self.backward_parts()].map(|parts| {
            let blocks = self.tile_blocks(samples.div_ceil(parts));
            [inputs, outputs].map(|channels| PLACES * self.place_stride(&blocks, channels))
        });
        let winograd = self.uses_winograd();
        let extended = self.winograd_extent().iter().product::<usize>() * inputs;
        let padded = self.padded().iter().product::<usize>() * inputs;
        let spread = [0, 1].map(|axis| {
            let axis_gradient = self.axis_gradient(axis);
            axis_gradient.before + self.to.extent()[axis] + axis_gradient.after
        });
        let forward = match winograd[0] {
            true => filled([extended, forward[0], forward[1]]),
            false => filled([padded]),
        };
        let backward = match winograd[1] {
            true => [extended, self.to.len(), backward[0], backward[1], backward[0], extended],
            false => filled([padded, spread.iter().product::<usize>() * outputs]),
        };
        largest([forward, backward].into_iter())
    }
}

/// The largest length of each buffer.
fn largest<const N: usize>(lengths: impl Iterator<Item = [usize; N]>) -> [usize; N] {
    lengths.fold([0; N], |most, next| std::array::from_fn(|i| most[i].max(next[i])))
}

/// Pads a list of lengths with zeros.
fn filled<const N: usize>(lengths: [usize; N]) -> [usize; SCRATCH] {
    std::array::from_fn(|i| lengths.get(i).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::fused::buffer::Buffer;
    use crate::fused::engine::FusedEngine;
    use crate::fused::state::BatchState;
    use crate::testing::cross_entropy;
    use crate::weights::Weights;
    use plusminus_core::methods::dataset::ImageShape;
    use plusminus_core::methods::networks::{Downsample, Model, word_cnn};
    use plusminus_core::random::{Stream, Streams};
    use plusminus_kernels::Instructions;
    use std::sync::Arc;

    const GREY: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
    const COLOUR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
    const SGD: Optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.0, nesterov: false };
    const ADAM: Optimizer = Optimizer::Adam { lr: 0.05, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 };

    fn threads(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    impl FusedEngine {
        /// Bytes in its buffers.
        fn occupied(&self) -> usize {
            let FusedEngine { program: _, threads, updater, weights, parameters, gradients, state } = self;
            let BatchState {
                capacity: _,
                values,
                gradients: of_values,
                affines: _,
                sample_sums,
                masks,
                shared,
                logits,
                logits_gradient,
            } = state;
            let state = updater.state();
            let scratch = threads.scratch.lock().unwrap();
            let buffers = [values, of_values, sample_sums, masks].into_iter().flatten().chain(shared);
            let buffers = buffers.chain([parameters, gradients]).chain(scratch.iter().flat_map(|scratch| &scratch.0));
            let lists =
                [logits.len(), logits_gradient.len(), weights.values().len(), state.first.len(), state.second.len()];
            (buffers.map(|buffer: &Buffer| buffer.len()).sum::<usize>() + lists.iter().sum::<usize>())
                * size_of::<f32>()
        }
    }

    /// An engine after a step and an evaluation of the same samples.
    fn used(network: &Network, optimizer: &Optimizer, samples: usize, threads: NonZeroUsize) -> FusedEngine {
        let (streams, best) = (Streams::new(1, 1), Instructions::best());
        let weights: Weights = Arc::new(Plan::of(network)).initial(&mut streams.generator(Stream::Weights, 0));
        let engine = FusedEngine::new(network, weights, optimizer.clone(), threads, best);
        let mut engine = engine.unwrap().unwrap();
        let (inputs, labels) = (vec![1.0; samples * network.input.len()], vec![1; samples]);
        engine
            .train_step(&inputs, &mut cross_entropy(&labels), 0.1, &mut streams.generator(Stream::Dropout, 0))
            .unwrap();
        engine.logits(&inputs, &mut Vec::new()).unwrap();
        engine
    }

    #[test]
    fn the_estimate_equals_the_memory_of_an_engine() {
        let resnet20 = |shortcut| Model::Resnet20 { shortcut };
        let cases = [
            ("cnn", Model::Cnn { dropout: 0.5 }, GREY, 32),
            ("resnet20", resnet20(Downsample::Pad), COLOUR, 16),
            ("resnet20 with projections", resnet20(Downsample::Projection), COLOUR, 16),
            ("resnet18", Model::Resnet18, GREY, 16),
            ("cnn8", Model::Cnn8, COLOUR, 16),
            ("resnet50", Model::Resnet50, COLOUR, 8),
            ("vgg16-bn", Model::Vgg16Bn, COLOUR, 16),
        ];
        let models = cases.map(|(name, model, shape, samples)| (name, model.network(shape, 10).unwrap(), samples));
        let words = ("wordcnn", word_cnn(2_000, 30, 2, 0.5).unwrap(), 16);
        for (name, network, samples) in models.into_iter().chain([words]) {
            let optimizer = if samples == 32 { ADAM } else { SGD };
            let estimate = memory(&network, &optimizer, samples, threads(1)).unwrap();
            assert_eq!(used(&network, &optimizer, samples, threads(1)).occupied(), estimate, "{name}");
        }
    }

    #[test]
    fn the_estimate_bounds_the_memory_of_several_threads_and_odd_batches() {
        let network = Model::Resnet20 { shortcut: Downsample::Pad }.network(COLOUR, 10).unwrap();
        for (samples, number) in [(16, 3), (7, 2), (1, 1)] {
            let estimate = memory(&network, &SGD, samples, threads(number)).unwrap();
            let occupied = used(&network, &SGD, samples, threads(number)).occupied();
            assert!(occupied <= estimate, "{samples} samples, {number} threads: {occupied} of {estimate} bytes");
        }
    }

    #[test]
    fn the_estimate_grows_with_batch_threads_and_optimiser_state() {
        let network = Model::Resnet18.network(GREY, 10).unwrap();
        let estimate =
            |optimizer: &Optimizer, samples, number| memory(&network, optimizer, samples, threads(number)).unwrap();
        let plain = Optimizer::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        assert!(estimate(&plain, 32, 1) < estimate(&SGD, 32, 1) && estimate(&SGD, 32, 1) < estimate(&ADAM, 32, 1));
        assert!(estimate(&SGD, 32, 1) < estimate(&SGD, 32, 2));
        assert!((1..40).all(|samples| estimate(&SGD, samples, 1) < estimate(&SGD, samples + 1, 1)));
    }
}
