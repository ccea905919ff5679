//! `grid`: the axes, their lengths before expansion, and their product.

use super::combination::Combination;
use super::paths::{Paths, WrittenPath};
use crate::input::fields::{Fields, items};
use crate::input::node::{MapEntry, Node, Value, has_rejected};
use crate::input::problems::{Problems, nearest};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

/// The remedy for a value that is given twice.
pub(super) const REMEDY: &str = "remove one of the two; `seeds` sets how often each cell is trained";

/// A path and the values that it takes.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) path: WrittenPath,
    /// As written.
    values: Vec<Rc<Node>>,
    /// Number of values after the lists inside maps are multiplied out.
    pub(super) length: u128,
}

/// The axes of a grid.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) axes: Vec<Axis>,
    /// Keys of the configuration that rejected axes would have set.
    pub(super) refused: Vec<String>,
    /// Whether there are axes that could not be read at all.
    pub(super) unreadable: bool,
}

/// Reads the axes.
pub(super) fn read(fields: &mut Fields<'_>, paths: &Paths) -> Grid {
    let Some(node) = fields.node("grid") else { return Grid::default() };
    let Some(entries) = node.entries() else {
        fields.unexpected("grid", node, "a map of paths and lists of values, such as `loss: [cce, mae]`", None);
        return Grid { unreadable: true, ..Grid::default() };
    };
    if entries.is_empty() {
        let help = Some("remove `grid` to train `base` alone".to_owned());
        let label = "expected at least one path with a list of values".to_owned();
        fields.problems().report(node.span.clone(), "the grid is empty".to_owned(), label, help);
    }
    let mut axes: Vec<Axis> = Vec::new();
    let mut refused = Vec::new();
    for (key, node) in entries.iter().filter(|(key, _)| !key.rejected) {
        let path = paths.check(&key.name, &key.span, fields.problems());
        let items = items(fields, &key.name, node, "a list of values");
        let (Some(path), Some(items)) = (path, items) else {
            let meant = nearest(&key.name, paths.names().iter().map(String::as_str)).unwrap_or(&key.name);
            refused.extend(meant.split('.').next().map(str::to_owned));
            continue;
        };
        let values: Vec<_> = items.iter().map(|item| path.long_form(item)).collect();
        let length = values.iter().map(|value| expanded_length(&key.name, value, paths, fields.problems())).sum();
        let before = fields.problems().reports();
        map_entries(&values).for_each(|(inner, node)| {
            let below = format!("{}.{}", key.name, inner.name);
            reject_repetition(&below, paths.alternatives(&below, node), fields.problems());
        });
        if fields.problems().reports() == before {
            reject_repetition(&key.name, &values, fields.problems());
        }
        reject_replacement(&axes, &path, fields.problems());
        if length == 0 {
            refused.extend(path.keys.first().map(|key| key.name.to_string()));
            continue;
        }
        axes.push(Axis { path, values, length });
    }
    Grid { axes, refused, unreadable: has_rejected(entries) }
}

/// The keys and values of the maps among `values`.
fn map_entries(values: &[Rc<Node>]) -> impl Iterator<Item = &MapEntry> {
    values.iter().filter_map(|value| value.entries()).flatten()
}

/// "`loss` already has the value `gce` in line 12".
pub(super) fn already(path: &str, first: &Node, problems: &Problems) -> String {
    format!("`{path}` already has the value `{}` in line {}", first.brief(), problems.line_of(first.span.start))
}

/// A repeated value would make two equal cells.
///
/// This finds the same values as written; the module `duplicates` finds those with the same meaning, in a file without other problems.
fn reject_repetition(path: &str, values: &[Rc<Node>], problems: &mut Problems) {
    if problems.accepted_before() {
        return;
    }
    let mut seen: BTreeMap<String, &Node> = BTreeMap::new();
    for value in values {
        if let Some(first) = seen.insert(value.fingerprint(), value) {
            let mut label = already(path, first, problems);
            if first.brief() != value.brief() {
                label += &format!(", which equals `{}`", value.brief());
            }
            problems.report(value.span.clone(), "a value is given twice".to_owned(), label, Some(REMEDY.to_owned()));
        }
    }
}

/// If `loss.q` precedes `loss`, the second replaces what the first has set.
fn reject_replacement(axes: &[Axis], path: &WrittenPath, problems: &mut Problems) {
    for earlier in axes {
        let earlier = &earlier.path.name;
        if earlier.strip_prefix(path.name.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            let label = format!("this replaces the values that `{earlier}` above sets");
            let help = Some(format!("move `{}` before `{earlier}`", path.name));
            let title = format!("`{}` overwrites `{earlier}`", path.name);
            problems.report(path.span(), title, label, help);
        }
    }
}

