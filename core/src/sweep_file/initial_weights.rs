//! `initial_weights`: the file that a network's weights are initialised from.

use crate::input::fields::{Fields, Record, Subject};
use crate::input::node::{Value, shortened};
use crate::methods::networks::InitialWeights;

const KEY: &str = "initial_weights";

/// Reads the file name and digest; `None` if the key is absent, has no value or is invalid.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<InitialWeights> {
    let node = fields.map(KEY, true, || Record::of(|fields| _ = read_keys(fields)).keys);
    let node = node.filter(|node| node.value != Value::Null)?;
    let Some(entries) = node.entries() else {
        fields.unexpected(KEY, node, "the name of a file or a map with `file`", None);
        return None;
    };
    let mut keys = Fields::new(entries, Subject(KEY, None), node.span.clone(), fields.problems());
    let weights = read_keys(&mut keys);
    if node.get("file").is_none() {
        keys.missing("file", "the name of a file below a directory of data sets");
    }
    keys.finish();
    weights
}

fn read_keys(keys: &mut Fields<'_>) -> Option<InitialWeights> {
    keys.about("name of a safetensors file below a directory of data sets");
    let file = checked_text(keys, "file", InitialWeights::check_file);
    keys.about("BLAKE3 digest of the file; the job fails if the file differs");
    let blake3 = checked_text(keys, "blake3", InitialWeights::check_blake3);
    Some(InitialWeights { file: file?, blake3 })
}

/// The text under `key`, if `check` accepts it.
fn checked_text(fields: &mut Fields<'_>, key: &'static str, check: fn(&str) -> Result<(), String>) -> Option<String> {
    let text = fields.text(key).optional()?;
    if let Err(expected) = check(text) {
        let place = fields.value_place(key).unwrap_or_else(|| fields.place());
        let label = format!("{expected}, found `{}`", shortened(text));
        fields.problems().report(place, format!("wrong `{key}` of `{KEY}`"), label, None);
        return None;
    }
    Some(text.to_owned())
}
