//! Tables, comparisons and significance reports: their contents, and their text in every format.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod comparison;
mod contents;
mod formats;
mod sample;
mod selection;
mod significance;
