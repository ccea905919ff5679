//! Numerics on the logits of one sample, shared by losses, diagnostics and the training loop.

/// ln Σ exp zᵢ without overflow; NaN if the largest zᵢ is not finite or there are none.
pub fn log_sum_exp(z: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = z.clone().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return f64::NAN;
    }
    max + libm::log(z.map(|z| libm::exp(z - max)).sum())
}

/// The index of the largest value, the first of equals; 0 for an empty slice.
pub fn largest<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, index| if row[index] > row[best] { index } else { best })
}

/// The softmax exp z_class / Σ exp zᵢ of one class, given a row of logits.
///
/// # Panics
/// If `class` is not an index of `row`.
pub fn probability(row: &[f32], class: usize) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponential = |z: &f32| libm::exp(f64::from(*z) - max);
    exponential(&row[class]) / row.iter().map(exponential).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow_and_infinite_ones_give_nan() {
        let of = |z: &[f64]| log_sum_exp(z.iter().copied());
        assert!((of(&[1e300, 1e300]) - 1e300).abs() < 1e290);
        assert!((of(&[0.0, 3f64.ln()]) - 4f64.ln()).abs() < 1e-15);
        assert!(
            [&[][..], &[f64::INFINITY], &[f64::NEG_INFINITY], &[0.0, f64::NAN]].into_iter().all(|z| of(z).is_nan())
        );
    }

    #[test]
    fn the_first_of_equal_values_is_the_largest() {
        assert_eq!([largest(&[0.0, 2.0, 2.0]), largest(&[1.0f32, 1.0]), largest::<f64>(&[])], [1, 0, 0]);
    }

    #[test]
    fn the_softmax_is_invariant_under_a_shift_of_all_logits() {
        for added in [0.0, 1e6] {
            let row = [added, added + 2.0, added];
            let probabilities = [0, 1, 2].map(|class| probability(&row, class));
            let e = 2f64.exp();
            let expected = [1.0 / (2.0 + e), e / (2.0 + e), 1.0 / (2.0 + e)];
            assert!(
                probabilities.iter().zip(expected).all(|(found, p)| (found - p).abs() < 1e-12),
                "{probabilities:?}"
            );
        }
        assert!(probability(&[f32::INFINITY, 0.0], 0).is_nan());
    }
}
