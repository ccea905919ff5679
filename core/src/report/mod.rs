//! Seeds to mean ± std: the table of a sweep, and the formats it is printed in.
//!
//! A [`Table`] is made from a [sweep](crate::sweep_file::Sweep) and what is known of its jobs, at any time; [`render`] prints it.
//! A [`Comparison`] sets it beside [published results](crate::sweep_file::Published), a [`Significance`] its losses beside one another.
//!
//! *Invariant:* no seed is left out in silence. Every seed that a sweep asks for is counted in its cell's [`Counts`] under
//! one heading, and a cell whose mean lacks a seed shows its n in every format.

mod axis;
mod choice;
pub mod comparison;
mod csv;
pub mod inference;
mod label;
mod latex;
mod listing;
mod markdown;
mod precision;
mod shown;
pub mod significance;
mod statistics;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use axis::Axis;
pub use choice::{Choice, Choosing, Outcome, decisions, names};
pub use comparison::Comparison;
pub use significance::Significance;
pub use statistics::Moments;
pub use status::{Counts, JobResult, SeedResult, Status};
use std::fmt;
pub use table::{CellSummary, Table};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns for a terminal.
    #[default]
    Text,
    /// A GitHub table.
    Markdown,
    /// A `table` environment with booktabs.
    Latex,
    /// A line for every seed of every cell.
    Csv,
    /// The whole [`Table`].
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] = &[Format::Text, Format::Markdown, Format::Latex, Format::Csv, Format::Json];

    /// The format's name on the command line and in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Markdown => "markdown",
            Format::Latex => "latex",
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is written around the best cells in [text](Format::Text), such as a terminal's codes for bold; they take no width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Emphasis<'a> {
    /// Before.
    pub start: &'a str,
    /// After.
    pub end: &'a str,
}

impl Emphasis<'_> {
    /// Nothing: the best cells look like the others.
    pub const NONE: Emphasis<'static> = Emphasis { start: "", end: "" };
}

/// The table as text in the given format, ending in a newline. Only [`Format::Text`] uses `emphasis`.
pub fn render(table: &Table, format: Format, emphasis: Emphasis<'_>) -> String {
    match format {
        Format::Text => text::render(table, emphasis),
        Format::Markdown => markdown::render(table),
        Format::Latex => latex::render(table),
        Format::Csv => csv::render(table),
        Format::Json => serde_json::to_string_pretty(table).expect("a table is plain data") + "\n",
    }
}
