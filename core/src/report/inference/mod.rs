//! Tests of whether means differ: from summaries of independent samples, and from pairs.
//!
//! What has no answer (no spread, too few values) is a value of its own, never a number that is not one.

mod holm;
mod paired;
mod signed_rank;
mod student;
mod welch;

pub(super) use holm::holm;
pub use paired::{Paired, PairedTest};
pub use signed_rank::{SignedRank, smallest_p};
pub use welch::{Summary, Welch, welch};

use serde::{Deserialize, Serialize};

/// A Student t statistic with what it says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudentT {
    /// The statistic.
    pub t: f64,
    /// Its degrees of freedom, > 0; Welch's are seldom whole.
    pub df: f64,
    /// The probability, were there no difference, of a statistic at least as far from 0 on either side.
    pub p: f64,
}

/// A range that holds the true difference with the confidence asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The statistic of a `difference` whose standard error is `error`, and the interval of confidence 1 − `alpha` around it; nothing
/// where the numbers allow neither.
fn against(difference: f64, error: f64, df: f64, alpha: f64) -> Option<(StudentT, Interval)> {
    let t = difference / error;
    let finite = [difference, error, df, t].iter().all(|number| number.is_finite());
    let usable = finite && error > 0.0 && df > 0.0 && alpha > 0.0 && alpha < 1.0;
    if !usable {
        return None;
    }
    let p = student::two_sided(t, df);
    let reach = student::quantile(alpha, df)? * error;
    let interval = Interval { low: difference - reach, high: difference + reach };
    reach.is_finite().then_some((StudentT { t, df, p }, interval))
}

/// Differences that are no more than this apart are equal: what subtracting values of that size leaves behind. Accuracies are
/// counts divided by the size of a set, so differences that are equal on paper are common.
fn slack(values: impl Iterator<Item = f64>) -> f64 {
    1e-12 * values.map(f64::abs).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_printed_tables() {
        // The 97.5 % points for 1, 4 and 30 degrees of freedom, as every table of Student's t has them.
        for (df, quantile) in [(1.0, 12.706), (4.0, 2.776), (30.0, 2.042)] {
            let (_, interval) = against(0.0, 1.0, df, 0.05).unwrap();
            assert!((interval.high - quantile).abs() < 5e-4, "{df}: {}", interval.high);
            assert_eq!(interval.low, -interval.high);
        }
    }

    #[test]
    fn what_has_no_answer_gets_none() {
        assert_eq!(against(1.0, 0.0, 4.0, 0.05), None, "no error");
        assert_eq!(against(1.0, 1.0, 0.0, 0.05), None, "no freedom");
        assert_eq!(against(f64::NAN, 1.0, 4.0, 0.05), None);
        assert_eq!(against(1e300, 1e-300, 4.0, 0.05), None, "a statistic beyond counting");
    }

    #[test]
    fn a_difference_far_beyond_its_error_has_a_tiny_p_and_not_a_negative_one() {
        let (test, _) = against(1.0, 1e-9, 4.0, 0.05).unwrap();
        assert!(test.p > 0.0 && test.p < 1e-30, "{}", test.p);
    }
}
