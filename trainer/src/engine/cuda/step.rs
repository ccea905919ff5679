//! A step, in pieces that are recorded: the whole of it where the device knows the loss, or its two halves on either side of the host's.

use super::forward::Scene;
use super::loss::SLOTS;
use super::orders::{Places, skip, stream};
use super::update::Rates;
use super::{CudaEngine, update};
use crate::data::Moves;
use crate::engine::fused::program::Step;
use crate::engine::{Batch, EngineError, Inputs, LossOf, LossOfLogits};
use plusminus_cuda::ops::{ChannelsLast, DropoutMask, STREAM_LEN};
use plusminus_cuda::{Device, DeviceError, HostValues, Recording};
use rand_chacha::ChaCha8Rng;

/// Where a piece takes its inputs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From inputs that the host has copied.
    Made,
    /// From the data on the device.
    Held {
        /// Whether samples are moved.
        moved: bool,
    },
}

/// What is recorded as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// From the inputs to the logits.
    There(Source),
    /// From the gradient of the logits to new weights.
    Back,
    /// Both, with the loss between them.
    Whole(Source),
    /// The logits of samples as they are, without dropout.
    Evaluation(Source),
}

/// So many recordings may fail before none is tried any more.
pub(super) const RECORDED_IN_VAIN: usize = 3;

/// What has been recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// By piece and number of samples.
    pub pieces: Vec<(Piece, usize, Recording)>,
    /// What has been done once, launch by launch.
    done: Vec<(Piece, usize)>,
    /// How often a recording has failed.
    pub failures: usize,
}

impl Recorded {
    /// Nothing, now that memory has moved.
    pub fn anew(&self) -> Self {
        Recorded { failures: self.failures, ..Recorded::default() }
    }
}

/// Samples as kernels count them. A number that is none of theirs is no sample to them.
fn numbers(samples: &[usize]) -> impl Iterator<Item = i32> + '_ {
    samples.iter().map(|sample| i32::try_from(*sample).unwrap_or(-1))
}

impl CudaEngine {
    /// Does a piece, as it is recorded if it is.
    pub(super) fn piece(&mut self, piece: Piece, samples: usize) -> Result<(), EngineError> {
        let found = self.recorded.pieces.iter().find(|(p, s, _)| (*p, *s) == (piece, samples));
        if let Some((_, _, recording)) = found {
            return Ok(self.device.play(*recording)?);
        }
        // The first time libraries choose their ways and take memory, which is no part of a recording.
        let again = self.recorded.done.contains(&(piece, samples));
        if again && self.recorded.failures < RECORDED_IN_VAIN {
            match self.record(piece, samples) {
                Ok(recording) => {
                    self.recorded.pieces.push((piece, samples, recording));
                    return Ok(self.device.play(recording)?);
                }
                // What another thread does with the GPU may break a recording, and need not do so again.
                Err(error) => {
                    self.recorded.failures += 1;
                    if self.recorded.failures == RECORDED_IN_VAIN {
                        tracing::warn!(
                            "{}: steps are launched one by one, for they could not be recorded: {error}",
                            self.device.name()
                        );
                    }
                }
            }
        }
        self.launch(piece, samples)?;
        if !again {
            self.recorded.done.push((piece, samples));
        }
        Ok(())
    }

    fn record(&mut self, piece: Piece, samples: usize) -> Result<Recording, DeviceError> {
        self.device.record()?;
        let launched = self.launch(piece, samples);
        let recorded = self.device.recorded();
        launched.and(recorded)
    }

    fn launch(&mut self, piece: Piece, samples: usize) -> Result<(), DeviceError> {
        match piece {
            Piece::There(source) => self.there(source, samples),
            Piece::Back => {
                self.backward(samples)?;
                self.update()
            }
            Piece::Whole(source) => {
                self.there(source, samples)?;
                self.lose(samples)?;
                self.backward(samples)?;
                self.update()
            }
            Piece::Evaluation(source) => {
                self.enter(source, samples)?;
                self.forward(samples, false)
            }
        }
    }

    fn there(&mut self, source: Source, samples: usize) -> Result<(), DeviceError> {
        self.enter(source, samples)?;
        self.mask(samples)?;
        self.forward(samples, true)
    }

