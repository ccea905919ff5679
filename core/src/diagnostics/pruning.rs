//! Pruning as a detector of mislabelled samples (truncated L_q, Zhang & Sabuncu 2018, §3.3).

use super::defined;
use crate::metric::{Measurements, Metric};

/// Precision and recall of pruning as a detector of mislabelled samples, and the share of samples kept. The slices hold the given label,
/// the true label and whether the sample is kept, by sample.
pub fn pruning(given: &[u32], truth: &[u32], kept: &[bool]) -> Measurements {
    let (mut noisy, mut pruned, mut both, mut all) = (0u64, 0u64, 0u64, 0u64);
    for ((given, truth), kept) in given.iter().zip(truth).zip(kept) {
        let (is_noisy, is_pruned) = (given != truth, !kept);
        noisy += u64::from(is_noisy);
        pruned += u64::from(is_pruned);
        both += u64::from(is_noisy && is_pruned);
        all += 1;
    }
    let share = |of: u64, hits: u64| (of > 0).then(|| hits as f64 / of as f64);
    defined([
        (Metric::PruningPrecision, share(pruned, both)),
        (Metric::PruningRecall, share(noisy, both)),
        (Metric::PruningKept, share(all, all - pruned)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_agree_with_a_count_by_hand() {
        let (given, truth) = ([0, 0, 1, 1, 0], [0, 1, 0, 0, 0]);
        // Two samples are pruned: one of the three mislabelled samples and a clean one.
        let found = pruning(&given, &truth, &[false, false, true, true, true]);
        assert_eq!((found[&Metric::PruningPrecision], found[&Metric::PruningKept]), (0.5, 0.6));
        assert!((found[&Metric::PruningRecall] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn there_is_no_precision_without_pruned_samples() {
        let found = pruning(&[0, 1], &[0, 0], &[true, true]);
        assert_eq!(found, Measurements::from([(Metric::PruningRecall, 0.0), (Metric::PruningKept, 1.0)]));
        let found = pruning(&[0], &[0], &[false]);
        assert_eq!(found, Measurements::from([(Metric::PruningPrecision, 0.0), (Metric::PruningKept, 0.0)]));
        assert_eq!(pruning(&[], &[], &[]), Measurements::new());
    }
}
