//! From the grid to cells.

use super::Cell;
use super::checks::Checks;
use super::combination::Combination;
use super::configuration::{Route, Schema};
use super::file::File;
use super::grid::{self, Unfolded};
use super::parent::{Generation, Reading};
use super::rules::{Rule, Values};
use super::select::{self, Select};
use super::table::{self, Places};
use crate::id::CellId;
use crate::input::problems::Problems;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a grid comes to.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// In the order of the grid.
    pub(super) cells: Vec<Cell>,
    /// What they build on, each behind what it builds on itself.
    pub(super) parents: Vec<Cell>,
    /// The cells that differ in what is chosen alone, by index; empty where nothing is.
    pub(super) groups: Vec<Vec<usize>>,
}

/// The cells of the file, in the order of its grid. Where the grid is not to be looked at whole, the first combination is
/// all that is checked.
pub(super) fn expand(file: &mut File, schema: &Schema, whole: bool, problems: &mut Problems) -> Expanded {
    let File { base, axes, overrides, excludes, rules_sound, seeds, select, table, place, exclude_place, last, .. } =
        file;
    let axes = grid::unfolded(axes, schema, whole);
    let base = Combination::new(base);
    let mut checks = Checks::default();
    let (mut cells, mut parents): (Vec<Cell>, Vec<Cell>) = Default::default();
    // By cell: what the candidates of its group have in common.
    let mut group_of: Vec<CellId> = Vec::new();
    let (mut ids, mut parent_ids) = (BTreeSet::new(), BTreeSet::new());
    let reading = Reading { schema, place, last };
    let mut places = Places::default();
    let mut mixing = None;

    let mut all_excluded = true;
    let before = problems.reports();
    // Broken off or not, what was found is what is reported.
    let _ = grid::cross(&axes, &base, &mut |written| {
        let mut combination = written.clone();
        for rule in overrides.iter_mut() {
            if rule.holds(&combination) {
                rule.apply(&mut combination);
            }
        }
        // Not `any`: each rule is to see every combination.
        let mut excluded = false;
        for rule in excludes.iter_mut() {
            excluded |= rule.holds(&combination);
        }
        if excluded {
            return ControlFlow::Continue(());
        }
        all_excluded = false;
        last.iter().for_each(|(route, value)| combination.set(route, value));
        let lineage = reading.lineage(combination, problems).unwrap_or_default();
        for (i, Generation { combination, configuration }) in lineage.into_iter().enumerate().rev() {
            let own = i == 0;
            if *rules_sound {
                checks.check(&configuration, &combination, own.then_some(&*table), &place.span, problems);
            }
            let id = configuration.cell();
            if !own {
                if parent_ids.insert(id) {
                    parents.push(Cell { id, configuration: Arc::new(configuration) });
                }
            // Overrides may make two combinations one; it is trained once.
            } else if ids.insert(id) {
                let other = places.take(&table.spec, &configuration, cells.len());
                let group = select.as_ref().map(|select| select.group(&configuration));
                // Candidates have one place: the best of them takes it.
                let other = other.filter(|other| group.is_none() || group_of.get(*other) != group.as_ref());
                group_of.extend(group);
                mixing = mixing.or(other.map(|other| (other, cells.len())));
                cells.push(Cell { id, configuration: Arc::new(configuration) });
            }
        }
        if problems.is_enough() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !whole {
        return Expanded::default();
    }
    let sound = problems.reports() == before;
    let mixing = mixing.filter(|_| table.sound && *rules_sound);
    if let Some((a, b)) = mixing {
        let chosen = select.as_ref().map(Select::paths).unwrap_or_default();
        table::report_mixing(table, &chosen, &cells[a].configuration, &cells[b].configuration, schema, problems);
    }
    if place.excused.is_empty() && !place.all_excused {
        report_unmet(overrides, excludes, &axes, &base, problems);
    }
    if all_excluded && !excludes.is_empty() {
        let label = "this leaves no job".to_owned();
        problems.report(exclude_place.clone(), "every job is excluded".to_owned(), label, None);
        return Expanded::default();
    }
    let groups = select::grouped(&group_of);
    if sound {
        checks.finish(table, problems);
        if let Some(select) = select.as_ref().filter(|_| mixing.is_none() && table.sound && *rules_sound) {
            select.check(&cells, &groups, seeds.len(), &table.spec, problems);
        }
    }
    Expanded { cells, parents, groups }
}

/// Reports the rules that nothing meets, naming the values there are.
fn report_unmet(
    overrides: &mut [Rule],
    excludes: &[Rule],
    axes: &[Unfolded<'_>],
    base: &Combination,
    problems: &mut Problems,
) {
    if problems.is_enough() || overrides.iter().chain(excludes).all(Rule::is_met) {
        return;
    }
    let routes: BTreeMap<String, Route> = overrides
        .iter()
        .chain(excludes)
        .flat_map(Rule::unmet_paths)
        .map(|route| (route.name.clone(), route.clone()))
        .collect();
    let mut values: BTreeMap<&str, Values> = BTreeMap::new();
    let _ = grid::cross(axes, base, &mut |written| {
        let mut combination = written.clone();
        let mut note = |combination: &Combination| {
            for (name, route) in &routes {
                if let Some(value) = combination.find(route) {
                    values.entry(name.as_str()).or_default().insert(value);
                }
            }
        };
        note(&combination);
        for rule in overrides.iter_mut() {
            if rule.holds(&combination) {
                rule.apply(&mut combination);
            }
        }
        note(&combination);
        ControlFlow::Continue(())
    });
    let none = Values::default();
    let of = |route: &Route| values.get(route.name.as_str()).unwrap_or(&none);
    overrides.iter().chain(excludes).for_each(|rule| rule.report(&of, problems));
}
