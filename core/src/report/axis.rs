//! The rows and columns of a table: their headers, their order, and the position of every cell.

use super::label::Labeller;
use crate::sweep_file::{Path, TableSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// The rows or the columns of a table, with their headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// The path of each level of the headers, outermost first.
    pub paths: Vec<String>,
    /// By row or column, then by level.
    pub labels: Vec<Vec<String>>,
}

impl Axis {
    /// The number of rows or columns.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the axis has no rows or columns.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The headers of one level with the rows or columns that each spans. Neighbours with equal labels in this and all outer levels
    /// share a header.
    pub fn spans(&self, level: usize) -> Vec<(&str, Range<usize>)> {
        let mut spans: Vec<(&str, Range<usize>)> = Vec::new();
        for (i, labels) in self.labels.iter().enumerate() {
            match spans.last_mut() {
                Some((_, range)) if self.labels[range.start][..=level] == labels[..=level] => range.end = i + 1,
                _ => spans.push((&labels[level], i..i + 1)),
            }
        }
        spans
    }

    /// Whether a header of `level` starts at row or column `i`: its label or an outer one differs from the previous.
    pub fn starts_header(&self, i: usize, level: usize) -> bool {
        i == 0 || self.labels[i][..=level] != self.labels[i - 1][..=level]
    }
}

/// The axes of a table and the position of every cell.
pub(super) struct Layout {
    pub rows: Axis,
    pub columns: Axis,
    /// Row and column of each cell.
    pub positions: Vec<(usize, usize)>,
    /// By cell, then by path: the label of its value. A path that the configuration lacks is absent.
    pub labels: Vec<BTreeMap<String, String>>,
}

impl Layout {
    /// The layout of the cells with these configurations, given as JSON.
    ///
    /// No two cells share a position: if two cells have equal labels, the rows get one more level for each field of the
    /// configuration in which they differ.
    pub(super) fn new(configurations: &[Value], spec: &TableSpec) -> Layout {
        let columns = AxisLabels::new(configurations, spec.columns.clone());
        let requested = AxisLabels::new(configurations, spec.rows.clone());
        let added = distinguishing_paths(configurations, &requested, &columns);
        let rows = if added.is_empty() {
            requested
        } else {
            AxisLabels::new(configurations, [spec.rows.clone(), added].concat())
        };
        let labels = |cell| rows.present(cell).chain(columns.present(cell)).collect();
        let labels = (0..configurations.len()).map(labels).collect();
        let (rows, row_of) = rows.order();
        let (columns, column_of) = columns.order();
        Layout { rows, columns, positions: row_of.into_iter().zip(column_of).collect(), labels }
    }
}

/// The fields in which cells with equal labels differ.
fn distinguishing_paths(configurations: &[Value], rows: &AxisLabels, columns: &AxisLabels) -> Vec<Path> {
    let mut groups: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
    for (i, configuration) in configurations.iter().enumerate() {
        groups.entry((&rows.labels[i], &columns.labels[i])).or_default().push(configuration);
    }
    let differs =
        |field: &str| groups.values().any(|group| group.iter().any(|one| one.get(field) != group[0].get(field)));
    // A configuration may omit fields that have their default, so the fields of all cells are collected.
    let mut fields: Vec<&String> = Vec::new();
    for field in configurations.iter().filter_map(Value::as_object).flat_map(|map| map.keys()) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields.into_iter().filter(|field| differs(field)).map(|field| Path(vec![field.clone()])).collect()
}

/// The labels of every cell along one axis.
struct AxisLabels {
    paths: Vec<Path>,
    /// By cell, then by level.
    labels: Vec<Vec<String>>,
    /// By cell, then by level: whether the configuration has the path.
    found: Vec<Vec<bool>>,
}

impl AxisLabels {
    fn new(configurations: &[Value], paths: Vec<Path>) -> AxisLabels {
        let labeller = |path: &Path| Labeller::new(configurations.iter().filter_map(|one| path.find(one)));
        let labellers: Vec<Labeller> = paths.iter().map(labeller).collect();
        let values = |configuration| paths.iter().map(move |path| path.find(configuration));
        let labels = |one| values(one).zip(&labellers).map(|(value, labeller)| labeller.label(value)).collect();
        AxisLabels {
            labels: configurations.iter().map(labels).collect(),
            found: configurations.iter().map(|one| values(one).map(|value| value.is_some()).collect()).collect(),
            paths,
        }
    }

