//! Wilcoxon's signed-rank test: pairs without the assumption that their differences are normal.

use serde::{Deserialize, Serialize};

/// Up to so many differences, the distribution of the statistic is counted out.
const EXACT: usize = 100;

/// What the signed-rank test says of differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedRank {
    /// How many differences are not zero; the others take no part (Wilcoxon 1945).
    pub n: usize,
    /// V, the sum of the ranks of the positive differences; equal ones share the mean of their ranks.
    pub v: f64,
    /// Two-sided.
    pub p: f64,
    /// Whether p was counted out over all 2ⁿ signs (ties as they are), or is the normal approximation with corrections for ties and
    /// continuity.
    pub exact: bool,
}

/// The smallest p that any `n` differences can have, 2/2ⁿ: with five of them 0.0625, however large they are.
pub fn smallest_p(n: usize) -> f64 {
    (2.0 * 0.5f64.powi(n.min(1000) as i32)).min(1.0)
}

impl SignedRank {
    /// Of `differences`, of which those within `slack` of one another are equal; nothing where all are zero.
    pub(super) fn of(differences: &[f64], slack: f64) -> Option<SignedRank> {
        let mut rest: Vec<f64> = differences.iter().copied().filter(|difference| difference.abs() > slack).collect();
        if rest.is_empty() {
            return None;
        }
        rest.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let ranks = doubled_ranks(&rest, slack);
        let v = rest.iter().zip(&ranks).filter(|(difference, _)| **difference > 0.0).map(|(_, rank)| rank).sum();
        let exact = rest.len() <= EXACT;
        let p = if exact { counted(&ranks, v) } else { approximate(&ranks, v) };
        Some(SignedRank { n: rest.len(), v: v as f64 / 2.0, p, exact })
    }
}

/// Twice the rank of each of the sorted differences: the mean of a tie's ranks may be a half.
fn doubled_ranks(sorted: &[f64], slack: f64) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for tie in sorted.chunk_by(|a, b| b.abs() - a.abs() <= slack) {
        let first = ranks.len() + 1;
        let last = ranks.len() + tie.len();
        ranks.extend(tie.iter().map(|_| first + last));
    }
    ranks
}

/// Two-sided p of the sum `v`, where each rank is in it with probability 1/2.
fn counted(ranks: &[usize], v: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut chances = vec![0.0; total + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = if sum >= *rank { chances[sum - rank] } else { 0.0 };
            chances[sum] = 0.5 * (chances[sum] + with);
        }
    }
    let below: f64 = chances[..=v].iter().sum();
    let above: f64 = chances[v..].iter().sum();
    (2.0 * below.min(above)).min(1.0)
}

fn approximate(ranks: &[usize], v: usize) -> f64 {
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

    /// 1 to n, every third one negative, beginning with the first.
    fn alternating(n: i32) -> Vec<f64> {
        (1..=n).map(|i| f64::from(if i % 3 == 1 { -i } else { i })).collect()
    }

    #[test]
    #[allow(clippy::approx_constant, reason = "3.14 was measured")]
    fn the_depression_data_give_what_r_prints() {
        // Hollander & Wolfe 1973, p. 29, as in R's example of wilcox.test(x, y, paired = TRUE): V = 40, two-sided p = 0.03906.
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        assert_eq!(of(&differences), SignedRank { n: 9, v: 40.0, p: 0.0390625, exact: true });
    }

    #[test]
    fn ties_share_their_ranks_and_zeros_are_left_out() {
        // p by going through all 2⁷ signs of the mean ranks in Python.
        assert_eq!(
            of(&[1.0, 2.0, -2.0, 0.0, 3.0, 4.0, 4.0, -1.0]),
            SignedRank { n: 7, v: 23.0, p: 0.171875, exact: true }
        );
    }

    #[test]
    fn five_differences_cannot_reach_one_in_twenty() {
        let all_better = of(&[0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!((all_better.v, all_better.p), (15.0, 0.0625));
        assert_eq!(smallest_p(5), 0.0625);
        assert!(smallest_p(6) < 0.05);
        assert_eq!(smallest_p(0), 1.0);
    }

    #[test]
    fn the_distribution_is_counted_out_for_many_differences_too() {
        // scipy.stats.wilcoxon(..., method="exact")
        assert!((of(&alternating(40)).p - 0.1000314528009767).abs() < 1e-12);
        assert!((of(&alternating(60)).p - 0.01613712308755133).abs() < 1e-12);
    }

    #[test]
    fn the_approximation_is_the_usual_one_with_its_corrections() {
        // scipy.stats.wilcoxon(..., correction=True, method="approx")
        let ranks: Vec<usize> = (1..=60).map(|rank| 2 * rank).collect();
        let v = 2 * (1..=60).filter(|i| i % 3 != 1).sum::<usize>();
        assert!((approximate(&ranks, v) - 0.016901653275967533).abs() < 1e-9);
        assert!(!of(&alternating(101)).exact);
    }

    #[test]
    fn without_differences_there_is_no_test() {
        assert_eq!(SignedRank::of(&[0.0, 0.0], 1e-12), None);
        assert_eq!(SignedRank::of(&[], 1e-12), None);
    }

    #[test]
    fn balanced_differences_have_a_p_of_one() {
        assert_eq!(of(&[1.0, -1.0]).p, 1.0);
    }
}
