//! Readable names of a sweep's cells.

use super::label::{ABSENT, plain};
use super::table::{Table, configuration_json};
use crate::id::CellId;
use crate::sweep_file::{Path, Sweep};
use std::collections::BTreeMap;

/// The name of every cell: its labels in the table. Candidates of the same group also show the values of their selected
/// hyper-parameters, such as `cce · uniform 0.6 · optimizer.lr=0.01`.
pub fn cell_names(sweep: &Sweep) -> BTreeMap<CellId, String> {
    let mut names = Table::new(sweep, []).cell_names();
    let Some(select) = &sweep.select else { return names };
    for group in select.groups.iter().filter(|group| group.len() > 1) {
        let group_name = names.get(&sweep.cells[group[0]].id).cloned().unwrap_or_default();
        for cell in group.iter().map(|cell| &sweep.cells[*cell]) {
            let configuration = configuration_json(cell);
            let value =
                |path: &Path| format!("{path}={}", path.find(&configuration).map_or_else(|| ABSENT.to_owned(), plain));
            let values: Vec<_> = select.over.iter().map(value).collect();
            names.insert(cell.id, format!("{group_name} · {}", values.join(" · ")));
        }
    }
    names
}
