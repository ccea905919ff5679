//! The output formats of reports.

use std::fmt;

/// An output format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns for a terminal.
    #[default]
    Text,
    /// A table in GitHub's Markdown.
    Markdown,
    /// A LaTeX `table` environment that uses the package booktabs.
    Latex,
    /// One record per seed of a table, per cell of a comparison or per pair of losses.
    Csv,
    /// The whole report; a table can be read back from it.
    Json,
}

impl Format {
    /// All formats.
    pub const ALL: &'static [Format] = &[Format::Text, Format::Markdown, Format::Latex, Format::Csv, Format::Json];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Markdown => "markdown",
            Format::Latex => "latex",
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Strings printed before and after the best cells in [text](Format::Text), such as a terminal's codes for bold type. They count as
/// zero columns wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Emphasis<'a> {
    /// Printed before the cell.
    pub start: &'a str,
    /// Printed after the cell.
    pub end: &'a str,
}

impl Emphasis<'_> {
    /// Prints the best cells like the others.
    pub const NONE: Emphasis<'static> = Emphasis { start: "", end: "" };
}
