//! The passes over the training set in which a loss looks at all samples: before the first step, and before some epochs.

use super::best_snapshots::BestSnapshots;
use super::failure::engine_failure;
use super::observer::StopCheck;
use super::run::{Run, Subset};
use plusminus_core::logits::probability;
use plusminus_core::outcome::Failure;
use plusminus_engines::Checkpoint;

impl Run<'_> {
    /// Shows the whole training set to the criterion before the first step, if the criterion wants it and the network is pretrained.
    /// The outputs of random weights carry no information.
    pub(super) fn start(&mut self, stop_check: StopCheck<'_>) -> Result<(), Failure> {
        if self.pretrained && self.criterion.wants_start() {
            let logits = self.logits(Subset::Train, stop_check)?;
            self.criterion.start(&self.labels.train, &logits);
        }
        Ok(())
    }

    /// Shows the whole training set to the criterion before `epoch`, if the criterion wants it. The network uses the snapshot with the
    /// best validation accuracy, or its current weights if there is none. The engine's state is the same afterwards.
    pub(super) fn review(
        &mut self,
        epoch: u32,
        best: &BestSnapshots,
        stop_check: StopCheck<'_>,
    ) -> Result<(), Failure> {
        if !self.criterion.wants_review(epoch) {
            return Ok(());
        }
        let current = self.engine.checkpoint().map_err(engine_failure)?;
        if let Some(best) = best.best_validation() {
            let (weights, optimizer) = (best.weights.clone(), current.optimizer.clone());
            self.engine.restore(Checkpoint { weights, optimizer }).map_err(engine_failure)?;
        }
        let logits = self.logits(Subset::Train, stop_check)?;
        self.engine.restore(current).map_err(engine_failure)?;
        let classes = self.job.configuration.dataset.classes();
        let given = self.labels.train.iter().map(|sample| self.labels.given[*sample]);
        let p: Vec<f32> =
            logits.chunks_exact(classes).zip(given).map(|(z, y)| probability(z, y as usize) as f32).collect();
        self.criterion.review(&self.labels.train, &p);
        Ok(())
    }
}
