//! Snapshots of the weights at the epochs where test accuracy, validation accuracy and validation loss were best.

use crate::kept_weights::{KeptWeights, Snapshot};
use plusminus_core::metric::{Better, Measurements, Metric};
use plusminus_engines::Weights;

/// One snapshot for each epoch selection that follows a metric.
#[derive(Default)]
pub(super) struct BestSnapshots {
    test: BestSnapshot,
    validation: BestSnapshot,
    validation_loss: BestSnapshot,
}

impl BestSnapshots {
    /// Replaces the snapshots whose metric improved in `epoch`.
    pub fn update(&mut self, measurements: &Measurements, epoch: u32, weights: &Weights) {
        self.test.update(Metric::TestAccuracy, measurements, epoch, weights);
        self.validation.update(Metric::ValidationAccuracy, measurements, epoch, weights);
        self.validation_loss.update(Metric::ValidationLoss, measurements, epoch, weights);
    }

    /// Value and weights of the best test accuracy, validation accuracy and validation loss, in this order.
    pub fn parts(&self) -> [Option<(f64, &Snapshot)>; 3] {
        [&self.test, &self.validation, &self.validation_loss]
            .map(|best| best.0.as_ref().map(|(value, snapshot)| (*value, snapshot)))
    }

    /// The inverse of [`BestSnapshots::parts`].
    pub fn from_parts(parts: [Option<(f64, Snapshot)>; 3]) -> Self {
        let [test, validation, validation_loss] = parts.map(BestSnapshot);
        BestSnapshots { test, validation, validation_loss }
    }

    /// The snapshot with the best validation accuracy; `None` without validation samples.
    pub fn best_validation(&self) -> Option<&Snapshot> {
        self.validation.0.as_ref().map(|(_, snapshot)| snapshot)
    }

    /// The weights that a job keeps whose last epoch ended with `last`.
    pub fn into_kept_weights(self, last: Snapshot) -> KeptWeights {
        KeptWeights {
            best: self.test.into_snapshot().unwrap_or_else(|| last.clone()),
            best_validation: self.validation.into_snapshot(),
            best_validation_loss: self.validation_loss.into_snapshot(),
            last,
        }
    }
}

/// The best value of a metric so far and the weights of that epoch. The earliest epoch wins a tie.
#[derive(Default)]
struct BestSnapshot(Option<(f64, Snapshot)>);

impl BestSnapshot {
    fn update(&mut self, metric: Metric, measurements: &Measurements, epoch: u32, weights: &Weights) {
        let Some(&value) = measurements.get(&metric) else { return };
        let improves_on = |best: f64| match metric.better() {
            Better::Higher => value > best,
            Better::Lower => value < best,
        };
        if self.0.as_ref().is_none_or(|(best, _)| improves_on(*best)) {
            self.0 = Some((value, Snapshot { epoch, weights: weights.clone() }));
        }
    }

    fn into_snapshot(self) -> Option<Snapshot> {
        self.0.map(|(_, snapshot)| snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;
    use plusminus_core::methods::dataset::Dataset;
    use plusminus_core::random::Stream;
    use plusminus_engines::Plan;
    use std::sync::Arc;

    #[test]
    fn the_best_snapshot_is_that_of_the_earliest_best_epoch() {
        let job = job(0, |_| {});
        let network = job.configuration.model.network(Dataset::FashionMnist.shape(), 10).unwrap();
        let weights = Arc::new(Plan::of(&network)).initial(&mut job.streams().generator(Stream::Weights, 0));
        let best_epoch = |metric, values: [Option<f64>; 5]| {
            let mut best = BestSnapshot::default();
            for (epoch, value) in (1..).zip(values) {
                let row = value.map(|value| (metric, value)).into_iter().collect();
                best.update(metric, &row, epoch, &weights);
            }
            best.into_snapshot().map(|snapshot| snapshot.epoch)
        };
        assert_eq!(best_epoch(Metric::TestAccuracy, [Some(0.5), Some(0.7), None, Some(0.7), Some(0.6)]), Some(2));
        assert_eq!(best_epoch(Metric::ValidationLoss, [Some(0.5), Some(-0.7), None, Some(-0.7), Some(0.6)]), Some(2));
        assert_eq!(best_epoch(Metric::ValidationLoss, [None; 5]), None);
    }
}
