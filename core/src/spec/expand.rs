//! From the grid to cells.

use super::Cell;
use super::checks::Checks;
use super::combination::Combination;
use super::configuration::{self, Route, Schema};
use super::file::File;
use super::grid::{self, Unfolded};
use super::problems::Problems;
use super::rules::{Rule, Values};
use super::table::{self, Places};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The cells of the file, in the order of its grid. Where the grid is not to be looked at whole, the first combination is
/// all that is checked.
pub(super) fn expand(file: &mut File, schema: &Schema, whole: bool, problems: &mut Problems) -> Vec<Cell> {
    let File { base, axes, overrides, excludes, rules_sound, table, place, exclude_place, .. } = file;
    let axes = grid::unfolded(axes, schema, whole);
    let base = Combination::new(base);
    let mut checks = Checks::default();
    let mut cells: Vec<Cell> = Vec::new();
    let mut ids = BTreeSet::new();
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
        let read = configuration::read(combination.entries(), place, problems);
        if let Some(configuration) = read {
            if *rules_sound {
                checks.check(&configuration, &combination, table, &place.span, problems);
            }
            let id = configuration.cell();
            // Overrides may make two combinations one; it is trained once.
            if ids.insert(id) {
                let other = places.take(&table.spec, &configuration, cells.len());
                mixing = mixing.or(other.map(|other| (other, cells.len())));
                cells.push(Cell { id, configuration: Arc::new(configuration) });
            }
        }
        if problems.is_enough() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !whole {
        return Vec::new();
    }
    let sound = problems.reports() == before;
    if let Some((a, b)) = mixing.filter(|_| table.sound && *rules_sound) {
        table::report_mixing(table, &cells[a].configuration, &cells[b].configuration, schema, problems);
    }
    if place.excused.is_empty() && !place.all_excused {
        report_unmet(overrides, excludes, &axes, &base, problems);
    }
    if all_excluded && !excludes.is_empty() {
        let label = "this leaves no job".to_owned();
        problems.report(exclude_place.clone(), "every job is excluded".to_owned(), label, None);
    } else if sound {
        checks.finish(table, problems);
    }
    cells
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
