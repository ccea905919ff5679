//! The methods that a job may use. Each method is one file: formula with paper and equation, parameters with their ranges,
//! tests. To add a method, add its file and extend the list of its folder.
//!
//! The arithmetic that needs no engine (losses on logits, transition matrices, learning rates, the layers of a network) is
//! next to the parameters. So the coordinator checks a whole sweep without linking an engine, and no engine reimplements a
//! loss.

pub mod augment;
pub mod dataset;
pub mod losses;
pub mod networks;
pub mod noise;
pub mod optimizer;
pub mod precision;
pub mod schedule;
mod shape;
pub mod split;
