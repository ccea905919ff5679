//! Prints a report in any format.

use super::content::Document;
use super::{latex, markdown, text};
use crate::report::format::Format;
use serde::Serialize;

/// The report as text in the given format, ending in a newline. `document` and `csv` convert the report for the formats that need it.
pub(in crate::report) fn render<R: Serialize>(
    report: &R,
    format: Format,
    document: impl Fn(&R) -> Document,
    csv: impl Fn(&R) -> String,
) -> String {
    match format {
        Format::Text => text::render(&document(report)),
        Format::Markdown => markdown::render(&document(report)),
        Format::Latex => latex::render(&document(report)),
        Format::Csv => csv(report),
        Format::Json => serde_json::to_string_pretty(report).expect("a report serialises to JSON") + "\n",
    }
}
