//! Wilcoxon's signed-rank test, a test for pairs that does not assume normal differences.

use serde::{Deserialize, Serialize};

/// The largest n for which the exact distribution of the statistic is computed.
const MAX_EXACT: usize = 100;

/// The result of the signed-rank test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedRank {
    /// The number of differences that are not 0; zeros are dropped (Wilcoxon 1945).
    pub n: usize,
    /// V, the sum of the ranks of the positive differences among all absolute differences. Ties have their mean rank.
    pub v: f64,
    /// The two-sided p value.
    pub p: f64,
    /// Whether p is exact, over all 2ⁿ combinations of signs with the observed ties, or the normal approximation with corrections for
    /// ties and continuity.
    pub exact: bool,
}

/// The smallest possible p value of `n` differences: min(1, 2/2ⁿ). For n = 5 it is 0.0625, so the test cannot reach 0.05.
pub fn smallest_p(n: usize) -> f64 {
    (2.0 * 0.5f64.powi(n.min(1000) as i32)).min(1.0)
}

impl SignedRank {
    /// Tests `differences`; values within `tolerance` of one another are tied. `None` if all are 0.
    pub(super) fn of(differences: &[f64], tolerance: f64) -> Option<SignedRank> {
        let mut nonzero: Vec<f64> =
            differences.iter().copied().filter(|difference| difference.abs() > tolerance).collect();
        if nonzero.is_empty() {
            return None;
        }
        nonzero.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let ranks = doubled_ranks(&nonzero, tolerance);
        let v = nonzero.iter().zip(&ranks).filter(|(difference, _)| **difference > 0.0).map(|(_, rank)| rank).sum();
        let exact = nonzero.len() <= MAX_EXACT;
        let p = if exact { exact_p(&ranks, v) } else { approximate_p(&ranks, v) };
        Some(SignedRank { n: nonzero.len(), v: v as f64 / 2.0, p, exact })
    }
}

/// Twice the rank of each sorted difference, which is an integer: the mean rank of ties may be a half.
fn doubled_ranks(sorted: &[f64], tolerance: f64) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for tie in sorted.chunk_by(|a, b| b.abs() - a.abs() <= tolerance) {
        let first = ranks.len() + 1;
        let last = ranks.len() + tie.len();
        ranks.extend(tie.iter().map(|_| first + last));
    }
    ranks
}

/// The two-sided p value 2 · min(P(V ≤ v), P(V ≥ v)) of the sum `v` of `ranks`, each of which is in the sum with probability 1/2.
fn exact_p(ranks: &[usize], v: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut probabilities = vec![0.0; total + 1];
    probabilities[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = if sum >= *rank { probabilities[sum - rank] } else { 0.0 };
            probabilities[sum] = 0.5 * (probabilities[sum] + with);
        }
    }
    let below: f64 = probabilities[..=v].iter().sum();
    let above: f64 = probabilities[v..].iter().sum();
    (2.0 * below.min(above)).min(1.0)
}

/// The two-sided p value from the normal distribution: with `ranks` and `v` doubled, V has mean n(n + 1)/4 and variance
/// n(n + 1)(2n + 1)/24 − Σ(t³ − t)/48 over ties of t ranks; 1/2 is the correction for continuity.
fn approximate_p(ranks: &[usize], v: usize) -> f64 {
    let n = ranks.len() as f64;
    let ties: f64 = ranks.chunk_by(|a, b| a == b).map(|tie| tie.len() as f64).map(|t| t * t * t - t).sum();
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let distance = ((v as f64 / 2.0 - n * (n + 1.0) / 4.0).abs() - 0.5).max(0.0);
    libm::erfc(distance / (2.0 * variance).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(differences: &[f64]) -> SignedRank {
        SignedRank::of(differences, 1e-12).unwrap()
    }

    /// 1 to n, of which 1, 4, 7, … are negative.
    fn alternating(n: i32) -> Vec<f64> {
        (1..=n).map(|i| f64::from(if i % 3 == 1 { -i } else { i })).collect()
    }

    #[test]
    #[allow(clippy::approx_constant, reason = "3.14 was measured")]
    fn the_depression_data_give_rs_result() {
        // Hollander & Wolfe 1973, p. 29, as in R's example of wilcox.test(x, y, paired = TRUE): V = 40, two-sided p = 0.03906.
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        assert_eq!(of(&differences), SignedRank { n: 9, v: 40.0, p: 0.0390625, exact: true });
    }

    #[test]
    fn ties_share_their_mean_rank_and_zeros_are_dropped() {
        // p by enumeration of all 2⁷ signs of the mean ranks in Python.
        assert_eq!(
            of(&[1.0, 2.0, -2.0, 0.0, 3.0, 4.0, 4.0, -1.0]),
            SignedRank { n: 7, v: 23.0, p: 0.171875, exact: true }
        );
    }

    #[test]
    fn five_differences_cannot_reach_a_level_of_one_in_twenty() {
        let all_better = of(&[0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!((all_better.v, all_better.p), (15.0, 0.0625));
        assert_eq!(smallest_p(5), 0.0625);
        assert!(smallest_p(6) < 0.05);
        assert_eq!(smallest_p(0), 1.0);
    }

    #[test]
    fn the_distribution_is_exact_for_many_differences() {
        // scipy.stats.wilcoxon(..., method="exact")
        assert!((of(&alternating(40)).p - 0.1000314528009767).abs() < 1e-12);
        assert!((of(&alternating(60)).p - 0.01613712308755133).abs() < 1e-12);
    }

    #[test]
    fn the_approximation_agrees_with_scipys() {
        // scipy.stats.wilcoxon(..., correction=True, method="approx")
        let ranks: Vec<usize> = (1..=60).map(|rank| 2 * rank).collect();
        let v = 2 * (1..=60).filter(|i| i % 3 != 1).sum::<usize>();
        assert!((approximate_p(&ranks, v) - 0.016901653275967533).abs() < 1e-9);
        assert!(!of(&alternating(101)).exact);
    }

    #[test]
    fn there_is_no_test_without_nonzero_differences() {
        assert_eq!(SignedRank::of(&[0.0, 0.0], 1e-12), None);
        assert_eq!(SignedRank::of(&[], 1e-12), None);
    }

    #[test]
    fn balanced_differences_have_a_p_of_one() {
        assert_eq!(of(&[1.0, -1.0]).p, 1.0);
    }
}
