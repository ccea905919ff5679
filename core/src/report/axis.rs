//! The rows and columns of a table: which there are, in which order, and which cell stands where.

use super::label::Labels;
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
    /// For each row or column, its label at each level.
    pub labels: Vec<Vec<String>>,
}

impl Axis {
    /// How many rows or columns there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The headers of one level, neighbours that agree in it and in all outer levels as one.
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

    /// Whether the label at `level` of row or column `i` says something new: it, or an outer one, differs from the one before.
    pub fn begins(&self, i: usize, level: usize) -> bool {
        i == 0 || self.labels[i][..=level] != self.labels[i - 1][..=level]
    }
}

/// Where every cell stands.
pub(super) struct Layout {
    pub rows: Axis,
    pub columns: Axis,
    /// Row and column of each cell.
    pub places: Vec<(usize, usize)>,
    /// By cell, then by path: the label, where the configuration has the path.
    pub labels: Vec<BTreeMap<String, String>>,
}

impl Layout {
    /// Of the cells whose configurations are `trees`.
    ///
    /// No two cells share a place: where the asked paths do not tell them apart, the rows get further levels, one for each
    /// field of the configuration in which such cells differ.
    pub(super) fn of(trees: &[Value], spec: &TableSpec) -> Layout {
        let columns = Keys::of(trees, spec.columns.clone());
        let asked = Keys::of(trees, spec.rows.clone());
        let further = confused(trees, &asked, &columns);
        let rows = if further.is_empty() { asked } else { Keys::of(trees, [spec.rows.clone(), further].concat()) };
        let labels = (0..trees.len()).map(|cell| rows.present(cell).chain(columns.present(cell)).collect()).collect();
        let (rows, row_of) = rows.order();
        let (columns, column_of) = columns.order();
        Layout { rows, columns, places: row_of.into_iter().zip(column_of).collect(), labels }
    }
}

/// The fields in which cells differ that share a place.
fn confused(trees: &[Value], rows: &Keys, columns: &Keys) -> Vec<Path> {
    let mut shared: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
    for (i, tree) in trees.iter().enumerate() {
        shared.entry((&rows.labels[i], &columns.labels[i])).or_default().push(tree);
    }
    let differs =
        |field: &str| shared.values().any(|trees| trees.iter().any(|tree| tree.get(field) != trees[0].get(field)));
    // What has its default may be left out of a configuration, so no cell need have every field.
    let mut fields: Vec<&String> = Vec::new();
    for field in trees.iter().filter_map(Value::as_object).flat_map(|map| map.keys()) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields.into_iter().filter(|field| differs(field)).map(|field| Path(vec![field.clone()])).collect()
}

/// The labels of every cell along one axis.
struct Keys {
    paths: Vec<Path>,
    /// By cell, then by level.
    labels: Vec<Vec<String>>,
    /// By cell, then by level: whether the configuration has the path.
    found: Vec<Vec<bool>>,
}

impl Keys {
    fn of(trees: &[Value], paths: Vec<Path>) -> Keys {
        let namers: Vec<Labels> =
            paths.iter().map(|path| Labels::among(trees.iter().filter_map(|tree| path.find(tree)))).collect();
        let values = |tree| paths.iter().map(move |path| path.find(tree));
        let labels = |tree| values(tree).zip(&namers).map(|(value, namer)| namer.of(value)).collect();
        Keys {
            labels: trees.iter().map(labels).collect(),
            found: trees.iter().map(|tree| values(tree).map(|value| value.is_some()).collect()).collect(),
            paths,
        }
    }

    fn present(&self, cell: usize) -> impl Iterator<Item = (String, String)> {
        let found = self.found[cell].iter().zip(&self.labels[cell]).zip(&self.paths);
        found.filter(|((found, _), _)| **found).map(|((_, label), path)| (path.to_string(), label.clone()))
    }

    /// The axis, and where each cell stands on it. Values come in the order in which the cells first have them, those of an
    /// inner level within those of the outer ones, so that what shares a header stands together.
    fn order(self) -> (Axis, Vec<usize>) {
        let mut first: BTreeMap<&[String], usize> = BTreeMap::new();
        for (i, labels) in self.labels.iter().enumerate() {
            (0..=labels.len()).for_each(|level| _ = first.entry(&labels[..level]).or_insert(i));
        }
        let rank =
            |labels: &[String]| -> Vec<usize> { (1..=labels.len()).map(|level| first[&labels[..level]]).collect() };
        let ordered: BTreeMap<Vec<usize>, &Vec<String>> =
            self.labels.iter().map(|labels| (rank(labels), labels)).collect();
        let place: BTreeMap<&Vec<usize>, usize> = ordered.keys().zip(0..).collect();
        let places = self.labels.iter().map(|labels| place[&rank(labels)]).collect();
        let labels = ordered.values().map(|labels| labels.to_vec()).collect();
        (Axis { paths: self.paths.iter().map(Path::to_string).collect(), labels }, places)
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
            reference: None,
        }
    }

    fn noise(kind: &str, rate: f64, lr: f64) -> Value {
        json!({"noise": {"kind": kind, "rate": rate}, "lr": lr, "epochs": 120})
    }

    #[test]
    fn what_shares_a_header_stands_together() {
        let trees = [noise("a", 0.2, 1.0), noise("b", 0.2, 1.0), noise("a", 0.4, 1.0), noise("b", 0.1, 1.0)];
        let layout = Layout::of(&trees, &spec(&[], &["noise.kind", "noise.rate"]));
        assert_eq!(layout.columns.labels, [["a", "0.2"], ["a", "0.4"], ["b", "0.2"], ["b", "0.1"]]);
        assert_eq!(layout.places, [(0, 0), (0, 2), (0, 1), (0, 3)]);
        assert_eq!(layout.columns.spans(0), [("a", 0..2), ("b", 2..4)]);
        assert_eq!(layout.columns.spans(1).len(), 4, "equal rates of different kinds stay apart");
    }

    #[test]
    fn cells_that_the_paths_do_not_tell_apart_get_rows_of_their_own() {
        let trees = [noise("a", 0.2, 0.1), noise("a", 0.2, 1.0)];
        let layout = Layout::of(&trees, &spec(&["noise.kind"], &["noise.rate"]));
        assert_eq!(layout.rows.paths, ["noise.kind", "lr"]);
        assert_eq!(layout.rows.labels, [["a", "0.1"], ["a", "1"]]);
        assert_eq!(layout.places, [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_field_that_only_a_later_cell_has_tells_it_apart() {
        let trees = [json!({"loss": "cce"}), json!({"loss": "cce", "train_size": 500})];
        let layout = Layout::of(&trees, &spec(&["loss"], &[]));
        assert_eq!(layout.rows.paths, ["loss", "train_size"]);
        assert_eq!(layout.rows.labels, [["cce", "–"], ["cce", "500"]]);
    }

    #[test]
    fn a_path_that_is_not_there_has_a_dash_and_no_value() {
        let trees = [json!({"noise": {"kind": "none"}}), noise("a", 0.2, 1.0)];
        let layout = Layout::of(&trees, &spec(&["noise.kind"], &["noise.rate"]));
        assert_eq!(layout.columns.labels, [["–"], ["0.2"]]);
        assert_eq!(layout.labels[0].get("noise.rate"), None);
        assert_eq!(layout.labels[1]["noise.rate"], "0.2");
    }

    #[test]
    fn no_cells_make_an_empty_table() {
        let layout = Layout::of(&[], &spec(&["loss"], &["noise"]));
        assert!(layout.rows.is_empty() && layout.columns.is_empty());
    }
}