    /// Has the inputs stand where the first step reads them, channels of a pixel together.
    fn enter(&mut self, source: Source, samples: usize) -> Result<(), DeviceError> {
        let holding = self.holding.take();
        let entered = self.scene(samples).and_then(|(scene, device)| match (source, &holding) {
            (Source::Made, _) => scene.arrange(device),
            (Source::Held { moved }, Some(holding)) => {
                let orders = Places(scene.room.orders);
                let moves = moved.then(|| orders.moves(samples));
                holding.gather(scene.shape(0), orders.samples(samples), moves, scene.values(0), device)
            }
            (Source::Held { .. }, None) => Err(DeviceError::InvalidArgument("the device holds no data".into())),
        });
        self.holding = holding;
        entered
    }

    /// Draws dropout's masks.
    fn mask(&mut self, samples: usize) -> Result<(), DeviceError> {
        let (scene, device) = self.scene(samples)?;
        let mut before = 0;
        for (step, mask) in scene.program.steps.iter().zip(&scene.room.masks) {
            let (Step::Dropout { share, output, .. }, Some(mask)) = (step, mask) else { continue };
            let shape = scene.shape(*output);
            let (channels, pixels, stored) = (shape.channels, shape.pixels(), shape.stored);
            let stream = Places(scene.room.orders).dropout();
            let mask = mask.part(0, samples * shape.len());
            DropoutMask { stream, before, mask, share: *share, channels, pixels, stored }.run(device)?;
            before += DropoutMask::draws(samples, channels, pixels);
        }
        Ok(())
    }

    /// Numbers that a step's masks take.
    fn draws(&self, samples: usize) -> usize {
        let masks = self.program.steps.iter().filter(|step| matches!(step, Step::Dropout { .. }));
        let shapes = masks.map(|step| self.program.values[step.output()].shape);
        shapes.map(|shape| DropoutMask::draws(samples, shape.channels, shape.pixels())).sum()
    }

    /// The known loss's value and gradient.
    fn lose(&mut self, samples: usize) -> Result<(), DeviceError> {
        let known = self.known.take();
        let lost = self.scene(samples).and_then(|(scene, device)| {
            let known =
                known.as_ref().ok_or_else(|| DeviceError::InvalidArgument("the device knows no loss".into()))?;
            let count = samples * scene.shape(scene.program.logits).channels;
            let both = [scene.room.logits, scene.room.gradient].map(|memory| memory.part(0, count));
            known.run(both, samples, Places(scene.room.orders), device)
        });
        self.known = known;
        lost
    }

    /// Says to the device what a step is of and draws from, and at which rates it goes.
    fn order(
        &mut self,
        samples: &[usize],
        moves: &[Moves],
        refresh: bool,
        dropout: &ChaCha8Rng,
        latent: Option<&ChaCha8Rng>,
    ) -> Result<(), EngineError> {
        let latent = latent.map_or(Ok([0; STREAM_LEN]), stream)?;
        self.orders.begin(self.waiting, refresh, [stream(dropout)?, latent]);
        self.orders.samples(numbers(samples), moves);
        let Some(room) = &self.room else { return Ok(()) };
        let numbers = self.orders.numbers();
        Ok(self.device.write(HostValues::Ints(numbers), room.orders.part(0, numbers.len()))?)
    }

    /// Says to the device which samples an evaluation is of.
    pub(super) fn name_samples(&mut self, samples: &[usize]) -> Result<(), EngineError> {
        let numbers: Vec<i32> = numbers(samples).collect();
        let Some(room) = &self.room else { return Ok(()) };
        Ok(self.device.write(HostValues::Ints(&numbers), Places(room.orders).samples(numbers.len()))?)
    }

    /// Copies the rates of a step to the device, where they are others than those there.
    fn rate(&mut self, rates: Rates) -> Result<(), EngineError> {
        if self.rates != Some(rates) {
            self.device.upload(&rates, self.held.rates)?;
            self.rates = Some(rates);
        }
        Ok(())
    }

