//! Documents: reports that are printed as a table in sections with notes below it, unlike the [table of a sweep](super::Table).

mod content;
mod latex;
mod markdown;
mod numbers;
mod render;
mod text;

pub(super) use content::{Column, Document, Footnotes, Note, Section, counted_divergences};
pub(super) use numbers::{interval, p_value, per_cent, signed, unit};
pub(super) use render::render;
