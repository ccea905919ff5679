//! The file that initial weights come from, as a sweep file names it.

use crate::input::fields::{Fields, Subject};
use crate::input::node::{Value, shortened};
use crate::methods::networks::InitialWeights;

/// Its key in a configuration.
const KEY: &str = "initial_weights";

/// What can be set below it.
pub(super) const PATHS: &[&str] = &["initial_weights.file", "initial_weights.blake3"];

/// Reads the file's name and digest; nothing where the key is not there, has no value, or is wrong.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<InitialWeights> {
    let node = fields.node(KEY).filter(|node| node.value != Value::Null)?;
    let Some(entries) = node.entries() else {
        fields.unexpected(KEY, node, "the name of a file or a map with `file`", None);
        return None;
    };
    let mut parts = Fields::new(entries, Subject(KEY, None), node.span.clone(), fields.problems());
    let file = text(&mut parts, "file", InitialWeights::check_file);
    if node.get("file").is_none() {
        parts.missing("file", "the name of a file below a directory of data sets");
    }
    let blake3 = text(&mut parts, "blake3", InitialWeights::check_blake3);
    parts.finish();
    Some(InitialWeights { file: file?, blake3 })
}

/// The text under `key`, if `check` finds nothing wrong with it.
fn text(fields: &mut Fields<'_>, key: &'static str, check: fn(&str) -> Result<(), String>) -> Option<String> {
    let text = fields.text(key).optional()?;
    if let Err(expected) = check(text) {
        let place = fields.value_place(key).unwrap_or_else(|| fields.place());
        let label = format!("{expected}, found `{}`", shortened(text));
        fields.problems().report(place, format!("wrong `{key}` of `{KEY}`"), label, None);
        return None;
    }
    Some(text.to_owned())
}