    /// Takes in what a batch of so many samples has for inputs, and has room for it: where they come from.
    fn take(&mut self, inputs: Inputs<'_>, samples: usize) -> Result<Source, EngineError> {
        match inputs {
            Inputs::Made(inputs) => {
                let found = self.load(inputs)?;
                if found != samples {
                    return Err(EngineError::new(format!("inputs of {found} samples for a batch of {samples}")));
                }
                Ok(Source::Made)
            }
            Inputs::Held(moves) => {
                if !moves.is_empty() && moves.len() != samples {
                    return Err(EngineError::new(format!("{} moves for a batch of {samples}", moves.len())));
                }
                self.make_room(samples)?;
                Ok(Source::Held { moved: !moves.is_empty() })
            }
        }
    }

    /// A step down the gradient of a loss: the host's, whose value comes back, or the one that is known.
    pub(super) fn step_of(
        &mut self,
        batch: Batch<'_>,
        loss: LossOf<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError> {
        let Batch { samples, inputs } = batch;
        let count = samples.len();
        let source = self.take(inputs, count)?;
        let moves = if let Inputs::Held(moves) = inputs { moves } else { &[] };
        self.rate(update::rates(&self.optimizer, self.steps + 1, lr))?;
        let value = match loss {
            LossOf::Host(loss) => {
                self.order(samples, moves, false, dropout, None)?;
                self.piece(Piece::There(source), count)?;
                let value = self.ask(loss, count)?;
                self.piece(Piece::Back, count)?;
                Some(value)
            }
            LossOf::Device(latent) => {
                if self.waiting == SLOTS {
                    self.hear()?;
                }
                let known = self.known.as_mut().ok_or_else(|| EngineError::new("the device knows no loss"))?;
                let (refresh, draws) = (known.refreshes(), known.draws());
                // Recordings know where the old memory lies, also where there is none for more.
                let stayed = known.make_room(count, &mut *self.device);
                if !matches!(stayed, Ok(true)) {
                    self.forget();
                }
                stayed?;
                self.order(samples, moves, refresh, dropout, draws.then_some(&*latent))?;
                self.piece(Piece::Whole(source), count)?;
                self.waiting += 1;
                self.known.iter_mut().for_each(|known| known.steps += 1);
                if draws {
                    skip(latent, count);
                }
                None
            }
        };
        skip(dropout, self.draws(count));
        self.steps += 1;
        Ok(value)
    }

    /// Has the host's loss make a gradient of the logits.
    fn ask(&mut self, loss: &mut LossOfLogits<'_>, samples: usize) -> Result<f64, EngineError> {
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        self.read_logits(samples, &mut logits)?;
        self.gradient.resize(logits.len(), 0.0);
        let value = loss(&logits, &mut self.gradient);
        self.logits = logits;
        if let Some(room) = &self.room {
            self.device.upload(&self.gradient, room.gradient.part(0, self.gradient.len()))?;
        }
        Ok(value)
    }

    /// Lets all recordings go, now that memory moves.
    pub(super) fn forget(&mut self) {
        self.device.forget();
        self.recorded = self.recorded.anew();
    }

    /// Loss, logits and every weight's gradient; the running statistics move.
    #[cfg(test)]
    pub(in crate::engine) fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<crate::engine::Gradients, EngineError> {
        let samples = self.load(inputs)?;
        self.order(&[], &[], false, dropout, None)?;
        self.there(Source::Made, samples)?;
        skip(dropout, self.draws(samples));
        let loss = self.ask(loss, samples)?;
        self.backward(samples)?;
        let (mut stored, mut weights) =
            (vec![0.0; self.held.gradients.len()], vec![0.0; self.weights.plan().trained()]);
        self.device.download(self.held.gradients, &mut stored)?;
        self.program.parameters.restore(&stored, &mut weights);
        Ok(crate::engine::Gradients { loss, logits: self.logits.clone(), weights })
    }
}

impl Scene<'_> {
    /// Inputs as they came, channels × height × width, with the channels of a pixel together.
    fn arrange(&self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (shape, to) = (self.shape(0), self.values(0));
        let from = self.room.inputs.part(0, to.len());
        ChannelsLast { from, to, channels: shape.stored, pixels: shape.pixels() }.run(device)
    }
}
