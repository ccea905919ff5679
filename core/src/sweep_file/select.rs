//! `select`: which hyper-parameters are chosen, and by which metric.

use super::path::{Path, remove};
use super::paths::{Paths, WrittenPath};
use super::sweep::{Cell, Select, TableSpec};
use crate::id::CellId;
use crate::input::fields::{Fields, NamesAndPattern, Subject, items};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::metric::{Better, EpochSelection, Metric};
use std::collections::BTreeMap;
use std::ops::Range;

/// `select` as written, with the places of its parts.
#[derive(Clone, Debug)]
pub(super) struct SelectKey {
    over: Vec<WrittenPath>,
    by: Metric,
    at: EpochSelection,
    seeds: u64,
    place: Range<usize>,
    by_place: Range<usize>,
    at_place: Range<usize>,
    seeds_place: Range<usize>,
    /// Whether there may be nothing to choose, as in a profile.
    may_be_trivial: bool,
}

/// The keys of `select`.
pub(super) struct Keys {
    over: Option<Vec<WrittenPath>>,
    by: Option<Metric>,
    mode: Option<Better>,
    at: EpochSelection,
    seeds: u64,
}

/// The epochs that a name may select.
pub(super) fn epoch_names(read: impl FnOnce(NamesAndPattern<'_>) -> EpochSelection) -> EpochSelection {
    let (mean, names) = EpochSelection::NAMES.split_last().unwrap_or((&"", &[]));
    let examples = format!("or a mean over any number of epochs, such as `{mean}`");
    read(NamesAndPattern { names, others: &[mean], examples: &examples, pattern: "^last-[1-9][0-9]*-mean$" })
}

/// Reads `select`. The flag tells whether it is valid or absent.
pub(super) fn read(fields: &mut Fields<'_>, paths: &Paths) -> (Option<SelectKey>, bool) {
    const EXPECTED: &str = "a map such as `{over: [optimizer.lr], by: validation_loss}`";
    let Some(node) = fields.node("select") else { return (None, true) };
    let Some(entries) = node.entries() else {
        fields.unexpected("select", node, EXPECTED, None);
        return (None, false);
    };
    let place = fields.key_place("select").unwrap_or_else(|| node.span.clone());
    let before = fields.problems().reports();
    let mut select = Fields::new(entries, Subject("`select`", None), place.clone(), fields.problems());
    let keys = read_keys(&mut select, paths);
    let place_of = |key| select.value_place(key).unwrap_or_else(|| place.clone());
    let (by_place, mode_place) = (place_of("by"), place_of("mode"));
    let (at_place, seeds_place) = (place_of("at"), place_of("seeds"));
    check_keys(&keys, mode_place, select.problems());
    select.finish();
    let valid = fields.problems().reports() == before;
    let Keys { over, by, at, seeds, .. } = keys;
    let select =
        |(over, by)| SelectKey { over, by, at, seeds, place, by_place, at_place, seeds_place, may_be_trivial: false };
    (over.zip(by).map(select), valid)
}

/// Reads the keys of `select`.
pub(super) fn read_keys(select: &mut Fields<'_>, paths: &Paths) -> Keys {
    const BY: &[(&str, Metric)] =
        &[("validation_loss", Metric::ValidationLoss), ("validation_accuracy", Metric::ValidationAccuracy)];
    select.about("paths whose values are chosen");
    let over = over(select, paths);
    let by = select.about("metric that candidates are compared by").choice("by", BY).required();
    select.about("direction; only the better one of `by` is accepted");
    let mode = select.choice("mode", &[("min", Better::Lower), ("max", Better::Higher)]).optional();
    select.about("epoch of each trial");
    let at = epoch_names(|names| select.named("at", names, ("best", EpochSelection::Best)));
    select.about("number of seeds of the selection, at most the sweep's");
    let seeds = select.integer("seeds").at_least(1).or(1);
    Keys { over, by, mode, at, seeds }
}

/// Reports keys that contradict each other.
fn check_keys(keys: &Keys, mode_place: Range<usize>, problems: &mut Problems) {
    let Some(by) = keys.by else { return };
    if let Some(mode) = keys.mode.filter(|mode| *mode != by.better()) {
        let (found, right) = match mode {
            Better::Higher => ("highest", "min"),
            Better::Lower => ("lowest", "max"),
        };
        let title = format!("`mode` selects the worst `{by}`");
        let help = Some(format!("use `mode: {right}`, or remove `mode`"));
        problems.report(mode_place, title, format!("the {found} value is the worst"), help);
    }
    for path in keys.over.iter().flatten() {
        if by == Metric::ValidationLoss && &*path.keys[0].name == "loss" {
            let title = format!("`validation_loss` does not compare values of `{}`", path.name);
            let label = "the validation loss of each job is of its own loss".to_owned();
            let help = Some("use `by: validation_accuracy`".to_owned());
            problems.report(path.span(), title, label, help);
        }
    }
}

fn over(select: &mut Fields<'_>, paths: &Paths) -> Option<Vec<WrittenPath>> {
    const EXPECTED: &str = "a list of paths, such as `[optimizer.lr, batch_size]`";
    let Some(node) = select.node("over") else {
        select.missing("over", EXPECTED);
        return None;
    };
    let mut over: Vec<WrittenPath> = Vec::new();
    for item in items(select, "over", node, EXPECTED)? {
        let Some(name) = item.text() else {
            select.unexpected("over", item, "a path, such as `optimizer.lr`", None);
            continue;
        };
        let Some(path) = paths.check(name, &item.span, select.problems()) else { continue };
        if over.iter().any(|earlier| earlier.name == path.name) {
            let label = "`over` already lists this path".to_owned();
            let title = format!("`{name}` is given twice");
            select.problems().report(item.span.clone(), title, label, Some("remove it here".to_owned()));
        }
        over.push(path);
    }
    Some(over)
}

impl SelectKey {
    /// The paths whose values are chosen.
    pub(super) fn paths(&self) -> Vec<Path> {
        self.over.iter().map(|path| Path::dotted(&path.name)).collect()
    }

    /// Adapts the selection to a profile, which may have one candidate and only `seeds` seeds.
    pub(super) fn restrict_to_profile(&mut self, seeds: u64) {
        self.may_be_trivial = true;
        self.seeds = self.seeds.min(seeds);
    }

    /// The id of the group of a configuration: a hash of what its candidates have in common, which is the configuration and
    /// its parents without the chosen values.
    pub(super) fn group(&self, configuration: &Configuration) -> CellId {
        let mut tree = serde_json::to_value(configuration).unwrap_or_default();
        let paths = self.paths();
        let mut next = Some(&mut tree);
        while let Some(configuration) = next {
            paths.iter().for_each(|path| remove(configuration, &path.0));
            next = configuration.get_mut("parent").and_then(|parent| parent.get_mut("configuration"));
        }
        CellId::of(&[tree.to_string().as_bytes()])
    }

    /// Reports a selection that cannot choose among `cells` in these groups, or that contradicts the `table`.
    pub(super) fn check(
        &self,
        cells: &[Cell],
        groups: &[Vec<usize>],
        seeds: u64,
        table: &TableSpec,
        problems: &mut Problems,
    ) {
        if self.seeds > seeds {
            let title = "the selection has more seeds than the sweep".to_owned();
            let label = format!("the sweep has {seeds} seeds, found {}", self.seeds);
            problems.report(self.seeds_place.clone(), title, label, Some(format!("use at most {seeds}")));
        }
        let before = problems.reports();
        self.over.iter().for_each(|path| self.check_path(path, cells, table, problems));
        if problems.reports() > before {
            return;
        }
        let mut contests = groups.iter().filter(|group| group.len() > 1).peekable();
        if contests.peek().is_none() && !self.may_be_trivial {
            let names: Vec<String> = self.over.iter().map(|path| format!("`{}`", path.name)).collect();
            let label = format!("no two jobs differ only in {}", names.join(", "));
            let help = Some("add the other differences to `over`, or give `grid` more values".to_owned());
            problems.report(self.place.clone(), "there is nothing to choose between".to_owned(), label, help);
        }
        for candidate in contests.flatten().map(|cell| &cells[*cell].configuration) {
            self.check_candidate(candidate, problems);
        }
    }

    fn check_path(&self, path: &WrittenPath, cells: &[Cell], table: &TableSpec, problems: &mut Problems) {
        let chosen = Path::dotted(&path.name);
        if let Some(shown) = table.rows.iter().chain(&table.columns).find(|shown| shown.overlaps(&chosen)) {
            let title = format!("`{chosen}` is chosen and shown in the table");
            let label = format!("rows or columns show `{shown}`, but each place shows only the best value");
            let help = Some(format!("use other `rows` and `columns`, or remove `{chosen}` from `over`"));
            problems.report(path.span(), title, label, help);
            return;
        }
        let mut values = cells.iter().map(|cell| chosen.value_in(&cell.configuration));
        let first = values.next().flatten();
        if !self.may_be_trivial && values.all(|value| value == first) {
            let title = format!("there is nothing to choose for `{chosen}`");
            let label = match first {
                Some(value) => format!("it is {value} in every job"),
                None => "no job has this parameter".to_owned(),
            };
            let help = Some(format!("give `{chosen}` several values in `grid`, or remove it from `over`"));
            problems.report(path.span(), title, label, help);
        }
    }

    fn check_candidate(&self, candidate: &Configuration, problems: &mut Problems) {
        if !candidate.validates() {
            let title = format!("no validation samples for `{}`", self.by);
            let label = "some candidates have no validation samples".to_owned();
            let help = Some("set `validation` in `base`, for instance to 0.1".to_owned());
            problems.report(self.by_place.clone(), title, label, help);
        }
        if let EpochSelection::LastMean(wanted) = self.at
            && wanted.get() > candidate.epochs
        {
            let title = format!("not enough epochs for `{}`", self.at);
            let label = format!("expected at least {wanted} epochs, some candidates have {}", candidate.epochs);
            let help = Some(format!("use at most `last-{}-mean`", candidate.epochs));
            problems.report(self.at_place.clone(), title, label, help);
        }
    }

    /// The checked selection with these groups.
    pub(super) fn with_groups(self, groups: Vec<Vec<usize>>) -> Select {
        Select { over: self.paths(), by: self.by, at: self.at, seeds: self.seeds as usize, groups }
    }
}

/// The indices of cells by group, in the order of the first cell of each; `of_cells` holds the group of each cell.
pub(super) fn grouped(of_cells: &[CellId]) -> Vec<Vec<usize>> {
    let mut indices: BTreeMap<CellId, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (cell, group) in of_cells.iter().enumerate() {
        let index = *indices.entry(*group).or_insert(groups.len());
        if index == groups.len() {
            groups.push(Vec::new());
        }
        groups[index].push(cell);
    }
    groups
}
