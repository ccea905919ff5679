//! `select`: which hyper-parameters are chosen, and by what.

use super::configuration::{Route, Schema};
use super::sweep::{Cell, Path};
use super::table::{to_path, value_at};
use crate::id::CellId;
use crate::input::fields::{Fields, Subject, items};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::metric::{Better, EpochSelection, Metric};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// What `select` says, and where.
#[derive(Clone, Debug)]
pub(super) struct Select {
    over: Vec<Route>,
    by: Metric,
    at: EpochSelection,
    seeds: u64,
    place: Range<usize>,
    by_place: Range<usize>,
    at_place: Range<usize>,
    seeds_place: Range<usize>,
    /// Whether it is no problem if there is nothing to choose.
    excused: bool,
}

/// Reads `select`. Whether what is there is sound stands beside it.
pub(super) fn read(fields: &mut Fields<'_>, schema: &Schema) -> (Option<Select>, bool) {
    const EXPECTED: &str = "a map such as `{over: [optimizer.lr], by: validation_loss}`";
    const BY: &[(&str, Metric)] =
        &[("validation_loss", Metric::ValidationLoss), ("validation_accuracy", Metric::ValidationAccuracy)];
    let Some(node) = fields.node("select") else { return (None, true) };
    let Some(entries) = node.entries() else {
        fields.unexpected("select", node, EXPECTED, None);
        return (None, false);
    };
    let place = fields.key_place("select").unwrap_or_else(|| node.span.clone());
    let before = fields.problems().reports();
    let mut select = Fields::new(entries, Subject("`select`", None), place.clone(), fields.problems());
    let over = over(&mut select, schema);
    let by = select.choice("by", BY).required();
    let mode = select.choice("mode", &[("min", Better::Lower), ("max", Better::Higher)]);
    let mode = mode.or(by.map_or(Better::Lower, Metric::better));
    let (mean, one) = EpochSelection::NAMES.split_last().unwrap_or((&"", &[]));
    let others = format!("or a mean over any number of epochs, such as `{mean}`");
    let at = select.named("at", one, (&others, &[mean]), EpochSelection::Best);
    let seeds = select.integer("seeds").at_least(1).or(1);
    let place_of = |select: &Fields<'_>, key| select.value_place(key).unwrap_or_else(|| place.clone());
    let (by_place, mode_place) = (place_of(&select, "by"), place_of(&select, "mode"));
    let (at_place, seeds_place) = (place_of(&select, "at"), place_of(&select, "seeds"));
    if let Some(by) = by {
        if mode != by.better() {
            let (asked, right) = match mode {
                Better::Higher => ("highest", "min"),
                Better::Lower => ("lowest", "max"),
            };
            let title = format!("`mode` asks for the worst `{by}`");
            let help = Some(format!("`mode: {right}`, or leave `mode` out"));
            select.problems().report(mode_place, title, format!("the {asked} is not the best"), help);
        }
        for route in over.iter().flatten() {
            if by == Metric::ValidationLoss && &*route.keys[0].name == "loss" {
                let title = format!("`validation_loss` does not compare values of `{}`", route.name);
                let label = "each job's is of its own loss".to_owned();
                let help = Some("take `by: validation_accuracy`".to_owned());
                select.problems().report(route.span(), title, label, help);
            }
        }
    }
    select.finish();
    let sound = fields.problems().reports() == before;
    let read = |(over, by)| Select { over, by, at, seeds, place, by_place, at_place, seeds_place, excused: false };
    (over.zip(by).map(read), sound)
}

fn over(select: &mut Fields<'_>, schema: &Schema) -> Option<Vec<Route>> {
    const EXPECTED: &str = "a list of paths, such as `[optimizer.lr, batch_size]`";
    let Some(node) = select.list("over") else {
        select.missing("over", EXPECTED);
        return None;
    };
    let mut routes: Vec<Route> = Vec::new();
    for item in items(select, "over", node, EXPECTED)? {
        let Some(name) = item.text() else {
            select.unexpected("over", item, "a path, such as `optimizer.lr`", None);
            continue;
        };
        let Some(route) = schema.check(name, &item.span, select.problems()) else { continue };
        if routes.iter().any(|earlier| earlier.name == route.name) {
            let label = "`over` has this path already".to_owned();
            let title = format!("`{name}` is given twice");
            select.problems().report(item.span.clone(), title, label, Some("remove it here".to_owned()));
        }
        routes.push(route);
    }
    Some(routes)
}

impl Select {
    /// The paths whose values are chosen.
    pub(super) fn paths(&self) -> Vec<Path> {
        self.over.iter().map(|route| to_path(&route.name)).collect()
    }

    /// The same, of a part of the sweep: there may be one value, or fewer seeds than the selection has.
    pub(super) fn of_a_part(&mut self, seeds: u64) {
        self.excused = true;
        self.seeds = self.seeds.min(seeds);
    }

