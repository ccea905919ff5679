//! What distinguishes the cells of a sweep from each other, as tables label them.

use super::error::AnswerError;
use super::results::as_submitted;
use plusminus_core::id::{CellId, SweepName};
use plusminus_core::report::cell_names;
use std::collections::BTreeMap;

/// The label of each cell of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Labels(BTreeMap<CellId, String>);

impl Labels {
    /// The labels of the sweep that was submitted as `name` from the sweep file `source`.
    ///
    /// # Errors
    /// If this version cannot read the sweep file.
    pub fn of(source: &str, name: &SweepName) -> Result<Labels, AnswerError> {
        let sweep = as_submitted(source, name.as_str())?;
        let mut labels = cell_names(&sweep);
        for parent in &sweep.parents {
            // A parent that is also a cell keeps its label from the table.
            labels.entry(parent.id).or_insert_with(|| "parent".to_owned());
        }
        Ok(Labels(labels))
    }

    /// The label of a cell; empty if nothing distinguishes it, or it is not known.
    pub fn label(&self, cell: CellId) -> String {
        self.0.get(&cell).cloned().unwrap_or_default()
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
