//! Whether predictions depend on given labels when true labels are known. Theorems on noise-robust losses assume independence. Measured
//! by conditional mutual information and by the determinants of joint distributions (Xu et al. 2019, eq. 6).

use super::LabelledPredictions;
use crate::methods::noise::TransitionMatrix;
use rand::{Rng, RngExt};

/// The number of shuffles that estimate I(h; given | true) under independence.
pub const SHUFFLES: usize = 20;

/// The dependence of predictions on given labels, given the true labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dependence {
    /// I(h; given | true) in nats, where h is the predicted class, minus its mean over [`SHUFFLES`] shuffles of the given labels within
    /// each true class. Near 0 (of either sign) under independence. `None` without samples.
    pub information: Option<f64>,
    /// ln|det U(h, given)| − ln|det U(h, true)| − ln|det T|, where U(h, ·) is the joint distribution of softmax and label, and T is the
    /// realised transition matrix of these samples. 0 under independence; `None` if a matrix is singular.
    pub residual: Option<f64>,
}

/// Measures the dependence on all samples that belong to a class.
pub fn dependence(predictions: &LabelledPredictions<'_>, generator: &mut impl Rng) -> Dependence {
    // Predicted and given classes by true class.
    let mut groups = vec![Group::default(); predictions.classes()];
    for (predicted, (given, truth)) in predictions.predicted().into_iter().zip(predictions.labels()) {
        if let Some(group) = groups.get_mut(truth as usize) {
            group.predicted.push(predicted);
            group.given.push(given);
        }
    }
    let samples: usize = groups.iter().map(|group| group.given.len()).sum();
    let information = |groups: &[Group]| groups.iter().map(Group::information).sum::<f64>() / samples as f64;
    let found = information(&groups);
    let mut expected = 0.0;
    for _ in 0..SHUFFLES {
        groups.iter_mut().for_each(|group| shuffle(&mut group.given, generator));
        expected += information(&groups);
    }
    Dependence {
        information: (samples > 0).then(|| found - expected / SHUFFLES as f64),
        residual: residual(predictions, samples),
    }
}

/// The samples of one true class.
#[derive(Clone, Default)]
struct Group {
    predicted: Vec<u32>,
    given: Vec<u32>,
}

impl Group {
    /// n · I(predicted; given) in nats = Σ c ln c over pairs − Σ c ln c over predicted − Σ c ln c over given + n ln n, with counts c.
    fn information(&self) -> f64 {
        let pairs = self.predicted.iter().zip(&self.given).map(|(p, g)| u64::from(*p) << 32 | u64::from(*g));
        let alone = |labels: &[u32]| sum_of_logs(labels.iter().map(|label| u64::from(*label)).collect());
        let all = self.given.len() as f64;
        let of_all = if all > 0.0 { all * libm::log(all) } else { 0.0 };
        sum_of_logs(pairs.collect()) - alone(&self.predicted) - alone(&self.given) + of_all
    }
}

/// Σ n ln n, where n is the number of occurrences of each key.
fn sum_of_logs(mut keys: Vec<u64>) -> f64 {
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).map(|equal| equal.len() as f64 * libm::log(equal.len() as f64)).sum()
}

/// Fisher–Yates shuffle in Durstenfeld's form: all orders are equally likely.
fn shuffle(items: &mut [u32], generator: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, generator.random_range(0..=i));
    }
}

fn residual(predictions: &LabelledPredictions<'_>, samples: usize) -> Option<f64> {
    let classes = predictions.classes();
    let (mut of_given, mut of_truth) = (vec![0.0; classes * classes], vec![0.0; classes * classes]);
    let (mut given, mut truth) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
    for (row, (g, t)) in
        predictions.rows().zip(predictions.labels()).filter(|(_, (_, truth))| (*truth as usize) < classes)
    {
        // One row per label, like T. Transposition does not change a determinant.
        let log_normaliser = super::predictions::log_normaliser(row);
        for (class, z) in row.iter().enumerate() {
            let p = libm::exp(f64::from(*z) - log_normaliser) / samples as f64;
            of_given[g as usize * classes + class] += p;
            of_truth[t as usize * classes + class] += p;
        }
        given.push(g);
        truth.push(t);
    }
    let realised = TransitionMatrix::realised(classes, &truth, &given);
    let transition: Vec<f64> = (0..classes).flat_map(|class| realised.row(class)).copied().collect();
    let log_det = |matrix| log_abs_determinant(matrix, classes);
    Some(log_det(of_given)? - log_det(of_truth)? - log_det(transition)?).filter(|value| value.is_finite())
}

