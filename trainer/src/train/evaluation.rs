//! What the network makes of samples that it is not trained on at the moment.

use super::diagnose::Logits;
use super::{Run, StopCheck, failed, user_error};
use crate::data::{InputPipeline, SampleSet, ValidationSamples, prefetch};
use plusminus_core::logits::largest;
use plusminus_core::methods::noise::NO_CLASS;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Failure;
use plusminus_engines::Engine;

/// Samples that are evaluated together: a constant, for with their number candle's logits change in their last digits.
pub(crate) const EVALUATION_BATCH: usize = 250;

/// The samples of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subset {
    /// Those that are trained on, as they are, without augmentation.
    Train,
    /// Those that are held out.
    Validation,
    /// The test file.
    Test,
}

impl Run<'_> {
    /// Measures the network as it stands, on training images as they are, on validation and on test samples.
    /// `check_stop` is called after every few samples, and its failure ends the evaluation.
    pub(super) fn evaluate(
        &mut self,
        epoch: u32,
        measurements: &mut Measurements,
        check_stop: StopCheck<'_>,
    ) -> Result<(), Failure> {
        let train = self.logits(Subset::Train, check_stop)?;
        let (mut clean, mut noisy, mut recovered) = (Accuracy::default(), Accuracy::default(), Accuracy::default());
        for (class, sample) in self.classes(&train).zip(&self.labels.train) {
            let (given, label) = (self.labels.given[*sample], self.data.train.labels[*sample]);
            if given == label {
                clean.count(class == given);
            } else {
                noisy.count(class == given);
                if label != NO_CLASS {
                    recovered.count(class == label);
                }
            }
        }
        let validation = self.logits(Subset::Validation, check_stop)?;
        let given = self.held_out()?.labels;
        let loss = (!given.is_empty()).then(|| self.criterion.value(&validation, &given));
        let right = Accuracy::of(self.classes(&validation).zip(given).map(|(class, given)| class == given));
        let test = self.logits(Subset::Test, check_stop)?;
        let tested =
            Accuracy::of(self.classes(&test).zip(&self.data.test.labels).map(|(class, label)| class == *label));
        let found = [
            (Metric::CleanAccuracy, clean.value()),
            (Metric::NoisyAccuracy, noisy.value()),
            (Metric::RecoveredAccuracy, recovered.value()),
            (Metric::ValidationLoss, loss),
            (Metric::ValidationAccuracy, right.value()),
            (Metric::TestAccuracy, tested.value()),
        ];
        measurements.extend(found.into_iter().filter_map(|(metric, value)| Some((metric, value?))));
        let logits = Logits { train: &train, validation: &validation, test: &test };
        measurements.extend(self.diagnose(epoch, logits, check_stop)?);
        Ok(())
    }

    /// The logits of a part, a row a sample, in the order of its samples.
    pub(super) fn logits(&mut self, part: Subset, check_stop: StopCheck<'_>) -> Result<Vec<f32>, Failure> {
        let Run { job, data, labels, inputs, engine, held, .. } = self;
        let (images, samples) = match part {
            Subset::Train => (&data.train, labels.train.clone()),
            Subset::Validation => {
                let ValidationSamples { images, samples, .. } =
                    data.held_out(labels, job.configuration.split).map_err(user_error)?;
                (images, samples)
            }
            Subset::Test => (&data.test, (0..job.configuration.tested(data.test.len())).collect()),
        };
        let mut all = Vec::with_capacity(samples.len() * job.configuration.dataset.classes());
        let mut take = |logits: &[f32]| {
            all.extend_from_slice(logits);
            check_stop()
        };
        match (held, engine.on_device()) {
            (Some(held), Some(device)) => {
                let start = held.start(data, images);
                let samples: Vec<usize> = samples.iter().map(|sample| start + sample).collect();
                let mut outputs = Vec::new();
                for samples in samples.chunks(device.evaluation_batch().max(1)) {
                    device.held_logits(samples, &mut outputs).map_err(failed)?;
                    take(&outputs)?;
                }
            }
            _ => outputs(&mut **engine, (images, inputs), &samples, take)?,
        }
        Ok(all)
    }

    /// What the job validates on.
    pub(super) fn held_out(&self) -> Result<ValidationSamples<'_>, Failure> {
        self.data.held_out(&self.labels, self.job.configuration.split).map_err(user_error)
    }

    /// The class of each row of logits.
    fn classes(&self, logits: &[f32]) -> impl Iterator<Item = u32> {
        logits.chunks_exact(self.job.configuration.dataset.classes()).map(|row| largest(row) as u32)
    }
}

/// Has `take` see what `engine` makes of the samples of `images`, so many together that memory holds, in their order and without
/// augmentation, until it fails.
pub(super) fn outputs(
    engine: &mut dyn Engine,
    (images, inputs): (&SampleSet, &InputPipeline),
    samples: &[usize],
    mut take: impl FnMut(&[f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut outputs = Vec::new();
    let make = |samples: &[usize], batch: &mut Vec<f32>| inputs.gather(images, samples, batch).map_err(Failure::from);
    prefetch::for_each_batch(samples, EVALUATION_BATCH, make, |_, inputs| {
        engine.logits(inputs, &mut outputs).map_err(failed)?;
        take(&outputs)
    })
}

/// A share that is counted.
#[derive(Clone, Copy, Default)]
struct Accuracy {
    hits: usize,
    of: usize,
}

impl Accuracy {
    fn of(hits: impl Iterator<Item = bool>) -> Self {
        let mut share = Accuracy::default();
        hits.for_each(|hit| share.count(hit));
        share
    }

    fn count(&mut self, hit: bool) {
        self.of += 1;
        self.hits += usize::from(hit);
    }

    /// Of nothing there is no share.
    fn value(self) -> Option<f64> {
        (self.of > 0).then(|| self.hits as f64 / self.of as f64)
    }
}
