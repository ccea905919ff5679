//! The part of a loss that its parameters decide.

use super::batch::BatchLoss;
use super::criterion::{Criterion, Setting, Stateless};

/// A loss with its parameters.
pub(super) trait Method {
    /// The loss for one training run.
    ///
    /// # Errors
    /// If the loss needs a transition matrix that `setting` lacks, or one that does not fit.
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String>;

    /// The loss itself, if it depends on a batch alone.
    fn batch_loss(&self) -> Option<&dyn BatchLoss> {
        None
    }
}

impl<L: BatchLoss + Clone + Send + 'static> Method for L {
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        Ok(Box::new(Stateless { loss: self.clone(), classes: setting.classes }))
    }

    fn batch_loss(&self) -> Option<&dyn BatchLoss> {
        Some(self)
    }
}