/// ln|det| of a square matrix, by Gaussian elimination with partial pivoting; `None` if it is singular to the precision of `f64`.
fn log_abs_determinant(mut matrix: Vec<f64>, size: usize) -> Option<f64> {
    let largest = matrix.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let negligible = largest * f64::EPSILON * size as f64;
    let mut sum = 0.0;
    for column in 0..size {
        let magnitude = |row: usize| matrix[row * size + column].abs();
        let pivot = (column..size).reduce(|best, row| if magnitude(row) > magnitude(best) { row } else { best })?;
        if magnitude(pivot).is_nan() || magnitude(pivot) <= negligible {
            return None;
        }
        (0..size).for_each(|k| matrix.swap(pivot * size + k, column * size + k));
        let (above, below) = matrix.split_at_mut((column + 1) * size);
        let above = &above[column * size..];
        sum += libm::log(above[column].abs());
        for row in below.chunks_exact_mut(size) {
            let factor = row[column] / above[column];
            row[column..].iter_mut().zip(&above[column..]).for_each(|(value, above)| *value -= factor * above);
        }
    }
    (size > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::noise::NO_CLASS;
    use crate::random::{Stream, Streams};

    fn meaconfident(classes: usize, logits: &[f32], given: &[u32], truth: &[u32]) -> Dependence {
        let mut generator = Streams::new(1, 1).generator(Stream::Diagnostics, 1);
        dependence(&LabelledPredictions::new(classes, logits, given, truth).unwrap(), &mut generator)
    }

    /// Two classes of 4 · `times` samples each; a quarter of them has the other class as given label.
    fn labels(times: usize) -> (Vec<u32>, Vec<u32>) {
        ([0, 0, 0, 1, 1, 1, 1, 0].repeat(times), [0, 0, 0, 0, 1, 1, 1, 1].repeat(times))
    }

    /// Logits that predict these classes with a softmax near 1.
    fn confident(classes: &[u32]) -> Vec<f32> {
        classes.iter().flat_map(|class| if *class == 0 { [40.0, 0.0] } else { [0.0, 40.0] }).collect()
    }

    #[test]
    fn predictions_from_the_true_class_alone_are_independent() {
        let (given, truth) = labels(4);
        // Uncertain of both classes, to different degrees.
        let logits: Vec<f32> = truth.iter().flat_map(|t| if *t == 0 { [1.0, 0.0] } else { [-0.5, 2.0] }).collect();
        let found = meaconfident(2, &logits, &given, &truth);
        assert!(found.information.unwrap().abs() < 1e-12, "{found:?}");
        assert!(found.residual.unwrap().abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn memorised_labels_have_the_information_of_their_entropy() {
        let (given, truth) = labels(250);
        let found = meaconfident(2, &confident(&given), &given, &truth);
        // H(1/4), and det T = 1/2 twice: U(h, given) is diagonal, U(h, true) is T/2.
        let entropy = -0.75 * 0.75f64.ln() - 0.25 * 0.25f64.ln();
        assert!((found.information.unwrap() - entropy).abs() < 2e-3, "{found:?}");
        assert!((found.residual.unwrap() - 2.0 * 2f64.ln()).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn the_bias_of_few_samples_is_subtracted() {
        let truth: Vec<u32> = (0..400).map(|i| i % 4).collect();
        let mut generator = Streams::new(7, 7).generator(Stream::Order, 1);
        let mut any = || generator.random_range(0..4u32);
        let (given, predicted): (Vec<u32>, Vec<u32>) = truth.iter().map(|_| (any(), any())).unzip();
        let logits: Vec<f32> = predicted.iter().flat_map(|p| (0..4).map(|c| f32::from(u8::from(c == *p)))).collect();
        let raw: f64 = (0..4)
            .map(|class| {
                let of = |labels: &[u32]| (0..400).filter(|i| i % 4 == class).map(|i| labels[i]).collect();
                Group { predicted: of(&predicted), given: of(&given) }.information() / 400.0
            })
            .sum();
        let found = meaconfident(4, &logits, &given, &truth).information.unwrap();
        assert!(raw > 0.03, "independent labels have {raw} nats of mutual information");
        assert!(found.abs() < raw / 3.0, "{found} of {raw}");
    }

    #[test]
    fn mutual_information_agrees_with_a_computation_by_hand() {
        // Counts 2 0 / 1 1: ½ ln(4/3) + ¼ ln(2/3) + ¼ ln 2, times 4.
        let group = Group { predicted: vec![0, 0, 1, 1], given: vec![5, 5, 5, 7] };
        let expected = 2.0 * (4.0f64 / 3.0).ln() + (2.0f64 / 3.0).ln() + 2f64.ln();
        assert!((group.information() - expected).abs() < 1e-12);
        assert_eq!(Group::default().information(), 0.0);
    }

    #[test]
    fn singular_matrices_and_missing_classes_have_no_residual() {
        let (given, truth) = labels(2);
        let collapsed = meaconfident(2, &[3.0, 1.0].repeat(16), &given, &truth);
        assert_eq!(collapsed.residual, None);
        assert_eq!(collapsed.information, Some(0.0));
        // Labels that are pure noise: both rows of T are equal.
        let useless = meaconfident(2, &confident(&[0, 0, 1, 1]), &[0, 1, 0, 1], &[0, 0, 1, 1]);
        assert_eq!(useless.residual, None);
        let one_class = meaconfident(2, &confident(&[0, 1]), &[0, 0], &[0, 0]);
        assert_eq!(one_class.residual, None);
        assert_eq!(meaconfident(3, &[], &[], &[]), Dependence { information: None, residual: None });
    }

    #[test]
    fn samples_of_no_class_are_left_out() {
        let (mut given, mut truth) = labels(8);
        let mut logits = confident(&given);
        let before = meaconfident(2, &logits, &given, &truth);
        given.extend([0, 1]);
        truth.extend([NO_CLASS; 2]);
        logits.extend([1.0, 0.0, 1.0, 0.0]);
        assert_eq!(meaconfident(2, &logits, &given, &truth), before);
    }

    #[test]
    fn determinants_are_right_with_row_exchanges() {
        // The zero forces a swap; by Sarrus the determinant is 21.
        let matrix = vec![0.0, 2.0, 3.0, 1.0, 0.0, 2.0, 4.0, 1.0, -1.0];
        assert!((log_abs_determinant(matrix, 3).unwrap() - 21f64.ln()).abs() < 1e-12);
        assert_eq!(log_abs_determinant(vec![1.0, 2.0, 2.0, 4.0], 2), None);
        assert_eq!(log_abs_determinant(vec![f64::NAN; 4], 2), None);
        // The product of these would underflow to 0.
        let mut tiny = vec![0.0; 100 * 100];
        (0..100).for_each(|i| tiny[i * 101] = 1e-10);
        assert!((log_abs_determinant(tiny, 100).unwrap() + 1_000.0 * 10f64.ln()).abs() < 1e-6);
    }
}
