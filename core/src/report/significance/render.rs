//! Prints the pairs of losses in any format.

use super::model::Significance;
use super::{csv, document};
use crate::report::document::render;
use crate::report::format::Format;

impl Significance {
    /// The pairs as text in the given format, ending in a newline.
    pub fn render(&self, format: Format) -> String {
        render(self, format, document::document, csv::render)
    }
}
