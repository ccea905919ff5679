//! Tests for paired samples: the same seeds under two methods.

use super::{Interval, SignedRank, StudentT, rounding_tolerance, t_test};
use crate::report::statistics::MeanStd;
use crate::sweep_file::Std;

/// The tests of n pairs (a, b).
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// The number of pairs.
    pub n: usize,
    /// Mean of a − b; `None` without pairs.
    pub difference: Option<f64>,
    /// The paired t-test.
    pub test: PairedTest,
    /// Wilcoxon's signed-rank test; `None` if every difference is 0.
    pub signed_rank: Option<SignedRank>,
}

/// The result of the paired t-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairedTest {
    /// Fewer than two pairs, so the standard deviation is unknown.
    TooFew,
    /// All differences are 0.
    Equal,
    /// All differences are equal but not 0, so their standard deviation is 0.
    Constant,
    /// The statistic and the confidence interval of the mean difference.
    Tested(StudentT, Interval),
}

impl Paired {
    /// Tests the mean d̄ of the differences a − b, with sample standard deviation s: t = d̄ / (s/√n) with n − 1 degrees of freedom
    /// (Student, Biometrika 1908). The interval has confidence level 1 − `alpha`.
    pub fn of(pairs: &[(f64, f64)], alpha: f64) -> Paired {
        let tolerance = rounding_tolerance(pairs.iter().flat_map(|(a, b)| [*a, *b]));
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        let MeanStd { n, mean, std } = MeanStd::of(differences.iter().copied(), Std::Sample);
        let test = match (mean, std) {
            (Some(mean), Some(std)) if std > tolerance => {
                let tested = t_test(mean, std / (n as f64).sqrt(), (n - 1) as f64, alpha);
                tested.map_or(PairedTest::Constant, |(test, interval)| PairedTest::Tested(test, interval))
            }
            (Some(mean), Some(_)) if mean.abs() <= tolerance => PairedTest::Equal,
            (Some(_), Some(_)) => PairedTest::Constant,
            _ => PairedTest::TooFew,
        };
        Paired { n, difference: mean, test, signed_rank: SignedRank::of(&differences, tolerance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of additional sleep under two drugs (Student 1908), R's `sleep`.
    const SLEEP: [(f64, f64); 10] = [
        (0.7, 1.9),
        (-1.6, 0.8),
        (-0.2, 1.1),
        (-1.2, 0.1),
        (-0.1, -0.1),
        (3.4, 4.4),
        (3.7, 5.5),
        (0.8, 1.6),
        (0.0, 4.6),
        (2.0, 3.4),
    ];

    #[test]
    fn the_sleep_data_give_rs_result() {
        // R: t.test(extra ~ group, data = sleep, paired = TRUE); more digits by scipy.stats.ttest_rel.
        let paired = Paired::of(&SLEEP, 0.05);
        let PairedTest::Tested(test, interval) = paired.test else { panic!("{paired:?}") };
        assert!((test.t + 4.062127683382037).abs() < 1e-9, "{test:?}");
        assert_eq!(test.df, 9.0);
        assert!((test.p - 0.002832890197384273).abs() < 1e-12, "{test:?}");
        assert!((interval.low + 2.459885763276983).abs() < 1e-9, "{interval:?}");
        assert!((interval.high + 0.7001142367230175).abs() < 1e-9, "{interval:?}");
        assert!((paired.difference.unwrap() + 1.58).abs() < 1e-12);
    }

    #[test]
    fn a_smaller_alpha_gives_a_wider_interval() {
        let width = |alpha| match Paired::of(&SLEEP, alpha).test {
            PairedTest::Tested(_, interval) => interval.high - interval.low,
            other => panic!("{other:?}"),
        };
        assert!(width(0.01) > width(0.05));
    }

    #[test]
    fn equal_values_are_reported_as_equal() {
        let paired = Paired::of(&[(0.1, 0.1), (0.7, 0.7), (0.3, 0.3)], 0.05);
        assert_eq!((paired.test, paired.difference, paired.signed_rank), (PairedTest::Equal, Some(0.0), None));
    }

    #[test]
    fn a_constant_difference_has_no_test_despite_rounding() {
        // 0.3 − 0.2 and 0.2 − 0.1 differ in f64.
        let paired = Paired::of(&[(0.2, 0.1), (0.3, 0.2), (0.9, 0.8)], 0.05);
        assert_eq!(paired.test, PairedTest::Constant);
        assert!((paired.difference.unwrap() - 0.1).abs() < 1e-15);
    }

    #[test]
    fn fewer_than_two_pairs_are_too_few() {
        assert_eq!(Paired::of(&[(1.0, 2.0)], 0.05).test, PairedTest::TooFew);
        let none = Paired::of(&[], 0.05);
        assert_eq!((none.n, none.difference, none.test, none.signed_rank), (0, None, PairedTest::TooFew, None));
    }
}
