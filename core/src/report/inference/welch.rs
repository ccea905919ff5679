//! Welch's t-test for two independent samples, from their summaries.

use super::{Interval, StudentT, t_test};

/// Summary statistics of a sample, as papers print them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleSummary {
    /// The number of values.
    pub n: u64,
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation, with divisor n − 1; ≥ 0.
    pub std: f64,
}

/// The result of Welch's test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Welch {
    /// A sample has fewer than two values, so its deviation is unknown.
    TooFew,
    /// Both standard deviations are 0, so the standard error is 0.
    NoSpread,
    /// The statistic and the confidence interval of the difference.
    Tested(StudentT, Interval),
}

/// Welch's t-test of the difference a − b of the means of independent samples with possibly unequal variances (Welch, Biometrika 1947).
/// With A = sₐ²/nₐ and B = s_b²/n_b: t = (a − b)/√(A + B), with (A + B)²/(A²/(nₐ−1) + B²/(n_b−1)) degrees of freedom (Welch and
/// Satterthwaite). The interval has confidence level 1 − `alpha`.
pub fn welch(a: SampleSummary, b: SampleSummary, alpha: f64) -> Welch {
    if a.n < 2 || b.n < 2 {
        return Welch::TooFew;
    }
    let squared_error = |s: SampleSummary| s.std * s.std / s.n as f64;
    let (va, vb) = (squared_error(a), squared_error(b));
    // Scaled by the larger, since the squares of tiny variances would underflow.
    let scale = va.max(vb);
    let (ra, rb) = (va / scale, vb / scale);
    let df = (ra + rb).powi(2) / (ra * ra / (a.n - 1) as f64 + rb * rb / (b.n - 1) as f64);
    match t_test(a.mean - b.mean, (va + vb).sqrt(), df, alpha) {
        Some((test, interval)) => Welch::Tested(test, interval),
        None => Welch::NoSpread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(a: (f64, f64, u64), b: (f64, f64, u64)) -> (StudentT, Interval) {
        let summary = |(mean, std, n)| SampleSummary { n, mean, std };
        match welch(summary(a), summary(b), 0.05) {
            Welch::Tested(test, interval) => (test, interval),
            other => panic!("{other:?}"),
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "expected {expected}, found {found}");
    }

    #[test]
    fn the_sleep_data_give_rs_result() {
        // R: t.test(extra ~ group, data = sleep), Student's own data; more digits by scipy.stats.ttest_ind(equal_var=False).
        let (test, interval) = tested((0.75, 1.7890096577591623, 10), (2.33, 2.002248735796829, 10));
        near(test.t, -1.8608134674868526);
        near(test.df, 17.776473516178488);
        near(test.p, 0.0793941401873583);
        near(interval.low, -3.3654832307117104);
        near(interval.high, 0.20548323071171137);
    }

    #[test]
    fn unequal_sizes_and_deviations_reduce_the_degrees_of_freedom() {
        // scipy.stats.ttest_ind_from_stats(80, 2, 3, 83, 0.5, 5, equal_var=False); df and interval from the formulas.
        let (test, interval) = tested((80.0, 2.0, 3), (83.0, 0.5, 5));
        near(test.t, -2.5506909056931106);
        near(test.df, 2.151299867280818);
        near(test.p, 0.11673823794466445);
        near(interval.low, -7.7343544174366246);
        near(interval.high, 1.7343544174366246);
    }

    #[test]
    fn equal_sizes_and_deviations_have_all_degrees_of_freedom() {
        near(tested((1.0, 0.3, 5), (2.0, 0.3, 5)).0.df, 8.0);
    }

    #[test]
    fn a_constant_sample_leaves_the_others_degrees_of_freedom() {
        // scipy.stats.ttest_ind_from_stats(80, 0, 5, 83, 0.5, 5, equal_var=False)
        let (test, _) = tested((80.0, 0.0, 5), (83.0, 0.5, 5));
        near(test.df, 4.0);
        near(test.p, 0.0001785213183447047);
    }

    #[test]
    fn there_is_no_test_of_two_constant_samples() {
        let point = |mean| SampleSummary { n: 5, mean, std: 0.0 };
        assert_eq!(welch(point(1.0), point(1.0), 0.05), Welch::NoSpread);
        assert_eq!(welch(point(1.0), point(2.0), 0.05), Welch::NoSpread);
    }

    #[test]
    fn there_is_no_test_of_a_single_value() {
        let one = SampleSummary { n: 1, mean: 1.0, std: 0.0 };
        assert_eq!(welch(one, SampleSummary { n: 5, mean: 1.0, std: 0.1 }, 0.05), Welch::TooFew);
    }

    #[test]
    fn swapping_the_samples_changes_only_the_sign() {
        let (ab, _) = tested((93.24, 0.12, 5), (93.41, 0.21, 5));
        let (ba, _) = tested((93.41, 0.21, 5), (93.24, 0.12, 5));
        assert_eq!((ab.t, ab.p, ab.df), (-ba.t, ba.p, ba.df));
        near(ab.p, 0.1642971798328478); // scipy, as above
    }
}
