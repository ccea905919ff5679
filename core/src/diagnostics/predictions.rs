//! The network's logits on samples, with given and true labels.

use crate::logits::{largest, log_sum_exp};
use crate::methods::noise::NO_CLASS;

/// The logits of samples with their given and true labels.
#[derive(Clone, Copy, Debug)]
pub struct LabelledPredictions<'a> {
    classes: usize,
    logits: &'a [f32],
    given: &'a [u32],
    truth: &'a [u32],
}

impl<'a> LabelledPredictions<'a> {
    /// `logits` holds one row of `classes` values per sample. True labels may be [`NO_CLASS`].
    ///
    /// # Errors
    /// If the numbers of rows, given and true labels differ, or a label is out of range.
    pub fn new(classes: usize, logits: &'a [f32], given: &'a [u32], truth: &'a [u32]) -> Result<Self, String> {
        if given.len() != truth.len() || given.len().checked_mul(classes) != Some(logits.len()) {
            return Err(format!(
                "expected {classes} logits, a given and a true label per sample; found {} logits, {} given and {} true labels",
                logits.len(),
                given.len(),
                truth.len()
            ));
        }
        let is_class = |label: u32| (label as usize) < classes;
        if let Some(label) = given.iter().find(|label| !is_class(**label)) {
            return Err(format!("expected given labels below {classes}, found {label}"));
        }
        if let Some(label) = truth.iter().find(|label| !is_class(**label) && **label != NO_CLASS) {
            return Err(format!("expected true labels below {classes}, found {label}"));
        }
        Ok(LabelledPredictions { classes, logits, given, truth })
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Given labels, by sample.
    pub fn given(&self) -> &'a [u32] {
        self.given
    }

    /// True labels, by sample.
    pub fn truth(&self) -> &'a [u32] {
        self.truth
    }

    /// Rows of logits, by sample.
    pub fn rows(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        self.logits.chunks_exact(self.classes.max(1))
    }

    /// Given and true label, by sample.
    pub fn labels(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        self.given.iter().copied().zip(self.truth.iter().copied())
    }

    /// The class with the largest logit, by sample; the first of equals.
    pub fn predicted(&self) -> Vec<u32> {
        self.rows().map(|row| largest(row) as u32).collect()
    }

    /// The softmax of the given label, by sample.
    pub fn softmax_of_given(&self) -> Vec<f64> {
        let of = |(row, given): (&[f32], &u32)| libm::exp(f64::from(row[*given as usize]) - log_normaliser(row));
        self.rows().zip(self.given).map(of).collect()
    }
}

/// ln Σ exp z of a row of logits.
pub(super) fn log_normaliser(row: &[f32]) -> f64 {
    log_sum_exp(row.iter().copied().map(f64::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_differ_and_labels_out_of_range_are_rejected() {
        assert!(LabelledPredictions::new(2, &[0.0; 4], &[0, 1], &[1, NO_CLASS]).is_ok());
        assert!(LabelledPredictions::new(2, &[0.0; 3], &[0, 1], &[1, 0]).is_err());
        assert!(LabelledPredictions::new(2, &[0.0; 4], &[0, 1], &[1]).is_err());
        assert!(
            LabelledPredictions::new(2, &[0.0; 4], &[0, 2], &[1, 0])
                .unwrap_err()
                .contains("given labels below 2, found 2")
        );
        assert!(LabelledPredictions::new(2, &[0.0; 4], &[0, NO_CLASS], &[1, 0]).is_err(), "a given label is a class");
        assert!(
            LabelledPredictions::new(2, &[0.0; 4], &[0, 1], &[1, 3])
                .unwrap_err()
                .contains("true labels below 2, found 3")
        );
    }

    #[test]
    fn the_softmax_of_the_given_label_survives_large_logits() {
        let logits = [0.0, 0.0, 1e30, 0.0, 3f32.ln(), 0.0];
        let predictions = LabelledPredictions::new(2, &logits, &[1, 1, 0], &[0, 0, 0]).unwrap();
        let p = predictions.softmax_of_given();
        assert_eq!(p[..2], [0.5, 0.0]);
        assert!((p[2] - 0.75).abs() < 1e-7);
    }

    #[test]
    fn the_first_of_equal_logits_is_predicted() {
        let predictions = LabelledPredictions::new(3, &[0.0, 2.0, 2.0, 1.0, 1.0, 1.0], &[0, 0], &[0, 0]).unwrap();
        assert_eq!(predictions.predicted(), [1, 0]);
    }
}