/// The number of values of `node` after the lists inside its maps are multiplied out.
fn expanded_length(path: &str, node: &Rc<Node>, paths: &Paths, problems: &mut Problems) -> u128 {
    let Some(entries) = node.entries() else { return 1 };
    let lengths = entries.iter().map(|(key, value)| {
        let below = format!("{path}.{}", key.name);
        let alternatives = paths.alternatives(&below, value);
        if alternatives.is_empty() {
            let label = "expected at least one value".to_owned();
            problems.report(value.span.clone(), format!("`{below}` is an empty list"), label, None);
        }
        alternatives.len() as u128
    });
    lengths.fold(1, u128::saturating_mul)
}

/// The product of the lists inside a map, in the order of its keys; the last key varies fastest.
fn expand(path: &str, node: &Rc<Node>, paths: &Paths) -> Vec<Rc<Node>> {
    let Some(entries) = node.entries() else { return vec![Rc::clone(node)] };
    let mut maps = vec![Vec::with_capacity(entries.len())];
    for (key, value) in entries {
        let alternatives = paths.alternatives(&format!("{path}.{}", key.name), value);
        let longer = |map: &Vec<_>| {
            let map = map.clone();
            alternatives.iter().map(move |one| {
                let mut map = map.clone();
                map.push((key.clone(), Rc::clone(one)));
                map
            })
        };
        maps = maps.iter().flat_map(longer).collect();
    }
    maps.into_iter().map(|map| Rc::new(Node::new(node.span.clone(), Value::Map(map)))).collect()
}

/// Whether axes and seeds make at most `max_jobs` jobs; more are reported at `place`.
pub(super) fn is_small_enough(
    axes: &[Axis],
    seeds: u64,
    max_jobs: u64,
    place: Range<usize>,
    problems: &mut Problems,
) -> bool {
    let jobs = axes.iter().map(|axis| axis.length).fold(u128::from(seeds), u128::saturating_mul);
    if jobs <= u128::from(max_jobs) {
        return true;
    }
    let mut factors: Vec<_> = axes.iter().map(|axis| format!("{} {}", grouped(axis.length), axis.path.name)).collect();
    factors.push(format!("{} seeds", grouped(u128::from(seeds))));
    let title = format!("the sweep has too many jobs: {}", grouped(jobs));
    let label = factors.join(" × ");
    let help = Some(format!("reduce the grid or the seeds to at most {} jobs", grouped(u128::from(max_jobs))));
    problems.report(place, title, label, help);
    false
}

/// The number with separators: 1,234,567.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let grouped = digits.bytes().enumerate().flat_map(|(i, digit)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([char::from(digit)])
    });
    grouped.collect()
}

/// An axis with its values multiplied out.
pub(super) type ExpandedAxis<'a> = (&'a WrittenPath, Vec<Rc<Node>>);

/// Multiplies out the values of each axis. If the grid is too large (`complete` is false), returns the first value of each.
pub(super) fn expanded<'a>(axes: &'a [Axis], paths: &Paths, complete: bool) -> Vec<ExpandedAxis<'a>> {
    let values = |axis: &Axis| -> Vec<Rc<Node>> {
        if complete {
            axis.values.iter().flat_map(|value| expand(&axis.path.name, value, paths)).collect()
        } else {
            // One combination shows the problems that all of them share.
            axis.values.first().map(|value| first(&axis.path.name, value, paths)).into_iter().collect()
        }
    };
    axes.iter().map(|axis| (&axis.path, values(axis))).collect()
}

/// The first value that [`expand`] returns.
fn first(path: &str, node: &Rc<Node>, paths: &Paths) -> Rc<Node> {
    let Some(entries) = node.entries() else { return Rc::clone(node) };
    let map = entries.iter().filter_map(|(key, value)| {
        let one = paths.alternatives(&format!("{path}.{}", key.name), value).first()?;
        Some((key.clone(), Rc::clone(one)))
    });
    Rc::new(Node::new(node.span.clone(), Value::Map(map.collect())))
}

/// Calls `visit` with every combination until it breaks; the last axis varies fastest.
pub(super) fn cross(
    axes: &[ExpandedAxis<'_>],
    combination: &Combination,
    visit: &mut dyn FnMut(&Combination) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(((path, values), rest)) = axes.split_first() else { return visit(combination) };
    values.iter().try_for_each(|value| {
        let mut next = combination.clone();
        next.set(path, value);
        cross(rest, &next, visit)
    })
}
