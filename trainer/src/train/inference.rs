//! Logits of many samples, computed in batches.

use super::failure::engine_failure;
use crate::data::{InputPipeline, SampleSet, prefetch};
use plusminus_core::outcome::Failure;
use plusminus_engines::Engine;

/// The batch size of an evaluation. It is constant because candle's logits depend on it in their last digits.
pub(crate) const EVALUATION_BATCH: usize = 250;

/// Computes the outputs of `engine` for `samples`, in their order and without augmentation. `receive` is called with the outputs of
/// one batch after another; its first error ends the computation.
pub(super) fn for_each_output(
    engine: &mut dyn Engine,
    (sample_set, inputs): (&SampleSet, &InputPipeline),
    samples: &[usize],
    mut receive: impl FnMut(&[f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut outputs = Vec::new();
    let make =
        |samples: &[usize], batch: &mut Vec<f32>| inputs.gather(sample_set, samples, batch).map_err(Failure::from);
    prefetch::for_each_batch(samples, EVALUATION_BATCH, make, |_, inputs| {
        engine.logits(inputs, &mut outputs).map_err(engine_failure)?;
        receive(&outputs)
    })
}
