//! The grid: axes, how long each is before it is unfolded, and their product.

use super::combination::Combination;
use super::configuration::{Route, Schema, long_form};
use crate::input::fields::{Fields, items};
use crate::input::node::{Entry, Node, Value};
use crate::input::problems::{Problems, nearest};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

/// A path and the values that it takes.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) route: Route,
    /// As written.
    values: Vec<Rc<Node>>,
    /// How many the written ones make with the lists of their maps multiplied out.
    pub(super) length: u128,
}

/// Reads the axes of the grid, and which keys of the configuration would have been set by those that were refused.
pub(super) fn read(fields: &mut Fields<'_>, schema: &Schema) -> (Vec<Axis>, Vec<String>) {
    let Some(node) = fields.node("grid") else { return Default::default() };
    let Some(entries) = node.entries() else {
        fields.unexpected("grid", node, "a map of paths and lists of values, such as `loss: [cce, mae]`", None);
        return Default::default();
    };
    if entries.is_empty() {
        let help = Some("leave `grid` out where `base` is all there is".to_owned());
        let label = "expected at least one path with a list of values".to_owned();
        fields.problems().report(node.span.clone(), "the grid is empty".to_owned(), label, help);
    }
    let mut axes: Vec<Axis> = Vec::new();
    let mut refused = Vec::new();
    for (key, node) in entries {
        let route = schema.check(&key.name, &key.span, fields.problems());
        let items = items(fields, &key.name, node, "a list of values");
        let (Some(route), Some(items)) = (route, items) else {
            let meant = nearest(&key.name, schema.paths().iter().map(String::as_str)).unwrap_or(&key.name);
            refused.extend(meant.split('.').next().map(str::to_owned));
            continue;
        };
        let values: Vec<_> = items.iter().map(|item| long_form(&key.name, item)).collect();
        let length = values.iter().map(|value| unfolded_length(&key.name, value, schema, fields.problems())).sum();
        let before = fields.problems().reports();
        entries_of(&values).for_each(|(inner, node)| {
            let below = format!("{}.{}", key.name, inner.name);
            refuse_repetition(&below, schema.alternatives(&below, node), fields.problems());
        });
        if fields.problems().reports() == before {
            refuse_repetition(&key.name, &values, fields.problems());
        }
        refuse_replacement(&axes, &route, fields.problems());
        if length == 0 {
            refused.extend(route.keys.first().map(|key| key.name.to_string()));
            continue;
        }
        axes.push(Axis { route, values, length });
    }
    (axes, refused)
}

/// What stands in the maps among `values`.
fn entries_of(values: &[Rc<Node>]) -> impl Iterator<Item = &Entry> {
    values.iter().filter_map(|value| value.entries()).flatten()
}

/// A value that stands twice in one list would be two cells that are one.
fn refuse_repetition(path: &str, values: &[Rc<Node>], problems: &mut Problems) {
    let mut seen: BTreeMap<String, &Node> = BTreeMap::new();
    for value in values {
        if let Some(first) = seen.insert(value.fingerprint(), value) {
            let label = format!("`{path}` has the value `{}` already", first.brief());
            let help = Some("remove one of the two; how often a cell is trained is said by `seeds`".to_owned());
            problems.report(value.span.clone(), "a value is given twice".to_owned(), label, help);
        }
    }
}

/// `loss.q` before `loss` would set what is then replaced.
fn refuse_replacement(axes: &[Axis], route: &Route, problems: &mut Problems) {
    for earlier in axes {
        let earlier = &earlier.route.name;
        if earlier.strip_prefix(route.name.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            let label = format!("this replaces what `{earlier}` above has set");
            let help = Some(format!("put `{}` before `{earlier}`", route.name));
            let title = format!("`{}` undoes `{earlier}`", route.name);
            problems.report(route.span(), title, label, help);
        }
    }
}

/// How many values `node` is, once the lists within its maps are multiplied out.
fn unfolded_length(path: &str, node: &Rc<Node>, schema: &Schema, problems: &mut Problems) -> u128 {
    let Some(entries) = node.entries() else { return 1 };
    let lengths = entries.iter().map(|(key, value)| {
        let below = format!("{path}.{}", key.name);
        let alternatives = schema.alternatives(&below, value);
        if alternatives.is_empty() {
            let label = "expected at least one value".to_owned();
            problems.report(value.span.clone(), format!("`{below}` is an empty list"), label, None);
        }
        alternatives.len() as u128
    });
    lengths.fold(1, u128::saturating_mul)
}

/// The values of a map's lists, crossed in the order of its keys, the last varying fastest.
fn unfold(path: &str, node: &Rc<Node>, schema: &Schema) -> Vec<Rc<Node>> {
    let Some(entries) = node.entries() else { return vec![Rc::clone(node)] };
    let mut maps = vec![Vec::with_capacity(entries.len())];
    for (key, value) in entries {
        let alternatives = schema.alternatives(&format!("{path}.{}", key.name), value);
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

/// The number of jobs that axes and seeds make, reported at `place` where it is more than `max_jobs`.
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
    let mut factors: Vec<_> = axes.iter().map(|axis| format!("{} {}", grouped(axis.length), axis.route.name)).collect();
    factors.push(format!("{} seeds", grouped(u128::from(seeds))));
    let title = format!("the sweep has {} jobs, which is too many", grouped(jobs));
    let label = factors.join(" × ");
    let help = Some(format!("at most {} are accepted", grouped(u128::from(max_jobs))));
    problems.report(place, title, label, help);
    false
}

/// 1,234,567.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let grouped = digits.bytes().enumerate().flat_map(|(i, digit)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([char::from(digit)])
    });
    grouped.collect()
}

/// An axis with its values multiplied out.
pub(super) type Unfolded<'a> = (&'a Route, Vec<Rc<Node>>);

/// Multiplies out the values of each axis; only the first of each for a grid that is too large to look at whole.
pub(super) fn unfolded<'a>(axes: &'a [Axis], schema: &Schema, whole: bool) -> Vec<Unfolded<'a>> {
    let values = |axis: &Axis| -> Vec<Rc<Node>> {
        if whole {
            axis.values.iter().flat_map(|value| unfold(&axis.route.name, value, schema)).collect()
        } else {
            // One value is enough to find what is wrong whatever the combination.
            axis.values.first().map(|value| first(&axis.route.name, value, schema)).into_iter().collect()
        }
    };
    axes.iter().map(|axis| (&axis.route, values(axis))).collect()
}

/// The first value that `unfold` would give.
fn first(path: &str, node: &Rc<Node>, schema: &Schema) -> Rc<Node> {
    let Some(entries) = node.entries() else { return Rc::clone(node) };
    let map = entries.iter().filter_map(|(key, value)| {
        let one = schema.alternatives(&format!("{path}.{}", key.name), value).first()?;
        Some((key.clone(), Rc::clone(one)))
    });
    Rc::new(Node::new(node.span.clone(), Value::Map(map.collect())))
}

/// Shows every combination to `visit`, the last axis varying fastest, until it breaks off.
pub(super) fn cross(
    axes: &[Unfolded<'_>],
    combination: &Combination,
    visit: &mut dyn FnMut(&Combination) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(((route, values), rest)) = axes.split_first() else { return visit(combination) };
    values.iter().try_for_each(|value| {
        let mut next = combination.clone();
        next.set(route, value);
        cross(rest, &next, visit)
    })
}
