//! The sweep file as written: its keys read, its grid not yet unfolded.

use super::configuration::{Place, Schema};
use super::grid::{self, Axis};
use super::parent::Change;
use super::profile::{self, Profile};
use super::rules::{self, Rule};
use super::select::{self, Select};
use super::table::{self, Table};
use crate::id::SweepName;
use crate::input::fields::{Fields, Subject, integer, items};
use crate::input::node::{Entry, Node, Value};
use crate::input::problems::Problems;
use crate::input::yaml::Expected;
use std::collections::BTreeSet;
use std::ops::Range;

/// What a sweep file is.
pub(super) const EXPECTED: Expected =
    Expected { value: "a map with `sweep`, `seeds`, `base`", begins: "a sweep file begins with `sweep: NAME`" };

/// What a sweep file says, or one of its profiles makes of it.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: Option<SweepName>,
    pub(super) description: Option<String>,
    pub(super) seeds: Seeds,
    pub(super) base: Vec<Entry>,
    pub(super) axes: Vec<Axis>,
    pub(super) overrides: Vec<Rule>,
    pub(super) excludes: Vec<Rule>,
    /// Whether all rules are there: one that is not would have changed what configurations are checked for.
    pub(super) rules_sound: bool,
    pub(super) select: Option<Select>,
    pub(super) table: Table,
    pub(super) place: Place,
    pub(super) exclude_place: Range<usize>,
    /// Where a number of jobs that is too large is reported.
    pub(super) size_place: Range<usize>,
    /// What is set in every job when all else has been, and in every parent.
    pub(super) last: Vec<Change>,
    pub(super) profiles: Vec<Profile>,
}

/// The seeds, not yet listed: there may be too many.
#[derive(Clone, Debug)]
pub(super) enum Seeds {
    First(u64),
    These(Vec<u64>),
}

impl Seeds {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        match self {
            Seeds::First(count) => *count,
            Seeds::These(seeds) => seeds.len() as u64,
        }
    }

    /// All of them.
    pub(super) fn list(self) -> Vec<u64> {
        match self {
            Seeds::First(count) => (0..count).collect(),
            Seeds::These(seeds) => seeds,
        }
    }
}

/// Reads the file whose value is `root`.
pub(super) fn read(root: &Node, schema: &Schema, problems: &mut Problems) -> Option<File> {
    let Some(entries) = root.entries() else {
        let label = format!("expected {}, found {}", EXPECTED.value, root.described());
        // Where it begins: a list would be shown with all its lines.
        let start = root.span.start..root.span.start;
        problems.report(start, "the file is not a sweep".to_owned(), label, Some(EXPECTED.begins.to_owned()));
        return None;
    };
    let start = entries.first().map_or(root.span.clone(), |(key, _)| key.span.clone());
    let mut fields = Fields::new(entries, Subject("a sweep file", None), start.clone(), problems);
    let name = name(&mut fields);
    let description = fields.text("description").optional().map(|text| text.trim().to_owned());
    let seeds = seeds(&mut fields);
    let base = base(&mut fields);
    let (axes, refused) = grid::read(&mut fields, schema);
    let before = fields.problems().reports();
    let overrides = rules::overrides(&mut fields, schema);
    let excludes = rules::exclude(&mut fields, schema);
    let rules_sound = fields.problems().reports() == before;
    let (select, select_sound) = select::read(&mut fields, schema);
    let mut table = table::read(&mut fields, &axes, select.as_ref(), schema);
    // Which cells may share a place is not known where it is not known what is chosen.
    table.sound &= select_sound;
    let key_place = |key| fields.key_place(key).unwrap_or_else(|| start.clone());
    let (span, exclude_place) = (key_place("base"), key_place("exclude"));
    let size_place = fields.key_place("grid").unwrap_or_else(|| key_place("seeds"));
    let profiles = profile::read(&mut fields, name.as_ref(), &axes, schema);
    // An unknown key may hold what is missing elsewhere: `gird` for `grid`.
    let misplaced = fields.has_unknown() && fields.key_place("grid").is_none();
    fields.finish();
    let place = Place { span, excused: refused, all_excused: misplaced };
    let base = base?;
    Some(File {
        name,
        description,
        seeds,
        base,
        axes,
        overrides,
        excludes,
        rules_sound,
        select,
        table,
        place,
        exclude_place,
        size_place,
        last: Vec::new(),
        profiles,
    })
}

fn name(fields: &mut Fields<'_>) -> Option<SweepName> {
    let text = fields.text("sweep").required("its name")?;
    let name = text.parse::<SweepName>();
    if let (Err(error), Some(place)) = (&name, fields.value_place("sweep")) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let plain = words.collect::<Vec<_>>().join("-").to_lowercase();
        let help = plain.parse::<SweepName>().is_ok().then(|| format!("`{plain}`, for instance"));
        let title = "not a name for a sweep".to_owned();
        fields.problems().report(place, title, format!("expected {}", error.expected()), help);
    }
    name.ok()
}

/// One seed stands in where they are wrong.
fn seeds(fields: &mut Fields<'_>) -> Seeds {
    let Some(node) = fields.node("seeds") else {
        fields.missing("seeds", SEEDS);
        return Seeds::First(1);
    };
    seeds_of(fields, node)
}

const SEEDS: &str = "a number of seeds (`5` for 0 to 4) or a list of them";

/// The seeds that `node` says; one stands in where it is wrong.
pub(super) fn seeds_of(fields: &mut Fields<'_>, node: &Node) -> Seeds {
    match &node.value {
        Value::Seq(_) => {
            let mut seeds = Vec::new();
            let mut seen = BTreeSet::new();
            for item in items(fields, "seeds", node, SEEDS).unwrap_or_default() {
                let seed = integer(fields, "seeds", item, 0, i64::MAX as u64);
                if seen.insert(seed) {
                    seeds.push(seed);
                } else if matches!(item.value, Value::Int(value) if value >= 0) {
                    let label = "a job is trained once under each seed".to_owned();
                    let title = format!("the seed {seed} is given twice");
                    fields.problems().report(item.span.clone(), title, label, Some("remove it here".to_owned()));
                }
            }
            Seeds::These(seeds)
        }
        Value::Int(_) | Value::Float(_) => Seeds::First(integer(fields, "seeds", node, 1, i64::MAX as u64)),
        _ => {
            fields.unexpected("seeds", node, SEEDS, None);
            Seeds::First(1)
        }
    }
}

fn base(fields: &mut Fields<'_>) -> Option<Vec<Entry>> {
    const EXPECTED: &str = "the configuration that its jobs share";
    let Some(node) = fields.node("base") else {
        fields.missing("base", EXPECTED);
        return None;
    };
    if node.entries().is_none() {
        fields.unexpected("base", node, "a map, the configuration that the jobs share", None);
    }
    Some(node.entries()?.to_vec())
}
