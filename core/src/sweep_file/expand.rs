//! Expands the grid into cells and their parents.

use super::ancestry::{AncestryReader, Member};
use super::checks::Checks;
use super::combination::Combination;
use super::configuration::MissingKeys;
use super::duplicates::Duplicates;
use super::file::File;
use super::grid::{self, ExpandedAxis};
use super::paths::{Paths, WrittenPath};
use super::rules::{OccurringValues, Rule};
use super::select::{self, SelectKey};
use super::sweep::Cell;
use super::table::{self, CellsByPlace, Table};
use crate::id::CellId;
use crate::input::problems::Problems;
use crate::job::Configuration;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The cells of a grid.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// In the order of the grid.
    pub(super) cells: Vec<Cell>,
    /// Parents of cells, each after its own parent.
    pub(super) parents: Vec<Cell>,
    /// Candidates of each selection, as indices of cells; empty without a selection.
    pub(super) groups: Vec<Vec<usize>>,
}

/// Collects the cells of combinations as they are read.
struct Collector<'a> {
    select: Option<&'a SelectKey>,
    table: &'a Table,
    rules_valid: bool,
    missing: &'a MissingKeys,
    checks: Checks,
    expanded: Expanded,
    /// The group of each cell, if there is a selection.
    group_of: Vec<CellId>,
    /// Each cell with the position of its combination in the grid.
    positions: BTreeMap<CellId, u64>,
    parent_ids: BTreeSet<CellId>,
    places: CellsByPlace,
    /// Two cells that share a place of the table.
    shared_place: Option<(usize, usize)>,
}

impl<'a> Collector<'a> {
    fn new(select: Option<&'a SelectKey>, table: &'a Table, rules_valid: bool, missing: &'a MissingKeys) -> Self {
        Collector {
            select,
            table,
            rules_valid,
            missing,
            checks: Checks::default(),
            expanded: Expanded::default(),
            group_of: Vec::new(),
            positions: BTreeMap::new(),
            parent_ids: BTreeSet::new(),
            places: CellsByPlace::default(),
            shared_place: None,
        }
    }

    /// Adds a cell and its parents, which follow it in `members`. `position` is that of its combination in the grid. Returns an
    /// earlier position that has the same cell, and the configuration of both.
    fn add(
        &mut self,
        members: Vec<Member>,
        position: u64,
        problems: &mut Problems,
    ) -> Option<(u64, Box<Configuration>)> {
        for (i, Member { combination, configuration }) in members.into_iter().enumerate().rev() {
            let is_cell = i == 0;
            if self.rules_valid {
                let table = is_cell.then_some(self.table);
                self.checks.check(&configuration, &combination, table, &self.missing.span, problems);
            }
            let id = configuration.cell();
            if !is_cell {
                if self.parent_ids.insert(id) {
                    self.expanded.parents.push(Cell { id, configuration: Arc::new(configuration) });
                }
                continue;
            }
            match self.positions.entry(id) {
                Entry::Occupied(earlier) => return Some((*earlier.get(), Box::new(configuration))),
                Entry::Vacant(place) => {
                    place.insert(position);
                }
            }
            let index = self.expanded.cells.len();
            let other = self.places.insert(&self.table.spec, &configuration, index);
            let group = self.select.map(|select| select.group(&configuration));
            // Candidates of one group may share a place: the best of them takes it.
            let other = other.filter(|other| group.is_none() || self.group_of.get(*other) != group.as_ref());
            self.group_of.extend(group);
            self.shared_place = self.shared_place.or(other.map(|other| (other, index)));
            self.expanded.cells.push(Cell { id, configuration: Arc::new(configuration) });
        }
        None
    }

    /// Checks the cells as a whole. `valid` tells whether each of them is valid for itself.
    fn finish(mut self, valid: bool, seeds: u64, paths: &Paths, problems: &mut Problems) -> Expanded {
        let layout_valid = self.table.valid && self.rules_valid;
        let shared_place = self.shared_place.filter(|_| layout_valid);
        let cells = &self.expanded.cells;
        if let Some((a, b)) = shared_place {
            let chosen = self.select.map(SelectKey::paths).unwrap_or_default();
            let pair = [a, b].map(|cell| &*cells[cell].configuration);
            table::report_shared_place(self.table, &chosen, pair, paths, problems);
        }
        let groups = select::grouped(&self.group_of);
        if valid {
            self.checks.finish(self.table, problems);
            if let Some(select) = self.select.filter(|_| shared_place.is_none() && layout_valid) {
                select.check(cells, &groups, seeds, &self.table.spec, problems);
            }
        }
        self.expanded.groups = groups;
        self.expanded
    }
}

