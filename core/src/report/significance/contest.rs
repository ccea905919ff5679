//! Which losses meet on which problem.

use super::Paths;
use crate::id::CellId;
use crate::report::label::ABSENT;
use crate::report::table::{CellSummary, Table};
use crate::sweep_file::Sweep;
use serde_json::Value;
use std::collections::BTreeMap;

/// The settings that decide, besides the seed, which samples there are and how they are labelled.
const LABELS: [&str; 7] = ["dataset", "noise", "noise_seed", "train_size", "test_size", "validation", "split"];

/// A loss on a problem.
pub(super) struct Entrant<'t> {
    pub cell: &'t CellSummary,
    pub name: String,
    /// Whether it has no mean because a seed diverged.
    pub void: bool,
    configuration: Value,
}

/// A contest's labels, and those who meet there.
pub(super) type Met<'t> = (Vec<String>, Vec<Entrant<'t>>);

impl Entrant<'_> {
    /// The settings in which the two differ though their labels hang on them.
    pub fn unshared(&self, other: &Entrant<'_>) -> Vec<String> {
        let differs = |key: &&str| self.configuration.get(*key) != other.configuration.get(*key);
        LABELS.into_iter().filter(differs).map(str::to_owned).collect()
    }
}

/// The contests of a table, in its order, each with its labels and those who meet there.
///
/// Losses meet where data set and noise are the same, and so is whatever else the table shows but the loss. Settings that a sweep gives
/// to one loss alone, such as more epochs, keep it in the contest.
pub(super) fn contests<'t>(sweep: &Sweep, table: &'t Table) -> (Paths, Vec<Met<'t>>) {
    let shown = || table.rows.paths.iter().chain(&table.columns.paths).cloned();
    let is_loss = |path: &String| path == "loss" || path.starts_with("loss.");
    let (losses, others): (Vec<String>, Vec<String>) = shown().partition(is_loss);
    let tree = |cell: &crate::sweep_file::Cell| serde_json::to_value(&*cell.configuration).unwrap_or_default();
    let trees: BTreeMap<CellId, Value> = sweep.cells.iter().map(|cell| (cell.id, tree(cell))).collect();
    let mut known: BTreeMap<(Vec<String>, String), usize> = BTreeMap::new();
    let mut contests: Vec<Met<'t>> = Vec::new();
    // By columns, so that the contests of a column of the table follow one another.
    let cells =
        (0..table.columns.len()).flat_map(|column| table.cells.iter().filter_map(move |row| row[column].as_ref()));
    for cell in cells {
        let configuration = trees.get(&cell.id).cloned().unwrap_or_default();
        let label = |path: &String| cell.labels.get(path).cloned().unwrap_or_else(|| ABSENT.to_owned());
        let labels: Vec<String> = others.iter().map(label).collect();
        let key = (labels.clone(), format!("{} {}", configuration["dataset"], configuration["noise"]));
        let index = *known.entry(key).or_insert_with(|| {
            contests.push((labels, Vec::new()));
            contests.len() - 1
        });
        let name = losses.iter().map(label).collect::<Vec<_>>().join(" ");
        contests[index].1.push(Entrant { cell, name, void: cell.is_void(table.diverged), configuration });
    }
    (Paths { losses, contests: others }, contests)
}
