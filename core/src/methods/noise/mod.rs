//! Label noise: the kinds, and the transition matrix of each that has one.
//!
//! Noise corrupts the labels of the training file, its validation part included. Test labels are never corrupted.

mod draw;
mod file;
mod fit;
mod kinds;
mod matrix;
mod open_set;
mod transition;

pub use draw::Draw;
pub use fit::Misfit;
pub use kinds::Noise;
pub use matrix::TransitionMatrix;
pub use open_set::{NO_CLASS, Replacement, replacements};

#[cfg(test)]
mod tests;
