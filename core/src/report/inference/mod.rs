//! Tests for the difference of two means: Welch's t-test for independent samples, Student's t-test and Wilcoxon's signed-rank test for
//! pairs, and Holm's correction for several tests.
//!
//! Cases without a test (standard deviation 0, too few values) are variants of their own; no result contains NaN.

mod holm;
mod paired;
mod signed_rank;
mod student;
mod welch;

pub(super) use holm::holm;
pub use paired::{Paired, PairedTest};
pub use signed_rank::{SignedRank, smallest_p};
pub use welch::{SampleSummary, Welch, welch};

use serde::{Deserialize, Serialize};

/// The result of a t-test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudentT {
    /// The statistic t = difference / standard error.
    pub t: f64,
    /// The degrees of freedom, > 0; fractional in Welch's test.
    pub df: f64,
    /// The two-sided p value: the probability under the null hypothesis of a statistic with at least this absolute value.
    pub p: f64,
}

/// A confidence interval of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower limit.
    pub low: f64,
    /// The upper limit.
    pub high: f64,
}

/// The t-test of a `difference` with standard error `error`, and its confidence interval difference ± t(1 − α/2, df) · error. `None` if a
/// number is not finite, `error` or `df` is not positive, or `alpha` is not within 0..1.
fn t_test(difference: f64, error: f64, df: f64, alpha: f64) -> Option<(StudentT, Interval)> {
    let t = difference / error;
    let finite = [difference, error, df, t].iter().all(|number| number.is_finite());
    let usable = finite && error > 0.0 && df > 0.0 && alpha > 0.0 && alpha < 1.0;
    if !usable {
        return None;
    }
    let p = student::two_sided(t, df);
    let margin = student::quantile(alpha, df)? * error;
    let interval = Interval { low: difference - margin, high: difference + margin };
    margin.is_finite().then_some((StudentT { t, df, p }, interval))
}

/// The rounding error of a difference of such values. Differences closer than this are treated as equal: accuracies are counts divided by
/// the size of a set, so exactly equal differences are common.
fn rounding_tolerance(values: impl Iterator<Item = f64>) -> f64 {
    1e-12 * values.map(f64::abs).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_printed_tables() {
        // The 97.5 % points for 1, 4 and 30 degrees of freedom, as every table of Student's t has them.
        for (df, quantile) in [(1.0, 12.706), (4.0, 2.776), (30.0, 2.042)] {
            let (_, interval) = t_test(0.0, 1.0, df, 0.05).unwrap();
            assert!((interval.high - quantile).abs() < 5e-4, "{df}: {}", interval.high);
            assert_eq!(interval.low, -interval.high);
        }
    }

    #[test]
    fn there_is_no_test_without_an_error_or_degrees_of_freedom() {
        assert_eq!(t_test(1.0, 0.0, 4.0, 0.05), None, "no error");
        assert_eq!(t_test(1.0, 1.0, 0.0, 0.05), None, "no degrees of freedom");
        assert_eq!(t_test(f64::NAN, 1.0, 4.0, 0.05), None);
        assert_eq!(t_test(1e300, 1e-300, 4.0, 0.05), None, "the statistic overflows");
    }

    #[test]
    fn a_difference_far_beyond_its_error_has_a_tiny_positive_p() {
        let (test, _) = t_test(1.0, 1e-9, 4.0, 0.05).unwrap();
        assert!(test.p > 0.0 && test.p < 1e-30, "{}", test.p);
    }
}
