//! Whole tables: what is in them, and how every format prints them.

mod choices;
mod contents;
mod formats;
pub(in crate::report) mod sample;
