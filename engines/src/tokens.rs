//! Checks of token ids, which arrive as `f32` like every other input.

use super::error::EngineError;
use std::fmt::Display;

/// Fails unless every input is a token id below `vocabulary`. Engines check before they index the embedding.
pub(super) fn check_inputs(inputs: &[f32], vocabulary: usize) -> Result<(), EngineError> {
    let is_token = |value: &f32| *value >= 0.0 && *value < vocabulary as f32 && value.fract() == 0.0;
    inputs.iter().find(|value| !is_token(value)).map_or(Ok(()), |other| invalid(vocabulary, other))
}

/// Fails unless every id is below `vocabulary`.
pub(super) fn check_ids(tokens: &[u32], vocabulary: usize) -> Result<(), EngineError> {
    tokens.iter().find(|token| **token as usize >= vocabulary).map_or(Ok(()), |other| invalid(vocabulary, other))
}

fn invalid(vocabulary: usize, other: impl Display) -> Result<(), EngineError> {
    Err(EngineError::new(format!("invalid token {other}: expected an integer in 0..{vocabulary}")))
}
