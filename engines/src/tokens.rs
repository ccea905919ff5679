//! Numbers of tokens as they come: in `f32`, as everything does.

use super::EngineError;
use std::fmt::Display;

/// Checks that `inputs` are numbers of tokens out of so many, before anything beyond their vectors is read.
pub(super) fn check(inputs: &[f32], vocabulary: usize) -> Result<(), EngineError> {
    let is_token = |value: &f32| *value >= 0.0 && *value < vocabulary as f32 && value.fract() == 0.0;
    inputs.iter().find(|value| !is_token(value)).map_or(Ok(()), |other| none_of(vocabulary, other))
}

/// The same of numbers that have not become inputs yet.
pub(super) fn check_numbers(tokens: &[u32], vocabulary: usize) -> Result<(), EngineError> {
    tokens.iter().find(|token| **token as usize >= vocabulary).map_or(Ok(()), |other| none_of(vocabulary, other))
}

fn none_of(vocabulary: usize, other: impl Display) -> Result<(), EngineError> {
    Err(EngineError::new(format!("{other} is none of the {vocabulary} tokens")))
}
