//! Numbers of tokens as they come: in `f32`, as everything does.

use super::EngineError;

/// Checks that `inputs` are numbers of tokens out of so many, before anything beyond their vectors is read.
pub(super) fn check(inputs: &[f32], vocabulary: usize) -> Result<(), EngineError> {
    let is_token = |value: f32| value >= 0.0 && value < vocabulary as f32 && value.fract() == 0.0;
    match inputs.iter().find(|value| !is_token(**value)) {
        Some(other) => Err(EngineError::new(format!("{other} is none of the {vocabulary} tokens"))),
        None => Ok(()),
    }
}
