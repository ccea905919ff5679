//! Prints a comparison in any format.

use super::model::Comparison;
use super::{csv, document};
use crate::report::document::render;
use crate::report::format::Format;

impl Comparison {
    /// The comparison as text in the given format, ending in a newline.
    pub fn render(&self, format: Format) -> String {
        render(self, format, document::document, csv::render)
    }
}
