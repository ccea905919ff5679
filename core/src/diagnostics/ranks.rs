//! Rank statistics with ties.

/// The rank of each value, from 1. Ties have their mean rank.
fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = below as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|index| ranks[*index] = rank);
        below += tied.len();
    }
    ranks
}

/// Spearman's rank correlation, −1..=1: Pearson's correlation of the ranks, where ties have their mean rank. `None` if the lengths differ,
/// a value is NaN, or all values of one slice are equal.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.iter().chain(b).any(|value| value.is_nan()) {
        return None;
    }
    let centre = (a.len() + 1) as f64 / 2.0;
    let (mut product, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in average_ranks(a).into_iter().zip(average_ranks(b)) {
        let (a, b) = (a - centre, b - centre);
        product += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    (of_a > 0.0 && of_b > 0.0).then(|| (product / (of_a * of_b).sqrt()).clamp(-1.0, 1.0))
}

/// The area under the receiver operating characteristic, 0..=1: P(score of a positive > score of a negative) with ties counted half,
/// that is, Mann–Whitney's U divided by the number of pairs. `None` without positives or negatives, or if a score is NaN.
pub fn auroc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    if scores.len() != positive.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let positives = positive.iter().filter(|positive| **positive).count() as f64;
    let negatives = positive.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let ranks = average_ranks(scores);
    let sum: f64 = ranks.iter().zip(positive).filter(|(_, positive)| **positive).map(|(rank, _)| rank).sum();
    Some((sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(average_ranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0], "both zeros are equal");
        assert_eq!(average_ranks(&[]), [0.0; 0]);
    }

    #[test]
    fn spearman_agrees_with_a_computation_by_hand_with_ties() {
        // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: 4.5/√(4.5·5).
        let correlation = spearman(&[1.0, 5.0, 5.0, 9.0], &[0.1, 0.3, 0.2, 0.4]).unwrap();
        assert!((correlation - 0.948_683_298_050_513_8).abs() < 1e-12, "{correlation}");
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[2.0, 20.0, 200.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]), Some(-1.0));
    }

    #[test]
    fn there_is_no_correlation_without_an_order() {
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]), None);
    }

    #[test]
    fn the_area_counts_a_tie_as_half_a_pair() {
        let right = [true, true, false, false];
        assert_eq!(auroc(&[0.9, 0.8, 0.2, 0.1], &right), Some(1.0));
        assert_eq!(auroc(&[0.1, 0.2, 0.8, 0.9], &right), Some(0.0));
        assert_eq!(auroc(&[0.5; 4], &right), Some(0.5));
        // Pairs: .9 > .4, .9 > .3, .4 = .4, .4 > .3.
        assert_eq!(auroc(&[0.9, 0.4, 0.4, 0.3], &right), Some(0.875));
    }

    #[test]
    fn there_is_no_area_without_positives_and_negatives() {
        assert_eq!(auroc(&[0.5, 0.6], &[true, true]), None);
        assert_eq!(auroc(&[0.5, 0.6], &[false, false]), None);
        assert_eq!(auroc(&[0.5, f64::NAN], &[true, false]), None);
    }
}
