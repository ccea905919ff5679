//! The evaluation after each epoch: accuracies and losses on training, validation and test samples.

use super::diagnose::Logits;
use super::observer::StopCheck;
use super::run::{Run, Subset};
use plusminus_core::logits::largest;
use plusminus_core::methods::noise::NO_CLASS;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Failure;

impl Run<'_> {
    /// Measures the current network on all three subsets, and adds the job's diagnostics. `stop_check` runs after every batch.
    pub(super) fn evaluate(
        &mut self,
        epoch: u32,
        measurements: &mut Measurements,
        stop_check: StopCheck<'_>,
    ) -> Result<(), Failure> {
        let train = self.logits(Subset::Train, stop_check)?;
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
        let validation = self.logits(Subset::Validation, stop_check)?;
        let given = self.validation_samples()?.labels;
        let loss = (!given.is_empty()).then(|| self.criterion.value(&validation, &given));
        let validated = Accuracy::of(self.classes(&validation).zip(given).map(|(class, given)| class == given));
        let test = self.logits(Subset::Test, stop_check)?;
        let tested =
            Accuracy::of(self.classes(&test).zip(&self.data.test.labels).map(|(class, label)| class == *label));
        let found = [
            (Metric::CleanAccuracy, clean.value()),
            (Metric::NoisyAccuracy, noisy.value()),
            (Metric::RecoveredAccuracy, recovered.value()),
            (Metric::ValidationLoss, loss),
            (Metric::ValidationAccuracy, validated.value()),
            (Metric::TestAccuracy, tested.value()),
        ];
        measurements.extend(found.into_iter().filter_map(|(metric, value)| Some((metric, value?))));
        let logits = Logits { train: &train, validation: &validation, test: &test };
        measurements.extend(self.diagnose(epoch, logits, stop_check)?);
        Ok(())
    }

    /// The predicted class of each row of logits.
    fn classes(&self, logits: &[f32]) -> impl Iterator<Item = u32> {
        logits.chunks_exact(self.job.configuration.dataset.classes()).map(|row| largest(row) as u32)
    }
}

/// Counts correct predictions.
#[derive(Clone, Copy, Default)]
struct Accuracy {
    correct: usize,
    total: usize,
}

impl Accuracy {
    fn of(predictions: impl Iterator<Item = bool>) -> Self {
        let mut accuracy = Accuracy::default();
        predictions.for_each(|correct| accuracy.count(correct));
        accuracy
    }

    fn count(&mut self, correct: bool) {
        self.total += 1;
        self.correct += usize::from(correct);
    }

    /// The share of correct predictions; `None` without samples.
    fn value(self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }
}
