//! Accuracy by class, and over all samples together.

use super::{defined, variance};
use crate::methods::noise::NO_CLASS;
use crate::metric::{Class, Measurements, Metric};

/// The accuracy on the samples of each class, with spread (highest − lowest), standard deviation and minimum over the classes. Classes
/// without samples are left out; only the first [`Class::COUNT`] classes have metrics of their own.
///
/// `predicted` and `truth` hold one class per sample. Samples whose true label is not below `classes` are left out.
pub fn class_accuracy(classes: usize, predicted: &[u32], truth: &[u32]) -> Measurements {
    let mut counts = vec![(0u64, 0u64); classes];
    for (predicted, truth) in predicted.iter().zip(truth) {
        if let Some((hits, of)) = counts.get_mut(*truth as usize) {
            *of += 1;
            *hits += u64::from(predicted == truth);
        }
    }
    let accuracy = |(hits, of): &(u64, u64)| (*of > 0).then(|| *hits as f64 / *of as f64);
    let each = counts
        .iter()
        .enumerate()
        .filter_map(|(index, counts)| Class::new(index).map(|class| (Metric::ClassAccuracy(class), accuracy(counts))));
    let all: Vec<f64> = counts.iter().filter_map(accuracy).collect();
    let worst = all.iter().copied().reduce(f64::min);
    let spread = all.iter().copied().reduce(f64::max).zip(worst).map(|(best, worst)| best - worst);
    let of_all = [
        (Metric::ClassAccuracySpread, spread),
        (Metric::ClassAccuracyStd, variance(&all).map(f64::sqrt)),
        (Metric::ClassAccuracyWorst, worst),
    ];
    defined(each.chain(of_all))
}

/// Accuracy under true labels over all `parts` (test, training and validation samples) together, called hybrid by Wang et al. 2019
/// (IMAE). A part holds the predicted and the true class of its samples. Samples of no class are left out.
pub fn hybrid_accuracy(parts: &[(&[u32], &[u32])]) -> Measurements {
    let pairs = parts.iter().flat_map(|(predicted, truth)| predicted.iter().zip(*truth));
    let right = pairs.filter(|(_, truth)| **truth != NO_CLASS).map(|(predicted, truth)| f64::from(predicted == truth));
    defined([(Metric::HybridAccuracy, super::mean(right))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_with_samples_has_an_accuracy() {
        // Class 0: 3 of 4; class 1: 1 of 2; class 2: none; class 3: 0 of 1.
        let found = class_accuracy(4, &[0, 0, 0, 1, 1, 3, 0], &[0, 0, 0, 0, 1, 1, 3]);
        let of = |class| found.get(&Metric::ClassAccuracy(Class::new(class).unwrap())).copied();
        assert_eq!([of(0), of(1), of(2), of(3)], [Some(0.75), Some(0.5), None, Some(0.0)]);
        assert_eq!((found[&Metric::ClassAccuracySpread], found[&Metric::ClassAccuracyWorst]), (0.75, 0.0));
        // Mean 5/12; squares (1/3)², (1/12)², (5/12)²: variance 7/72.
        assert!((found[&Metric::ClassAccuracyStd] - (7.0f64 / 72.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn classes_without_a_metric_enter_the_summary() {
        let truth: Vec<u32> = (0..1_001).collect();
        let found = class_accuracy(1_001, &vec![1_000; 1_001], &truth);
        assert_eq!(found.len(), 1_000 + 3);
        assert_eq!(found[&Metric::ClassAccuracySpread], 1.0);
    }

    #[test]
    fn hybrid_accuracy_weights_samples_equally_without_foreign_ones() {
        let test = (&[0, 1][..], &[0, 0][..]);
        let train = (&[1, 1, 1, 0][..], &[1, 1, 1, NO_CLASS][..]);
        assert_eq!(hybrid_accuracy(&[test, train]), Measurements::from([(Metric::HybridAccuracy, 0.8)]));
    }

    #[test]
    fn there_is_no_accuracy_without_samples() {
        assert_eq!(class_accuracy(3, &[], &[]), Measurements::new());
        assert_eq!(hybrid_accuracy(&[]), Measurements::new());
    }
}
