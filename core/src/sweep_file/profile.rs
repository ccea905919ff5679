//! `profiles`: the same sweep in another size, such as one that is over in minutes.
//!
//! A profile has the file's grid, or other values of some of its axes, and the file's overrides and exclusions. Behind those come its
//! own, and last what it sets in every job, and in every parent after the parent's own `set`.

use super::configuration::Schema;
use super::file::{File, Seeds, seeds_of};
use super::grid::{self, Axis};
use super::parent::Change;
use super::rules::{self, Rule};
use crate::id::SweepName;
use crate::input::fields::{Fields, Subject};
use crate::input::node::Value;
use crate::input::problems::did_you_mean;
use std::ops::Range;

/// What a profile says.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    span: Range<usize>,
    seeds: Option<Seeds>,
    axes: Vec<Axis>,
    overrides: Vec<Rule>,
    excludes: Vec<Rule>,
    set: Vec<Change>,
    /// Where a number of jobs that is too large is reported.
    size_place: Range<usize>,
}

/// Reads `profiles` of a file with these axes.
pub(super) fn read(fields: &mut Fields<'_>, name: Option<&SweepName>, axes: &[Axis], schema: &Schema) -> Vec<Profile> {
    const EXPECTED: &str = "a map of names, such as `smoke`, and what is different then";
    let Some(node) = fields.node("profiles") else { return Vec::new() };
    let Some(entries) = node.entries() else {
        fields.unexpected("profiles", node, EXPECTED, None);
        return Vec::new();
    };
    let mut profiles = Vec::new();
    for (key, node) in entries {
        let whole = format!("{}-{}", name.map_or("sweep", SweepName::as_str), key.name);
        if let Err(error) = whole.parse::<SweepName>() {
            let title = "not a name for a profile".to_owned();
            let label = format!("the sweep would be called `{whole}`; expected {}", error.expected());
            fields.problems().report(key.span.clone(), title, label, None);
            continue;
        }
        let before = fields.problems().reports();
        const PARTS: &str = "a map with `seeds`, `grid`, `overrides`, `exclude` or `set`";
        let Some(entries) = node.entries() else {
            fields.unexpected(&key.name, node, PARTS, None);
            continue;
        };
        if entries.is_empty() {
            let label = format!("expected {PARTS}");
            fields.problems().report(node.span.clone(), format!("the profile `{}` is empty", key.name), label, None);
        }
        let mut profile = Fields::new(entries, Subject("a profile", None), key.span.clone(), fields.problems());
        let seeds = profile.node("seeds").map(|node| seeds_of(&mut profile, node));
        let (own, _) = grid::read(&mut profile, schema);
        for axis in &own {
            if !axes.iter().any(|known| known.route.name == axis.route.name) {
                let title = format!("`{}` is no axis of the grid", axis.route.name);
                let label = "a profile takes other values of the axes that there are".to_owned();
                let help = did_you_mean(&axis.route.name, axes.iter().map(|axis| axis.route.name.as_str()));
                profile.problems().report(axis.route.span(), title, label, help);
            }
        }
        let overrides = rules::overrides(&mut profile, schema);
        let excludes = rules::exclude(&mut profile, schema);
        let set = match profile.node("set") {
            None => Vec::new(),
            Some(node) => match &node.value {
                Value::Map(_) => rules::changes(node, schema, profile.problems()),
                _ => {
                    profile.unexpected("set", node, "a map of paths and their new values", None);
                    Vec::new()
                }
            },
        };
        let size_place = profile.key_place("grid").or_else(|| profile.key_place("seeds"));
        profile.finish();
        if fields.problems().reports() == before {
            let (name, span) = (key.name.to_string(), key.span.clone());
            let size_place = size_place.unwrap_or_else(|| span.clone());
            profiles.push(Profile { name, span, seeds, axes: own, overrides, excludes, set, size_place });
        }
    }
    profiles
}

impl Profile {
    /// The file as the profile has it.
    pub(super) fn of(&self, file: &File) -> File {
        let mut file = file.clone();
        file.profiles.clear();
        // That its values meet each of the file's rules is not asked of a part of the sweep.
        file.overrides.iter_mut().chain(&mut file.excludes).for_each(Rule::excuse);
        let name = file.name.as_ref().map(|name| format!("{name}-{}", self.name));
        file.name = name.and_then(|name| name.parse().ok());
        if let Some(seeds) = &self.seeds {
            file.seeds = seeds.clone();
        }
        let seeds = file.seeds.len();
        if let Some(select) = &mut file.select {
            select.of_a_part(seeds);
        }
        for axis in &mut file.axes {
            if let Some(other) = self.axes.iter().find(|other| other.route.name == axis.route.name) {
                *axis = other.clone();
            }
        }
        file.overrides.extend(self.overrides.iter().cloned());
        file.excludes.extend(self.excludes.iter().cloned());
        file.last = self.set.clone();
        file.size_place = self.size_place.clone();
        file.exclude_place = self.span.clone();
        file
    }
}
