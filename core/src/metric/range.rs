//! The values that a metric can have. A value outside its range is a fault of the reporting worker, not a measurement.

use std::fmt;

/// By how much a share may miss its bounds: means of softmax values are sums of rounded numbers.
const ROUNDING: f64 = 1e-6;
/// The largest magnitude. Training computes with 32-bit numbers, and means and variances of larger ones would not be finite.
const LARGEST: f64 = f32::MAX as f64;

/// A set of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// From 0 to 1.
    Share,
    /// From -1 to 1.
    Correlation,
    /// At least 0.
    NonNegative,
    /// Every finite number.
    Finite,
    /// Every finite number. An infinite value or NaN means that the training diverges: such a job can fail, but not finish.
    Loss,
}

impl Range {
    /// Whether a metric with this range can have the value.
    pub fn contains(self, value: f64) -> bool {
        let finite = value.is_finite() && value.abs() <= LARGEST;
        match self {
            Range::Share => (-ROUNDING..=1.0 + ROUNDING).contains(&value),
            Range::Correlation => (-1.0 - ROUNDING..=1.0 + ROUNDING).contains(&value),
            // Differences of equal sums may be rounded to just below 0.
            Range::NonNegative => finite && value >= -ROUNDING,
            Range::Finite => finite,
            Range::Loss => finite || self.diverges(value),
        }
    }

    /// Whether the value is in range and means that the training diverges.
    pub fn diverges(self, value: f64) -> bool {
        self == Range::Loss && !value.is_finite()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Range::Share => "0 to 1",
            Range::Correlation => "-1 to 1",
            Range::NonNegative => "0 or more, and finite",
            Range::Finite => "a finite number",
            Range::Loss => "a number of 32 bits",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_training_measures_and_nothing_else() {
        let cases: [(Range, &[f64], &[f64]); 5] = [
            (Range::Share, &[0.0, 0.5, 1.0, 1.000_000_1], &[7.0, -0.1, f64::NAN, f64::INFINITY, 1.001]),
            (Range::Correlation, &[-1.0, 0.0, 1.0], &[-1.1, 2.0, f64::NAN]),
            (Range::NonNegative, &[0.0, 3e5], &[-1.0, f64::INFINITY, f64::NAN, 1e308]),
            (Range::Finite, &[-5.0, 1e30], &[f64::NAN, f64::NEG_INFINITY, -1e308]),
            (Range::Loss, &[-5.0, 1e30, f64::NAN, f64::INFINITY, f64::NEG_INFINITY], &[1e308, -1e308]),
        ];
        for (range, possible, impossible) in cases {
            possible.iter().for_each(|value| assert!(range.contains(*value), "{range:?} {value}"));
            impossible.iter().for_each(|value| assert!(!range.contains(*value), "{range:?} {value}"));
        }
        assert!(Range::Loss.diverges(f64::NAN) && !Range::Loss.diverges(1.0) && !Range::Share.diverges(f64::NAN));
    }
}