    /// What the candidates of one group have in common: the configuration without what is chosen, in its parents neither, which
    /// inherit it.
    pub(super) fn group(&self, configuration: &Configuration) -> CellId {
        let mut tree = serde_json::to_value(configuration).unwrap_or_default();
        let paths = self.paths();
        let mut generation = Some(&mut tree);
        while let Some(configuration) = generation {
            paths.iter().for_each(|path| remove(configuration, &path.0));
            generation = configuration.get_mut("parent").and_then(|parent| parent.get_mut("configuration"));
        }
        CellId::of(&[tree.to_string().as_bytes()])
    }

    /// Reports what is amiss with the choice among `cells`, which are in these groups and under so many seeds, in a table of these
    /// paths.
    pub(super) fn check(
        &self,
        cells: &[Cell],
        groups: &[Vec<usize>],
        seeds: u64,
        table: &super::TableSpec,
        problems: &mut Problems,
    ) {
        if self.seeds > seeds {
            let title = "the selection has more seeds than the sweep".to_owned();
            let label = format!("the sweep has {seeds}, found {}", self.seeds);
            problems.report(self.seeds_place.clone(), title, label, Some(format!("at most {seeds}")));
        }
        let before = problems.reports();
        for (route, path) in self.over.iter().zip(self.paths()) {
            let shown = table.rows.iter().chain(&table.columns).find(|shown| overlap(shown, &path));
            if let Some(shown) = shown {
                let title = format!("`{path}` is chosen, and shown in the table");
                let label = format!("rows or columns have `{shown}`, and every place has the best value alone");
                let help = Some(format!("name other `rows` and `columns`, or take `{path}` out of `over`"));
                problems.report(route.span(), title, label, help);
                continue;
            }
            let mut values = cells.iter().map(|cell| value_at(&path, &cell.configuration));
            let first = values.next().flatten();
            if !self.excused && values.all(|value| value == first) {
                let title = format!("there is nothing to choose for `{path}`");
                let label = match first {
                    Some(value) => format!("it is {value} in every job"),
                    None => "no job has it".to_owned(),
                };
                let help = Some(format!("give `{path}` several values in `grid`, or take it out of `over`"));
                problems.report(route.span(), title, label, help);
            }
        }
        if problems.reports() > before {
            return;
        }
        let mut contests = groups.iter().filter(|group| group.len() > 1).peekable();
        if contests.peek().is_none() && !self.excused {
            let names: Vec<String> = self.over.iter().map(|route| format!("`{}`", route.name)).collect();
            let label = format!("no two jobs differ in {} and in nothing else", names.join(", "));
            let help = Some("add to `over` what differs besides, or give `grid` more values".to_owned());
            problems.report(self.place.clone(), "there is nothing to choose between".to_owned(), label, help);
        }
        for candidate in contests.flatten().map(|cell| &cells[*cell].configuration) {
            if !candidate.validates() {
                let title = format!("no validation samples for `{}`", self.by);
                let label = "this needs validation samples, and there are candidates without".to_owned();
                let help = Some("set `validation` in `base`, to 0.1 for instance".to_owned());
                problems.report(self.by_place.clone(), title, label, help);
            }
            if let EpochSelection::LastMean(wanted) = self.at
                && wanted.get() > candidate.epochs
            {
                let title = format!("not enough epochs for `{}`", self.at);
                let label = format!("this needs {wanted} epochs, and there are candidates of {}", candidate.epochs);
                let help = Some(format!("at most `last-{}-mean`", candidate.epochs));
                problems.report(self.at_place.clone(), title, label, help);
            }
        }
    }

    /// What it says, of these groups.
    pub(super) fn of(self, groups: Vec<Vec<usize>>) -> super::Select {
        super::Select { over: self.paths(), by: self.by, at: self.at, seeds: self.seeds as usize, groups }
    }
}

/// The cells of these groups, by group, in the order in which each has its first.
pub(super) fn grouped(of_cells: &[CellId]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<CellId, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (cell, group) in of_cells.iter().enumerate() {
        let place = *places.entry(*group).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(cell);
    }
    groups
}

/// Whether one of the two leads to a part of what the other leads to.
pub(super) fn overlap(one: &Path, other: &Path) -> bool {
    one.0.starts_with(&other.0) || other.0.starts_with(&one.0)
}

/// Takes what `path` leads to out of `tree`.
pub(super) fn remove(tree: &mut Value, path: &[String]) {
    match (path, tree) {
        ([last], Value::Object(map)) => _ = map.remove(last),
        ([first, rest @ ..], Value::Object(map)) => {
            if let Some(below) = map.get_mut(first) {
                remove(below, rest);
            }
        }
        _ => {}
    }
}
