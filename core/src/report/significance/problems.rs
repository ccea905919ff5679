//! Groups the cells of a table by problem: the same data set under the same noise.

use crate::id::CellId;
use crate::report::label::ABSENT;
use crate::report::table::{CellSummary, Table, configuration_json};
use crate::sweep_file::Sweep;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The settings that, with the seed, determine the samples and their labels.
const LABEL_SETTINGS: [&str; 7] = ["dataset", "noise", "noise_seed", "train_size", "test_size", "validation", "split"];

/// The paths that a table shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabelPaths {
    /// Paths that name losses.
    pub losses: Vec<String>,
    /// All other paths, which name problems.
    #[serde(rename = "contests")]
    pub problems: Vec<String>,
}

/// The cells of one problem, one per loss.
pub(super) struct ProblemCells<'t> {
    /// One label per path of [`LabelPaths::problems`].
    pub labels: Vec<String>,
    pub cells: Vec<LossCell<'t>>,
}

/// The cell of one loss.
pub(super) struct LossCell<'t> {
    pub cell: &'t CellSummary,
    /// The loss's labels.
    pub name: String,
    /// Whether a diverged seed withholds the cell's mean.
    pub failed: bool,
    configuration: Value,
}

impl LossCell<'_> {
    /// The settings in which two cells differ although their labels depend on them.
    pub fn unshared_settings(&self, other: &LossCell<'_>) -> Vec<String> {
        let differs = |key: &&str| self.configuration.get(*key) != other.configuration.get(*key);
        LABEL_SETTINGS.into_iter().filter(differs).map(str::to_owned).collect()
    }
}

/// The problems of a table, in its order.
///
/// Cells share a problem if data set, noise and all labels other than the loss's are equal. Settings that a sweep gives to one loss only,
/// such as more epochs, do not separate it from the others.
pub(super) fn problems<'t>(sweep: &Sweep, table: &'t Table) -> (LabelPaths, Vec<ProblemCells<'t>>) {
    let paths = table.rows.paths.iter().chain(&table.columns.paths).cloned();
    let is_loss = |path: &String| path == "loss" || path.starts_with("loss.");
    let (loss_paths, problem_paths): (Vec<String>, Vec<String>) = paths.partition(is_loss);
    let configurations: BTreeMap<CellId, Value> =
        sweep.cells.iter().map(|cell| (cell.id, configuration_json(cell))).collect();
    let mut indices: BTreeMap<(Vec<String>, String), usize> = BTreeMap::new();
    let mut problems: Vec<ProblemCells<'t>> = Vec::new();
    // Column by column, so that the problems of one column are neighbours.
    let cells =
        (0..table.columns.len()).flat_map(|column| table.cells.iter().filter_map(move |row| row[column].as_ref()));
    for cell in cells {
        let configuration = configurations.get(&cell.id).cloned().unwrap_or_default();
        let label = |path: &String| cell.labels.get(path).cloned().unwrap_or_else(|| ABSENT.to_owned());
        let labels: Vec<String> = problem_paths.iter().map(label).collect();
        let key = (labels.clone(), format!("{} {}", configuration["dataset"], configuration["noise"]));
        let index = *indices.entry(key).or_insert_with(|| {
            problems.push(ProblemCells { labels, cells: Vec::new() });
            problems.len() - 1
        });
        let name = loss_paths.iter().map(label).collect::<Vec<_>>().join(" ");
        problems[index].cells.push(LossCell { cell, name, failed: cell.fails(table.diverged), configuration });
    }
    (LabelPaths { losses: loss_paths, problems: problem_paths }, problems)
}
