//! What memory an engine takes, told before there is one.
//!
//! Every length stands where the buffer is made, too; a test holds the two against each other for every network.

use super::convolution::{self, Axis, Convolution};
use super::linear::Linear;
use super::memory::SCRATCH;
use super::parameters::Order;
use super::program::{Program, Step};
use crate::{Plan, optimizer_values_per_weight};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::PLACES;
use std::num::NonZeroUsize;

/// Bytes that an engine holds once it has taken a step of so many `samples`; nothing where it cannot run the network.
pub(crate) fn memory(network: &Network, optimizer: &Optimizer, samples: usize, threads: NonZeroUsize) -> Option<usize> {
    let plan = Plan::of(network);
    let program = Program::new(network, &plan, Order::Panels).ok()?;
    // Parameters, their gradients, and what the optimiser remembers of them.
    let lists = 2 + optimizer_values_per_weight(optimizer);
    let classes = program.values[program.logits].shape.channels;
    let values = samples * (program.sample() + 2 * classes)
        + lists * program.parameters.len()
        + program.shared(samples).iter().sum::<usize>()
        + threads.get() * program.scratch(samples).iter().sum::<usize>()
        + plan.len();
    Some(values * size_of::<f32>())
}

impl Program {
    /// Values that every sample of a batch takes: what steps leave, gradients, moments, masks.
    fn sample(&self) -> usize {
        let masks = self.steps.iter().filter(|step| matches!(step, Step::Dropout { .. })).map(Step::output);
        let values = (0..self.values.len()).chain(masks).map(|value| self.values[value].shape.len());
        let partials = self.affines.iter().map(|affine| 2 * affine.channels);
        values.chain(partials).chain(self.slots.iter().copied()).sum()
    }

    /// Values that threads share during a step.
    fn shared(&self, samples: usize) -> [usize; 2] {
        largest(self.steps.iter().map(|step| match step {
            Step::Convolution(convolution) => convolution.shared(),
            Step::Linear { .. } => {
                let [packed, _] = self.linear(step).map_or([0, 0], |linear| linear.shared());
                [packed, samples * self.values[step.output()].shape.len()]
            }
            _ => [0, 0],
        }))
    }

    /// Values that each thread has for itself.
    fn scratch(&self, samples: usize) -> [usize; SCRATCH] {
        largest(self.steps.iter().map(|step| match step {
            Step::Convolution(convolution) => convolution.scratch(samples),
            // Going back every sample is in each part.
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
    /// Values that a thread has for itself on both ways.
    fn scratch(&self, samples: usize) -> [usize; SCRATCH] {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let [forward, backward] = [convolution::PARTS, self.parts()].map(|parts| {
            let blocks = self.tile_blocks(samples.div_ceil(parts));
            [inputs, outputs].map(|channels| PLACES * self.place(&blocks, channels))
        });
        let filters = self.filters();
        let reached = self.reach().iter().product::<usize>() * inputs;
        let padded = self.padded().iter().product::<usize>() * inputs;
        let spread = [0, 1].map(|axis| {
            let Axis { before, after, .. } = self.axis(axis);
            before + self.to.extent()[axis] + after
        });
        let forward = match filters[0] {
            true => filled([reached, forward[0], forward[1]]),
            false => filled([padded]),
        };
        let backward = match filters[1] {
            true => [reached, self.to.len(), backward[0], backward[1], backward[0], reached],
            false => filled([padded, spread.iter().product::<usize>() * outputs]),
        };
        largest([forward, backward].into_iter())
    }
}

/// Each place's largest length.
fn largest<const N: usize>(lengths: impl Iterator<Item = [usize; N]>) -> [usize; N] {
    lengths.fold([0; N], |most, next| std::array::from_fn(|place| most[place].max(next[place])))
}

/// So many places, and none of the rest.
fn filled<const N: usize>(lengths: [usize; N]) -> [usize; SCRATCH] {
    std::array::from_fn(|place| lengths.get(place).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::memory::Buffer;
    use crate::fused::{FusedEngine, State};
    use crate::testing::cross_entropy;
    use crate::{Engine, Weights};
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
        /// Bytes that it does hold.
        fn held(&self) -> usize {
            let FusedEngine { program: _, team, updater, weights, parameters, gradients, state } = self;
            let State { room: _, values, slots, affines: _, partials, masks, shared, logits, gradient } = state;
            let state = updater.state();
            let scratch = team.scratch.lock().unwrap();
            let buffers = [values, slots, partials, masks].into_iter().flatten().chain(shared);
            let buffers = buffers.chain([parameters, gradients]).chain(scratch.iter().flat_map(|scratch| &scratch.0));
            let lists = [logits.len(), gradient.len(), weights.values().len(), state.first.len(), state.second.len()];
            (buffers.map(|buffer: &Buffer| buffer.len()).sum::<usize>() + lists.iter().sum::<usize>())
                * size_of::<f32>()
        }
    }

    /// An engine that has taken a step and evaluated the same samples.
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
    fn an_engine_holds_what_was_told_beforehand() {
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
            let told = memory(&network, &optimizer, samples, threads(1)).unwrap();
            assert_eq!(used(&network, &optimizer, samples, threads(1)).held(), told, "{name}");
        }
    }

    #[test]
    fn several_threads_and_odd_batches_hold_no_more_than_was_told() {
        let network = Model::Resnet20 { shortcut: Downsample::Pad }.network(COLOUR, 10).unwrap();
        for (samples, number) in [(16, 3), (7, 2), (1, 1)] {
            let told = memory(&network, &SGD, samples, threads(number)).unwrap();
            let held = used(&network, &SGD, samples, threads(number)).held();
            assert!(held <= told, "{samples} samples, {number} threads: {held} of {told} bytes");
        }
    }

    #[test]
    fn larger_batches_more_threads_and_optimisers_that_remember_more_take_more() {
        let network = Model::Resnet18.network(GREY, 10).unwrap();
        let told =
            |optimizer: &Optimizer, samples, number| memory(&network, optimizer, samples, threads(number)).unwrap();
        let plain = Optimizer::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        assert!(told(&plain, 32, 1) < told(&SGD, 32, 1) && told(&SGD, 32, 1) < told(&ADAM, 32, 1));
        assert!(told(&SGD, 32, 1) < told(&SGD, 32, 2));
        assert!((1..40).all(|samples| told(&SGD, samples, 1) < told(&SGD, samples + 1, 1)));
    }
}
