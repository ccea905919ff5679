//! Label noise: a row-stochastic transition matrix, T\[true\]\[given\], and draws from it.

use crate::methods::dataset::Dataset;
use crate::spec::Fields;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How the labels of the training file (validation part included) are corrupted; test labels never are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Noise {
    /// Labels as they are.
    None,
    /// Symmetric noise: with probability `rate` a label becomes any other one, each as likely
    /// (Zhang & Sabuncu 2018, §3.1); with `include_true_class`, any one, the true one among them (ibid. §4.2).
    Uniform {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Whether a corrupted label may be the true one by chance.
        include_true_class: bool,
    },
    /// With probability `rate` a class becomes the one it is easily mistaken for, by the data set's own list.
    ClassDependent {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
    },
}

impl Noise {
    /// The kinds that a sweep file may use.
    pub const KINDS: &'static [&'static str] = &["none", "uniform", "class-dependent"];

    /// Reads the parameters of the kind called `kind`, one of [`Noise::KINDS`].
    pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Noise> {
        let rate = |fields: &mut Fields<'_>| fields.number("rate").at_least(0.0).at_most(1.0).required();
        match kind {
            "none" => Some(Noise::None),
            "uniform" => Some(Noise::Uniform {
                rate: rate(fields),
                include_true_class: fields.flag("include_true_class").or(false),
            }),
            "class-dependent" => Some(Noise::ClassDependent { rate: rate(fields) }),
            _ => None,
        }
    }

    /// The transition matrix on `dataset`; nothing where the data set has no list of easily mistaken classes.
    pub fn transition(&self, dataset: &Dataset) -> Option<TransitionMatrix> {
        let classes = dataset.classes();
        let mut matrix = TransitionMatrix::identity(classes);
        match *self {
            Noise::None => {}
            Noise::Uniform { rate, include_true_class } => {
                let choices = if include_true_class { classes } else { classes - 1 };
                for (i, j) in (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j))) {
                    let moved = if i == j && !include_true_class { 0.0 } else { rate / choices as f64 };
                    let stayed = if i == j { 1.0 - rate } else { 0.0 };
                    matrix.rows[i * classes + j] = stayed + moved;
                }
            }
            Noise::ClassDependent { rate } => {
                for &(from, to) in dataset.confusions()? {
                    matrix.rows[from * classes + from] = 1.0 - rate;
                    matrix.rows[from * classes + to] = rate;
                }
            }
        }
        Some(matrix)
    }
}

/// A row-stochastic matrix, T\[true\]\[given\].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransitionMatrix {
    classes: usize,
    rows: Vec<f64>,
}

impl TransitionMatrix {
    /// No noise.
    pub fn identity(classes: usize) -> Self {
        let mut rows = vec![0.0; classes * classes];
        (0..classes).for_each(|i| rows[i * classes + i] = 1.0);
        TransitionMatrix { classes, rows }
    }

    /// From rows one after another, T\[true\]\[given\].
    ///
    /// # Errors
    /// Unless there are `classes`² shares in 0..=1 and every row sums to 1.
    pub fn from_rows(classes: usize, rows: Vec<f64>) -> Result<Self, String> {
        if classes.checked_mul(classes) != Some(rows.len()) {
            return Err(format!("expected {classes} rows of {classes} shares, found {} shares", rows.len()));
        }
        for (class, row) in rows.chunks_exact(classes.max(1)).enumerate() {
            let sum: f64 = row.iter().sum();
            if row.iter().any(|share| !(0.0..=1.0).contains(share)) || (sum - 1.0).abs() > 1e-9 {
                return Err(format!("expected shares that sum to 1 in row {class}, found {row:?}"));
            }
        }
        Ok(TransitionMatrix { classes, rows })
    }

    /// What became of `true_labels` in `given`: the share of each true class under each given label. The row of a class
    /// that does not occur is the identity's.
    pub fn realised(classes: usize, true_labels: &[u32], given: &[u32]) -> Self {
        let mut counts = vec![0u64; classes * classes];
        for (t, g) in true_labels.iter().zip(given) {
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

    /// P(given | true = `class`).
    pub fn row(&self, class: usize) -> &[f64] {
        &self.rows[class * self.classes..][..self.classes]
    }

    /// Given labels for `labels`: one uniform draw a sample, in order, whatever the matrix, so that two noise rates under
    /// one seed corrupt nested sets of samples.
    pub fn corrupt(&self, labels: &[u32], generator: &mut impl Rng) -> Vec<u32> {
        labels
            .iter()
            .map(|&label| {
                let row = self.row(label as usize);
                // The true class comes last, so that a draw below the noise rate is what corrupts.
                let mut left: f64 = generator.random();
                for (class, p) in row.iter().enumerate().filter(|(class, _)| *class != label as usize) {
                    if left < *p {
                        return class as u32;
                    }
                    left -= p;
                }
                label
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, Streams};

    const UNIFORM: Noise = Noise::Uniform { rate: 0.6, include_true_class: false };

    #[test]
    fn uniform_noise_leaves_the_true_class_out_unless_told_otherwise() {
        let matrix = UNIFORM.transition(&Dataset::FashionMnist).unwrap();
        assert!((matrix.row(3)[3] - 0.4).abs() < 1e-12 && (matrix.row(3)[0] - 0.6 / 9.0).abs() < 1e-12);
        let included = Noise::Uniform { rate: 0.6, include_true_class: true };
        let matrix = included.transition(&Dataset::FashionMnist).unwrap();
        assert!((matrix.row(3)[3] - 0.46).abs() < 1e-12 && (matrix.row(3)[0] - 0.06).abs() < 1e-12);
    }

    #[test]
    fn every_row_sums_to_one() {
        for noise in [Noise::None, UNIFORM, Noise::ClassDependent { rate: 0.3 }] {
            let matrix = noise.transition(&Dataset::FashionMnist).unwrap();
            (0..10).for_each(|i| assert!((matrix.row(i).iter().sum::<f64>() - 1.0).abs() < 1e-12));
        }
    }

    #[test]
    fn fashion_mnist_confuses_the_papers_classes() {
        let matrix = Noise::ClassDependent { rate: 0.3 }.transition(&Dataset::FashionMnist).unwrap();
        for (from, to) in [(9, 7), (7, 5), (2, 6), (4, 3), (3, 4)] {
            assert_eq!((matrix.row(from)[to], matrix.row(from)[from]), (0.3, 0.7));
        }
        assert_eq!(matrix.row(0)[0], 1.0);
    }

    #[test]
    fn the_realised_rate_is_near_the_asked_one_and_a_lower_rate_corrupts_a_subset() {
        let labels: Vec<u32> = (0..20_000).map(|i| i % 10).collect();
        let given = |rate| {
            let noise = Noise::Uniform { rate, include_true_class: false };
            let mut generator = Streams::new(3, 3).generator(Stream::Noise, 0);
            noise.transition(&Dataset::FashionMnist).unwrap().corrupt(&labels, &mut generator)
        };
        let (low, high) = (given(0.2), given(0.6));
        let wrong = |given: &[u32]| labels.iter().zip(given).filter(|(a, b)| a != b).count() as f64 / 20_000.0;
        assert!((wrong(&low) - 0.2).abs() < 0.01 && (wrong(&high) - 0.6).abs() < 0.01);
        let nested = labels.iter().zip(low.iter().zip(&high)).all(|(label, (low, high))| low == label || high != label);
        assert!(nested);
        let realised = TransitionMatrix::realised(10, &labels, &high);
        assert!((realised.row(4)[4] - 0.4).abs() < 0.04);
    }
}
