//! Two means from pairs: the same seeds under two methods.

use super::{Interval, SignedRank, StudentT, against, slack};
use crate::report::statistics::Moments;
use crate::sweep_file::Std;

/// Pairs of values and what their differences come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// How many pairs.
    pub n: usize,
    /// Mean of a − b; nothing where there are no pairs.
    pub difference: Option<f64>,
    /// What the paired t-test says.
    pub test: PairedTest,
    /// What Wilcoxon's signed-rank test says; nothing where every difference is zero.
    pub signed_rank: Option<SignedRank>,
}

/// What the paired t-test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairedTest {
    /// Fewer than two pairs: their spread is unknown.
    TooFew,
    /// Both methods have the same value on every seed.
    Equal,
    /// The methods differ by the same amount on every seed: there is no spread to hold it against.
    Constant,
    /// The statistic, and the interval of the mean difference.
    Tested(StudentT, Interval),
}

impl Paired {
    /// Of the pairs (a, b). The t-test has n − 1 degrees of freedom (Student, Biometrika 1908); the interval has confidence
    /// 1 − `alpha`.
    pub fn of(pairs: &[(f64, f64)], alpha: f64) -> Paired {
        let slack = slack(pairs.iter().flat_map(|(a, b)| [*a, *b]));
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        let Moments { n, mean, std } = Moments::of(differences.iter().copied(), Std::Sample);
        let test = match (mean, std) {
            (Some(mean), Some(std)) if std > slack => {
                let tested = against(mean, std / (n as f64).sqrt(), (n - 1) as f64, alpha);
                tested.map_or(PairedTest::Constant, |(test, interval)| PairedTest::Tested(test, interval))
            }
            (Some(mean), Some(_)) if mean.abs() <= slack => PairedTest::Equal,
            (Some(_), Some(_)) => PairedTest::Constant,
            _ => PairedTest::TooFew,
        };
        Paired { n, difference: mean, test, signed_rank: SignedRank::of(&differences, slack) }
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
    fn the_sleep_data_give_what_r_prints() {
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
    fn a_lower_level_asks_for_a_wider_interval() {
        let width = |alpha| match Paired::of(&SLEEP, alpha).test {
            PairedTest::Tested(_, interval) => interval.high - interval.low,
            other => panic!("{other:?}"),
        };
        assert!(width(0.01) > width(0.05));
    }

    #[test]
    fn equal_values_are_called_equal() {
        let paired = Paired::of(&[(0.1, 0.1), (0.7, 0.7), (0.3, 0.3)], 0.05);
        assert_eq!((paired.test, paired.difference, paired.signed_rank), (PairedTest::Equal, Some(0.0), None));
    }

    #[test]
    fn a_constant_difference_is_no_test_even_where_rounding_scatters_it() {
        // 0.3 − 0.2 and 0.2 − 0.1 are not the same number.
        let paired = Paired::of(&[(0.2, 0.1), (0.3, 0.2), (0.9, 0.8)], 0.05);
        assert_eq!(paired.test, PairedTest::Constant);
        assert!((paired.difference.unwrap() - 0.1).abs() < 1e-15);
    }

    #[test]
    fn one_pair_or_none_is_too_few() {
        assert_eq!(Paired::of(&[(1.0, 2.0)], 0.05).test, PairedTest::TooFew);
        let none = Paired::of(&[], 0.05);
        assert_eq!((none.n, none.difference, none.test, none.signed_rank), (0, None, PairedTest::TooFew, None));
    }
}
