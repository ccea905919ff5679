//! Prints a table in any format.

use super::format::{Emphasis, Format};
use super::table::Table;
use super::{csv, latex, markdown, text};

/// The table as text in the given format, ending in a newline. Only [`Format::Text`] uses `emphasis`.
pub fn render(table: &Table, format: Format, emphasis: Emphasis<'_>) -> String {
    match format {
        Format::Text => text::render(table, emphasis),
        Format::Markdown => markdown::render(table),
        Format::Latex => latex::render(table),
        Format::Csv => csv::render(table),
        Format::Json => serde_json::to_string_pretty(table).expect("a table serialises to JSON") + "\n",
    }
}
