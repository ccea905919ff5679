//! Significance of the differences between the losses of a sweep, on shared seeds.
//!
//! The seed of a job determines its split, noise, initial weights and order of samples, so two losses under one seed train on the same
//! corrupted labels. The tests therefore use the differences per seed: what a seed does to both losses cancels.

mod csv;
mod document;
mod model;
mod problems;
mod render;

pub use model::{LossOnProblem, Pair, Problem, Significance, Verdict};
pub use problems::LabelPaths;
