//! Numerics on one sample's logits, which losses, diagnostics and the training loop share.

/// ln Σ exp z, without overflow; NaN where the largest is not finite, and of nothing.
pub fn log_sum_exp(z: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = z.clone().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return f64::NAN;
    }
    max + libm::log(z.map(|z| libm::exp(z - max)).sum())
}

/// The place of the largest value, the first of equals; 0 where there is none.
pub fn largest<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, place| if row[place] > row[best] { place } else { best })
}

/// The share of `class` in the distribution over classes that the logits of `row` stand for, their softmax.
///
/// # Panics
/// If there is no such class.
pub fn probability(row: &[f32], class: usize) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponential = |z: &f32| libm::exp(f64::from(*z) - max);
    exponential(&row[class]) / row.iter().map(exponential).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow_and_infinite_ones_have_no_sum() {
        let of = |z: &[f64]| log_sum_exp(z.iter().copied());
        assert!((of(&[1e300, 1e300]) - 1e300).abs() < 1e290);
        assert!((of(&[0.0, 3f64.ln()]) - 4f64.ln()).abs() < 1e-15);
        assert!(
            [&[][..], &[f64::INFINITY], &[f64::NEG_INFINITY], &[0.0, f64::NAN]].into_iter().all(|z| of(z).is_nan())
        );
    }

    #[test]
    fn of_equal_values_the_first_is_the_largest_and_of_none_the_first_place() {
        assert_eq!([largest(&[0.0, 2.0, 2.0]), largest(&[1.0f32, 1.0]), largest::<f64>(&[])], [1, 0, 0]);
    }

    #[test]
    fn probabilities_are_those_of_the_softmax_whatever_is_added_to_all_logits() {
        for added in [0.0, 1e6] {
            let row = [added, added + 2.0, added];
            let shares = [0, 1, 2].map(|class| probability(&row, class));
            let e = 2f64.exp();
            let expected = [1.0 / (2.0 + e), e / (2.0 + e), 1.0 / (2.0 + e)];
            assert!(shares.iter().zip(expected).all(|(found, share)| (found - share).abs() < 1e-12), "{shares:?}");
        }
        assert!(probability(&[f32::INFINITY, 0.0], 0).is_nan());
    }
}
