//! Mean and standard deviation.

use crate::sweep_file::Std;

/// Mean and standard deviation of n values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanStd {
    /// The number of values.
    pub n: usize,
    /// x̄ = Σ xᵢ / n; `None` without values.
    pub mean: Option<f64>,
    /// √(Σ (xᵢ − x̄)² / d) with d = n − 1 for the sample and d = n for the population; `None` for fewer than two values, of which
    /// the spread is unknown.
    pub std: Option<f64>,
}

impl MeanStd {
    /// Computes both by Welford's updates (Technometrics 1962) of the distances from the first value. No large sums are subtracted, so
    /// values far from zero keep their digits, and equal values have exactly their own mean and a deviation of 0.
    pub fn of(values: impl IntoIterator<Item = f64>, std: Std) -> MeanStd {
        let mut values = values.into_iter().peekable();
        let origin = values.peek().copied().unwrap_or_default();
        let (mut n, mut mean, mut squares) = (0, 0.0, 0.0);
        for distance in values.map(|value| value - origin) {
            n += 1;
            let delta = distance - mean;
            mean += delta / n as f64;
            squares += delta * (distance - mean);
        }
        let degrees_of_freedom = match std {
            Std::Sample => n.max(1) - 1,
            Std::Population => n,
        };
        MeanStd {
            n,
            mean: (n > 0).then_some(origin + mean),
            std: (n > 1).then(|| (squares / degrees_of_freedom as f64).sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE: [f64; 5] = [2.0, 4.0, 4.0, 6.0, 9.0];

    #[test]
    fn sample_and_population_deviation_differ_in_the_divisor() {
        let sample = MeanStd::of(FIVE, Std::Sample);
        assert_eq!((sample.n, sample.mean), (5, Some(5.0)));
        assert!((sample.std.unwrap() - 7f64.sqrt()).abs() < 1e-15, "28 over 4");
        let population = MeanStd::of(FIVE, Std::Population);
        assert!((population.std.unwrap() - 5.6f64.sqrt()).abs() < 1e-15, "28 over 5");
    }

    #[test]
    fn one_value_has_a_mean_and_no_deviation() {
        for std in [Std::Sample, Std::Population] {
            assert_eq!(MeanStd::of([0.25], std), MeanStd { n: 1, mean: Some(0.25), std: None });
        }
    }

    #[test]
    fn no_values_have_neither_mean_nor_deviation() {
        assert_eq!(MeanStd::of([], Std::Sample), MeanStd { n: 0, mean: None, std: None });
    }

    #[test]
    fn equal_values_have_a_deviation_of_zero() {
        assert_eq!(MeanStd::of([0.1; 7], Std::Sample), MeanStd { n: 7, mean: Some(0.1), std: Some(0.0) });
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let summary = MeanStd::of(FIVE.map(|value| value + 1e9), Std::Sample);
        assert_eq!(summary.mean, Some(1e9 + 5.0));
        assert!((summary.std.unwrap() - 7f64.sqrt()).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn a_mean_lies_between_its_smallest_and_largest_value(values in prop::collection::vec(-1e6..1e6f64, 1..20)) {
            let summary = MeanStd::of(values.iter().copied(), Std::Sample);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = summary.mean.unwrap();
            let slack = 1e-12 * (low.abs() + high.abs());
            prop_assert!(low - slack <= mean && mean <= high + slack);
            prop_assert!(summary.std.is_none_or(|std| std >= 0.0 && std <= (high - low) + slack));
        }
    }
}
