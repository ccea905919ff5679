//! Combinations of the grid that describe the same cell: a value is written twice, in two ways.
//!
//! The hashes of the cells are compared, so that no way of writing is missed: a default made explicit, another order of keys, a value
//! that a list inside a map repeats. Combinations that only overrides make equal are one cell on purpose: an override may say that an
//! axis does not matter to some jobs.

use super::ancestry::AncestryReader;
use super::combination::Combination;
use super::grid::{ExpandedAxis, REMEDY, already};
use super::path::Path;
use super::rules::Rule;
use crate::id::CellId;
use crate::input::node::{Node, shortened};
use crate::input::problems::Problems;
use crate::job::Configuration;
use serde_json::Value;
use std::rc::Rc;

/// Finds the values that make two combinations equal. A combination is named by its position in the product of the axes.
pub(super) struct Duplicates<'a> {
    axes: &'a [ExpandedAxis<'a>],
    base: &'a Combination,
    ancestry: AncestryReader<'a>,
    /// Reports so far. Others make the file invalid, and what it repeats is then uncertain.
    reported: usize,
}

impl<'a> Duplicates<'a> {
    pub(super) fn new(axes: &'a [ExpandedAxis<'a>], base: &'a Combination, ancestry: AncestryReader<'a>) -> Self {
        Duplicates { axes, base, ancestry, reported: 0 }
    }

    /// Reports that the combinations `pair` both have this configuration, unless only `overrides` make them equal.
    pub(super) fn check(
        &mut self,
        pair: [u64; 2],
        configuration: &Configuration,
        overrides: &mut [Rule],
        problems: &mut Problems,
    ) {
        if problems.accepted_before() || problems.reports() != self.reported {
            return;
        }
        let [first, second] = pair.map(|position| self.choice(position));
        let differing: Vec<usize> = (0..self.axes.len()).filter(|axis| first[*axis] != second[*axis]).collect();
        let [written, other] = [&first, &second].map(|choice| self.combination(choice));
        let changed: Vec<Path> = [&written, &other].iter().flat_map(|one| self.changed(one, overrides)).collect();
        let is_changed = |axis: &usize| {
            let path = Path::dotted(&self.axes[*axis].0.name);
            changed.iter().any(|changed| changed.overlaps(&path))
        };
        let unchanged = differing.iter().find(|axis| !is_changed(axis)).copied();
        let equal_as_written = || {
            let id = self.id(written);
            (id.is_some() && id == self.id(other)).then(|| differing.last().copied()).flatten()
        };
        if let Some(axis) = unchanged.or_else(equal_as_written) {
            self.report(axis, [first[axis], second[axis]], configuration, problems);
        }
    }

    /// The index of the value of each axis; the last axis varies fastest.
    fn choice(&self, position: u64) -> Vec<usize> {
        let mut rest = position;
        let mut choice: Vec<usize> = Vec::with_capacity(self.axes.len());
        for (_, values) in self.axes.iter().rev() {
            let length = values.len().max(1) as u64;
            choice.push((rest % length) as usize);
            rest /= length;
        }
        choice.reverse();
        choice
    }

    /// The combination before any override.
    fn combination(&self, choice: &[usize]) -> Combination {
        let mut combination = self.base.clone();
        for ((path, values), index) in self.axes.iter().zip(choice) {
            values.get(*index).into_iter().for_each(|value| combination.set(path, value));
        }
        combination
    }

    /// The paths that overrides and the profile set in a combination.
    fn changed(&self, written: &Combination, overrides: &mut [Rule]) -> Vec<Path> {
        let mut combination = written.clone();
        let mut changed: Vec<Path> = self.ancestry.profile.iter().map(|(path, _)| Path::dotted(&path.name)).collect();
        for rule in overrides {
            if rule.holds(&combination) {
                changed.extend(rule.changed().map(|path| Path::dotted(&path.name)));
                rule.apply(&mut combination);
            }
        }
        changed
    }

    /// The cell of a combination; `None` if it is not complete, as when an override is to set a key.
    fn id(&self, combination: Combination) -> Option<CellId> {
        let members = self.ancestry.read(combination, &mut Problems::default())?;
        members.first().map(|member| member.configuration.cell())
    }

    fn report(&mut self, axis: usize, pair: [usize; 2], configuration: &Configuration, problems: &mut Problems) {
        let (path, values) = &self.axes[axis];
        let (mut name, mut nodes) = (path.name.clone(), pair.map(|index| &values[index]));
        // Both may come from one map, whose lists are multiplied out.
        if nodes[0].span == nodes[1].span
            && let Some((key, below)) = differing_entry(nodes)
        {
            (name, nodes) = (format!("{name}.{key}"), below);
        }
        nodes.sort_by_key(|node| node.span.start);
        let why = match Path::dotted(&name).value_in(configuration) {
            None | Some(Value::Null) => "both mean the default".to_owned(),
            Some(value) => format!("both mean `{}`", shortened(&flow(&value))),
        };
        let label = format!("{}: {why}", already(&name, nodes[0], problems));
        let help = Some(REMEDY.to_owned());
        problems.report(nodes[1].span.clone(), "a value is given twice".to_owned(), label, help);
        self.reported = problems.reports();
    }
}

/// The key with other values in the second map than in the first.
fn differing_entry([a, b]: [&Rc<Node>; 2]) -> Option<(String, [&Rc<Node>; 2])> {
    let mut entries = a.entries()?.iter().filter_map(|(key, node)| Some((key, node, b.get(&key.name)?)));
    let (key, a, b) = entries.find(|(_, a, b)| !Rc::ptr_eq(a, b))?;
    Some((key.name.to_string(), [a, b]))
}

/// A value on one line of YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let part = |(key, value): (&String, &Value)| format!("{key}: {}", flow(value));
            format!("{{{}}}", map.iter().map(part).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