/// The cells of the file. If the grid is too large (`complete` is false), only its first combination is checked.
pub(super) fn expand(file: &mut File, paths: &Paths, complete: bool, problems: &mut Problems) -> Expanded {
    let File { base, axes, overrides, excludes, select, table, missing, profile_changes, .. } = file;
    let axes = grid::expanded(axes, paths, complete);
    let base = Combination::new(base, paths);
    let mut collector = Collector::new(select.as_ref(), table, file.rules_valid, missing);
    let ancestry = AncestryReader { paths, missing, profile: profile_changes };
    let mut duplicates = Duplicates::new(&axes, &base, ancestry);
    let mut all_excluded = true;
    let before = problems.reports();
    let mut positions = 0..;
    // Whether the iteration stopped early does not matter: the problems found so far are reported.
    let _ = grid::cross(&axes, &base, &mut |written| {
        let position = positions.next().unwrap_or_default();
        let mut combination = written.clone();
        apply_overrides(overrides, &mut combination);
        // Not `any`: every rule must see every combination.
        let mut excluded = false;
        for rule in excludes.iter_mut() {
            excluded |= rule.holds(&combination);
        }
        if excluded {
            return ControlFlow::Continue(());
        }
        all_excluded = false;
        profile_changes.iter().for_each(|(path, value)| combination.set(path, value));
        let members = ancestry.read(combination, problems).unwrap_or_default();
        // Overrides may make two combinations equal; they are one cell.
        if let Some((earlier, configuration)) = collector.add(members, position, problems) {
            duplicates.check([earlier, position], &configuration, overrides, problems);
        }
        if problems.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !complete {
        return Expanded::default();
    }
    let valid = problems.reports() == before;
    let nothing_left = all_excluded && !excludes.is_empty();
    let expanded = collector.finish(valid && !nothing_left, file.seeds.len(), paths, problems);
    if missing.excused.is_empty() && !missing.all_excused {
        report_unmet(overrides, excludes, &axes, &base, problems);
    }
    if nothing_left {
        let label = "no job remains".to_owned();
        problems.report(file.exclude_place.clone(), "every job is excluded".to_owned(), label, None);
        return Expanded::default();
    }
    expanded
}

fn apply_overrides(overrides: &mut [Rule], combination: &mut Combination) {
    for rule in overrides {
        if rule.holds(combination) {
            rule.apply(combination);
        }
    }
}

/// Reports rules and values that match no combination, with the values that occur.
fn report_unmet(
    overrides: &mut [Rule],
    excludes: &[Rule],
    axes: &[ExpandedAxis<'_>],
    base: &Combination,
    problems: &mut Problems,
) {
    if problems.is_full() || overrides.iter().chain(excludes).all(Rule::is_met) {
        return;
    }
    let paths: BTreeMap<String, WrittenPath> = overrides
        .iter()
        .chain(excludes)
        .flat_map(Rule::unmet_paths)
        .map(|path| (path.name.clone(), path.clone()))
        .collect();
    let mut values: BTreeMap<&str, OccurringValues> = BTreeMap::new();
    let _ = grid::cross(axes, base, &mut |written| {
        let mut combination = written.clone();
        let mut note = |combination: &Combination| {
            for (name, path) in &paths {
                if let Some(value) = combination.find(path) {
                    values.entry(name.as_str()).or_default().insert(value, problems);
                }
            }
        };
        note(&combination);
        apply_overrides(overrides, &mut combination);
        note(&combination);
        ControlFlow::Continue(())
    });
    let none = OccurringValues::default();
    let of = |path: &WrittenPath| values.get(path.name.as_str()).unwrap_or(&none);
    overrides.iter().chain(excludes).for_each(|rule| rule.report_unmet(&of, problems));
}
