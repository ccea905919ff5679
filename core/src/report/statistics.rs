//! Mean and standard deviation of the few values of a cell.

use crate::sweep_file::Std;

/// What a set of values comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Of how many values.
    pub n: usize,
    /// Absent where there are no values.
    pub mean: Option<f64>,
    /// Absent where there are fewer than two values: one says nothing of their spread, whichever deviation is asked for.
    pub std: Option<f64>,
}

impl Moments {
    /// Of `values`, by Welford's updates (Technometrics 1962) on their distances from the first: no large sums are
    /// subtracted from one another, so values far from zero keep their digits, and equal values have exactly their own mean
    /// and a deviation of zero.
    pub fn of(values: impl IntoIterator<Item = f64>, std: Std) -> Moments {
        let mut values = values.into_iter().peekable();
        let origin = values.peek().copied().unwrap_or_default();
        let (mut n, mut mean, mut squares) = (0, 0.0, 0.0);
        for distance in values.map(|value| value - origin) {
            n += 1;
            let delta = distance - mean;
            mean += delta / n as f64;
            squares += delta * (distance - mean);
        }
        let freedom = match std {
            Std::Sample => n.max(1) - 1,
            Std::Population => n,
        };
        Moments { n, mean: (n > 0).then_some(origin + mean), std: (n > 1).then(|| (squares / freedom as f64).sqrt()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE: [f64; 5] = [2.0, 4.0, 4.0, 6.0, 9.0];

    #[test]
    fn the_two_deviations_differ_in_what_they_divide_by() {
        let sample = Moments::of(FIVE, Std::Sample);
        assert_eq!((sample.n, sample.mean), (5, Some(5.0)));
        assert!((sample.std.unwrap() - 7f64.sqrt()).abs() < 1e-15, "28 over 4");
        let population = Moments::of(FIVE, Std::Population);
        assert!((population.std.unwrap() - 5.6f64.sqrt()).abs() < 1e-15, "28 over 5");
    }

    #[test]
    fn one_value_has_a_mean_and_no_deviation() {
        for std in [Std::Sample, Std::Population] {
            assert_eq!(Moments::of([0.25], std), Moments { n: 1, mean: Some(0.25), std: None });
        }
    }

    #[test]
    fn no_values_have_neither() {
        assert_eq!(Moments::of([], Std::Sample), Moments { n: 0, mean: None, std: None });
    }

    #[test]
    fn equal_values_have_no_spread() {
        assert_eq!(Moments::of([0.1; 7], Std::Sample), Moments { n: 7, mean: Some(0.1), std: Some(0.0) });
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let moments = Moments::of(FIVE.map(|value| value + 1e9), Std::Sample);
        assert_eq!(moments.mean, Some(1e9 + 5.0));
        assert!((moments.std.unwrap() - 7f64.sqrt()).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn a_mean_lies_among_its_values(values in prop::collection::vec(-1e6..1e6f64, 1..20)) {
            let moments = Moments::of(values.iter().copied(), Std::Sample);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = moments.mean.unwrap();
            let slack = 1e-12 * (low.abs() + high.abs());
            prop_assert!(low - slack <= mean && mean <= high + slack);
            prop_assert!(moments.std.is_none_or(|std| std >= 0.0 && std <= (high - low) + slack));
        }
    }
}
