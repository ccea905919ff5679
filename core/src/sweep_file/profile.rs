//! `profiles`: named variants of the same sweep, such as one that finishes in minutes.
//!
//! A profile replaces the values of some axes and adds overrides and exclusions to those of the file. Its `set` applies
//! last, to every job and to every parent after the parent's own `set`.

use super::grid::{self, Axis};
use super::paths::{Change, Paths};
use super::rules::{self, Rule};
use super::seeds::{self, Seeds};
use crate::id::SweepName;
use crate::input::fields::{Fields, Subject};
use crate::input::node::{Key, Node, Value};
use crate::input::problems::did_you_mean;
use std::ops::Range;
use std::rc::Rc;

/// A profile as written.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) span: Range<usize>,
    pub(super) seeds: Option<Seeds>,
    pub(super) axes: Vec<Axis>,
    pub(super) overrides: Vec<Rule>,
    pub(super) excludes: Vec<Rule>,
    pub(super) set: Vec<Change>,
    /// Where too many jobs are reported.
    pub(super) size_place: Range<usize>,
}

/// Reads `profiles` of a file with these axes.
pub(super) fn read(fields: &mut Fields<'_>, sweep: Option<&SweepName>, axes: &[Axis], paths: &Paths) -> Vec<Profile> {
    const EXPECTED: &str = "a map of profile names, such as `smoke`, and their changes";
    let Some(node) = fields.node("profiles") else { return Vec::new() };
    let Some(entries) = node.entries() else {
        fields.unexpected("profiles", node, EXPECTED, None);
        return Vec::new();
    };
    entries.iter().filter_map(|entry| read_one(fields, entry, sweep, axes, paths)).collect()
}

fn read_one(
    fields: &mut Fields<'_>,
    (key, node): &(Key, Rc<Node>),
    sweep: Option<&SweepName>,
    axes: &[Axis],
    paths: &Paths,
) -> Option<Profile> {
    const EXPECTED: &str = "a map with `seeds`, `grid`, `overrides`, `exclude` or `set`";
    if key.rejected {
        return None;
    }
    let whole = format!("{}-{}", sweep.map_or("sweep", SweepName::as_str), key.name);
    if let Err(error) = whole.parse::<SweepName>() {
        let label = format!("its sweep would be named `{whole}`; expected {}", error.expected());
        fields.problems().report(key.span.clone(), "invalid name of a profile".to_owned(), label, None);
        return None;
    }
    let before = fields.problems().reports();
    let Some(entries) = node.entries() else {
        fields.unexpected(&key.name, node, EXPECTED, None);
        return None;
    };
    if entries.is_empty() {
        let title = format!("the profile `{}` is empty", key.name);
        fields.problems().report(node.span.clone(), title, format!("expected {EXPECTED}"), None);
    }
    let mut keys = Fields::new(entries, Subject("a profile", None), key.span.clone(), fields.problems());
    let mut profile = read_keys(&mut keys, key, paths);
    for axis in &profile.axes {
        if !axes.iter().any(|known| known.path.name == axis.path.name) {
            let title = format!("`{}` is not an axis of the grid", axis.path.name);
            let label = "a profile can only replace values of existing axes".to_owned();
            let help = did_you_mean(&axis.path.name, axes.iter().map(|axis| axis.path.name.as_str()));
            keys.problems().report(axis.path.span(), title, label, help);
        }
    }
    if let Some(place) = keys.key_place("grid").or_else(|| keys.key_place("seeds")) {
        profile.size_place = place;
    }
    keys.finish();
    (fields.problems().reports() == before).then_some(profile)
}

/// Reads the keys of the profile `name`.
pub(super) fn read_keys(keys: &mut Fields<'_>, name: &Key, paths: &Paths) -> Profile {
    let seeds = keys.node("seeds").map(|node| seeds::read(keys, node));
    keys.about("replaces the values of these axes");
    let axes = grid::read(keys, paths).axes;
    keys.about("applied after the file's own overrides");
    let overrides = rules::overrides(keys, paths);
    keys.about("applied in addition to the file's own exclusions");
    let excludes = rules::exclude(keys, paths);
    let set = match keys.about("applied last, to every job and every parent").node("set") {
        None => Vec::new(),
        Some(node) if matches!(node.value, Value::Map(_)) => paths.changes(node, keys.problems()),
        Some(node) => {
            keys.unexpected("set", node, "a map of paths and their new values", None);
            Vec::new()
        }
    };
    let (name, span) = (name.name.to_string(), name.span.clone());
    Profile { name, size_place: span.clone(), span, seeds, axes, overrides, excludes, set }
}
