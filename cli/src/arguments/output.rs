//! What a command prints: text or JSON, and the formats of tables.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use plusminus_core::report::Format;

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Returns the parser of a table format's name.
pub fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.iter().map(|format| format.name()))
        .map(|name| Format::named(&name).unwrap_or_default())
}