    /// The path and the label of every value that the cell's configuration has.
    fn present(&self, cell: usize) -> impl Iterator<Item = (String, String)> {
        let found = self.found[cell].iter().zip(&self.labels[cell]).zip(&self.paths);
        found.filter(|((found, _), _)| **found).map(|((_, label), path)| (path.to_string(), label.clone()))
    }

    /// The axis, and the index of each cell on it. Labels are ordered by their first cell, within the outer levels first, so that
    /// rows or columns with a shared header are neighbours.
    fn order(self) -> (Axis, Vec<usize>) {
        let mut first: BTreeMap<&[String], usize> = BTreeMap::new();
        for (i, labels) in self.labels.iter().enumerate() {
            (0..=labels.len()).for_each(|level| _ = first.entry(&labels[..level]).or_insert(i));
        }
        let rank =
            |labels: &[String]| -> Vec<usize> { (1..=labels.len()).map(|level| first[&labels[..level]]).collect() };
        let ordered: BTreeMap<Vec<usize>, &Vec<String>> =
            self.labels.iter().map(|labels| (rank(labels), labels)).collect();
        let index: BTreeMap<&Vec<usize>, usize> = ordered.keys().zip(0..).collect();
        let indices = self.labels.iter().map(|labels| index[&rank(labels)]).collect();
        let labels = ordered.values().map(|labels| labels.to_vec()).collect();
        (Axis { paths: self.paths.iter().map(Path::to_string).collect(), labels }, indices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(rows: &[&str], columns: &[&str]) -> TableSpec {
        let paths =
            |paths: &[&str]| paths.iter().map(|path| Path(path.split('.').map(str::to_owned).collect())).collect();
        TableSpec {
            rows: paths(rows),
            columns: paths(columns),
            metric: crate::metric::Metric::TestAccuracy,
            at: crate::metric::EpochSelection::Final,
            std: crate::sweep_file::Std::Sample,
            bold: 1,
            diverged: Default::default(),
            decimals: None,
            reference: None,
        }
    }

    fn noise(kind: &str, rate: f64, lr: f64) -> Value {
        json!({"noise": {"kind": kind, "rate": rate}, "lr": lr, "epochs": 120})
    }

    #[test]
    fn labels_with_a_shared_header_are_neighbours() {
        let configurations = [noise("a", 0.2, 1.0), noise("b", 0.2, 1.0), noise("a", 0.4, 1.0), noise("b", 0.1, 1.0)];
        let layout = Layout::new(&configurations, &spec(&[], &["noise.kind", "noise.rate"]));
        assert_eq!(layout.columns.labels, [["a", "0.2"], ["a", "0.4"], ["b", "0.2"], ["b", "0.1"]]);
        assert_eq!(layout.positions, [(0, 0), (0, 2), (0, 1), (0, 3)]);
        assert_eq!(layout.columns.spans(0), [("a", 0..2), ("b", 2..4)]);
        assert_eq!(layout.columns.spans(1).len(), 4, "equal rates of different kinds have separate headers");
    }

    #[test]
    fn cells_with_equal_labels_get_separate_rows() {
        let configurations = [noise("a", 0.2, 0.1), noise("a", 0.2, 1.0)];
        let layout = Layout::new(&configurations, &spec(&["noise.kind"], &["noise.rate"]));
        assert_eq!(layout.rows.paths, ["noise.kind", "lr"]);
        assert_eq!(layout.rows.labels, [["a", "0.1"], ["a", "1"]]);
        assert_eq!(layout.positions, [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_field_that_only_one_cell_has_distinguishes_it() {
        let configurations = [json!({"loss": "cce"}), json!({"loss": "cce", "train_size": 500})];
        let layout = Layout::new(&configurations, &spec(&["loss"], &[]));
        assert_eq!(layout.rows.paths, ["loss", "train_size"]);
        assert_eq!(layout.rows.labels, [["cce", "–"], ["cce", "500"]]);
    }

    #[test]
    fn a_path_that_a_cell_lacks_is_shown_as_a_dash() {
        let configurations = [json!({"noise": {"kind": "none"}}), noise("a", 0.2, 1.0)];
        let layout = Layout::new(&configurations, &spec(&["noise.kind"], &["noise.rate"]));
        assert_eq!(layout.columns.labels, [["–"], ["0.2"]]);
        assert_eq!(layout.labels[0].get("noise.rate"), None);
        assert_eq!(layout.labels[1]["noise.rate"], "0.2");
    }

    #[test]
    fn a_sweep_without_cells_has_an_empty_table() {
        let layout = Layout::new(&[], &spec(&["loss"], &["noise"]));
        assert!(layout.rows.is_empty() && layout.columns.is_empty());
    }
}
