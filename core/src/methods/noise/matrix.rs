//! Transition matrices of label noise.

use crate::input::SHARES_TOLERANCE;
use serde::{Deserialize, Serialize};

/// A row-stochastic matrix T\[true\]\[given\], `[classes × classes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransitionMatrix {
    classes: usize,
    rows: Vec<f64>,
}

impl TransitionMatrix {
    /// The matrix without noise.
    pub fn identity(classes: usize) -> Self {
        let mut rows = vec![0.0; classes * classes];
        (0..classes).for_each(|i| rows[i * classes + i] = 1.0);
        TransitionMatrix { classes, rows }
    }

    /// The matrix with these rows one after another.
    ///
    /// # Errors
    /// If there are not `classes`² shares in 0..=1, or a row does not sum to 1.
    pub fn from_rows(classes: usize, rows: Vec<f64>) -> Result<Self, String> {
        if classes.checked_mul(classes) != Some(rows.len()) {
            return Err(format!("expected {classes} rows of {classes} shares, found {} shares", rows.len()));
        }
        for (class, row) in rows.chunks_exact(classes.max(1)).enumerate() {
            let sum: f64 = row.iter().sum();
            if row.iter().any(|share| !(0.0..=1.0).contains(share)) || (sum - 1.0).abs() > SHARES_TOLERANCE {
                return Err(format!("expected shares that sum to 1 in row {class}, found {row:?}, which sum to {sum}"));
            }
        }
        Ok(TransitionMatrix { classes, rows })
    }

    /// With probability `rate` the first class of each pair is replaced by the second. No class is first in two pairs, and all
    /// are below `classes`.
    pub(super) fn of_pairs(classes: usize, pairs: &[(usize, usize)], rate: f64) -> Self {
        let mut matrix = TransitionMatrix::identity(classes);
        for (from, to) in pairs {
            matrix.rows[from * classes + from] = 1.0 - rate;
            matrix.rows[from * classes + to] = rate;
        }
        matrix
    }

    /// With probability `rate` a class is replaced by one drawn from the others, or from all classes.
    pub(super) fn uniform(classes: usize, rate: f64, include_true_class: bool) -> Self {
        let mut matrix = TransitionMatrix::identity(classes);
        let choices = if include_true_class { classes } else { classes - 1 };
        for (i, j) in (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j))) {
            let moved = if i == j && !include_true_class { 0.0 } else { rate / choices as f64 };
            let stayed = if i == j { 1.0 - rate } else { 0.0 };
            matrix.rows[i * classes + j] = stayed + moved;
        }
        matrix
    }

    /// The shares of given labels among the samples of each true class. The row of a class that does not occur is that of the
    /// identity, and samples without a class are ignored.
    pub fn realised(classes: usize, true_labels: &[u32], given: &[u32]) -> Self {
        let mut counts = vec![0u64; classes * classes];
        let known = |label: &u32| (*label as usize) < classes;
        for (t, g) in true_labels.iter().zip(given).filter(|(t, g)| known(t) && known(g)) {
            counts[*t as usize * classes + *g as usize] += 1;
        }
        let mut matrix = TransitionMatrix::identity(classes);
        for (row, counts) in matrix.rows.chunks_exact_mut(classes).zip(counts.chunks_exact(classes)) {
            let total: u64 = counts.iter().sum();
            if total > 0 {
                row.iter_mut().zip(counts).for_each(|(share, count)| *share = *count as f64 / total as f64);
            }
        }
        matrix
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// P(given | true = `class`), `[classes]`.
    pub fn row(&self, class: usize) -> &[f64] {
        &self.rows[class * self.classes..][..self.classes]
    }
}

#[cfg(test)]
mod tests {
    use super::super::NO_CLASS;
    use super::*;

    #[test]
    fn rows_that_are_not_shares_are_rejected_with_number_and_sum() {
        let refusal = |rows: &[f64]| TransitionMatrix::from_rows(2, rows.to_vec()).unwrap_err();
        assert_eq!(
            refusal(&[1.0, 0.0, 0.5, 0.25]),
            "expected shares that sum to 1 in row 1, found [0.5, 0.25], which sum to 0.75"
        );
        assert!(refusal(&[1.5, -0.5, 0.0, 1.0]).contains("row 0"));
        assert!(refusal(&[f64::NAN, 1.0, 0.0, 1.0]).contains("row 0"));
        assert_eq!(refusal(&[1.0]), "expected 2 rows of 2 shares, found 1 shares");
        assert!(TransitionMatrix::from_rows(3, [0.333_333_3; 9].to_vec()).is_ok());
    }

    #[test]
    fn the_realised_matrix_counts_labels_by_true_class() {
        let realised = TransitionMatrix::realised(3, &[0, 0, 0, 0, 2, NO_CLASS], &[0, 1, 1, 1, 2, 0]);
        assert_eq!(realised.row(0), [0.25, 0.75, 0.0]);
        assert_eq!(realised.row(1), [0.0, 1.0, 0.0]);
        assert_eq!(realised.row(2), [0.0, 0.0, 1.0]);
    }
}
