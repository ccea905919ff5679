//! What a job may ask for. Each method is one file: its formula with paper and equation, its parameters with their ranges,
//! its tests. Adding one touches that file and the one list of its folder.
//!
//! The arithmetic that needs no engine (losses on logits, transition matrices, learning rates, a network's layers) stands
//! here beside the parameters, so that the coordinator checks a whole sweep without linking an engine, and so that no
//! engine writes a loss again.

pub mod augment;
pub mod dataset;
pub mod losses;
pub mod networks;
pub mod noise;
pub mod optimizer;
pub mod precision;
pub mod schedule;
pub mod split;
