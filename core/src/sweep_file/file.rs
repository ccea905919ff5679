//! The top-level keys of a sweep file; the grid is not yet expanded.

use super::configuration::MissingKeys;
use super::grid::{self, Axis, Grid};
use super::paths::{Change, Paths};
use super::profile::{self, Profile};
use super::rules::{self, Rule};
use super::seeds::{self, Seeds};
use super::select::{self, SelectKey};
use super::table::{self, Table};
use crate::id::SweepName;
use crate::input::fields::{Fields, Subject};
use crate::input::node::{MapEntry, Node, Value};
use crate::input::problems::Problems;
use crate::input::yaml::Expected;
use std::ops::Range;

/// What a sweep file must hold.
pub(super) const EXPECTED: Expected =
    Expected { value: "a map with `sweep`, `seeds`, `base`", begins: "start the sweep file with `sweep: NAME`" };

/// A sweep file, or the variant of it that a profile describes.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: Option<SweepName>,
    pub(super) description: Option<String>,
    pub(super) seeds: Seeds,
    pub(super) base: Vec<MapEntry>,
    pub(super) axes: Vec<Axis>,
    pub(super) overrides: Vec<Rule>,
    pub(super) excludes: Vec<Rule>,
    /// Whether all rules are valid. Without one of them, configurations would be checked that the user did not mean.
    pub(super) rules_valid: bool,
    pub(super) select: Option<SelectKey>,
    pub(super) table: Table,
    pub(super) missing: MissingKeys,
    pub(super) exclude_place: Range<usize>,
    /// Where too many jobs are reported.
    pub(super) size_place: Range<usize>,
    /// Changes of the profile, applied last to every job and every parent.
    pub(super) profile_changes: Vec<Change>,
    pub(super) profiles: Vec<Profile>,
}

/// Reads the file with the value `root`.
pub(super) fn read(root: &Node, paths: &Paths, problems: &mut Problems) -> Option<File> {
    if root.value == Value::Invalid {
        return None;
    }
    let Some(entries) = root.entries() else {
        let label = format!("expected {}, found {}", EXPECTED.value, root.described());
        // Only the start: a list would be shown with all its lines.
        let start = root.span.start..root.span.start;
        problems.report(start, "the file is not a sweep".to_owned(), label, Some(EXPECTED.begins.to_owned()));
        return None;
    };
    let start = entries.first().map_or(root.span.clone(), |(key, _)| key.span.clone());
    let mut fields = Fields::new(entries, Subject("a sweep file", None), start, problems);
    let file = read_keys(&mut fields, paths);
    fields.finish();
    file
}

/// Reads the top-level keys.
pub(super) fn read_keys(fields: &mut Fields<'_>, paths: &Paths) -> Option<File> {
    let start = fields.place();
    let name = name(fields);
    fields.about("one text, printed above the table");
    let description = fields.text("description").optional().map(|text| text.trim().to_owned());
    let seeds = seeds(fields);
    let base = base(fields);
    fields.about("axes: paths and the values that each takes; their product is trained");
    let Grid { axes, refused, unreadable } = grid::read(fields, paths);
    let before = fields.problems().reports();
    fields.about("rules that change some combinations of the grid");
    let overrides = rules::overrides(fields, paths);
    fields.about("rules that leave combinations of the grid out");
    let excludes = rules::exclude(fields, paths);
    let rules_valid = fields.problems().reports() == before;
    fields.about("hyper-parameters that are chosen on validation samples");
    let (select, select_valid) = select::read(fields, paths);
    fields.about("layout of the table");
    let mut table = table::read(fields, &axes, select.as_ref(), paths);
    // Without a valid `select` it is unknown which cells share a place of the table.
    table.valid &= select_valid;
    let key_place = |key| fields.key_place(key).unwrap_or_else(|| start.clone());
    let (span, exclude_place) = (key_place("base"), key_place("exclude"));
    let size_place = fields.key_place("grid").unwrap_or_else(|| key_place("seeds"));
    fields.about("the same sweep in other sizes, by name");
    let profiles = profile::read(fields, name.as_ref(), &axes, paths);
    // An unknown key may hold what seems to be missing: `gird` for `grid`.
    let misplaced = fields.has_unknown() && fields.key_place("grid").is_none();
    let missing = MissingKeys { span, excused: refused, all_excused: misplaced || unreadable };
    Some(File {
        name,
        description,
        seeds,
        base: base?,
        axes,
        overrides,
        excludes,
        rules_valid,
        select,
        table,
        missing,
        exclude_place,
        size_place,
        profile_changes: Vec::new(),
        profiles,
    })
}

impl File {
    /// The variant of the file that `profile` describes.
    pub(super) fn with_profile(&self, profile: &Profile) -> File {
        let mut file = self.clone();
        file.profiles.clear();
        // A rule of the file may match no job of a smaller grid.
        file.overrides.iter_mut().chain(&mut file.excludes).for_each(Rule::allow_unmet);
        let name = file.name.as_ref().map(|name| format!("{name}-{}", profile.name));
        file.name = name.and_then(|name| name.parse().ok());
        if let Some(seeds) = &profile.seeds {
            file.seeds = seeds.clone();
        }
        let seeds = file.seeds.len();
        if let Some(select) = &mut file.select {
            select.restrict_to_profile(seeds);
        }
        for axis in &mut file.axes {
            if let Some(other) = profile.axes.iter().find(|other| other.path.name == axis.path.name) {
                *axis = other.clone();
            }
        }
        file.overrides.extend(profile.overrides.iter().cloned());
        file.excludes.extend(profile.excludes.iter().cloned());
        file.profile_changes = profile.set.clone();
        file.size_place = profile.size_place.clone();
        file.exclude_place = profile.span.clone();
        file
    }
}

fn name(fields: &mut Fields<'_>) -> Option<SweepName> {
    let text = fields.about("name of the sweep").text("sweep").required("the name of the sweep")?;
    let name = text.parse::<SweepName>();
    if let (Err(error), Some(place)) = (&name, fields.value_place("sweep")) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let plain = words.collect::<Vec<_>>().join("-").to_lowercase();
        let help = plain.parse::<SweepName>().is_ok().then(|| format!("for instance `{plain}`"));
        let title = "invalid name of a sweep".to_owned();
        fields.problems().report(place, title, format!("expected {}", error.expected()), help);
    }
    name.ok()
}

fn seeds(fields: &mut Fields<'_>) -> Seeds {
    match fields.about("a number of seeds (`5` means 0 to 4) or a list of seeds").node("seeds") {
        Some(node) => seeds::read(fields, node),
        None => {
            fields.missing("seeds", seeds::EXPECTED);
            Seeds::First(1)
        }
    }
}

fn base(fields: &mut Fields<'_>) -> Option<Vec<MapEntry>> {
    let Some(node) = fields.about("configuration that all jobs share").node("base") else {
        fields.missing("base", "the configuration that all jobs share");
        return None;
    };
    if node.entries().is_none() {
        fields.unexpected("base", node, "a map: the configuration that all jobs share", None);
    }
    Some(node.entries()?.to_vec())
}
