//! Holm's correction for multiple tests.

/// Adjusts the p values of a family of m tests so that comparing each with α keeps the family-wise error rate at most α (Holm 1979, "A
/// simple sequentially rejective multiple test procedure"): with p₍₁₎ ≤ … ≤ p₍ₘ₎, the adjusted value of p₍ᵢ₎ is
/// max over j ≤ i of min(1, (m − j + 1) · p₍ⱼ₎). Holds for any dependence between the tests.
///
/// Entries without a p value are not counted in m and stay `None`.
pub(in crate::report) fn holm(ps: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = ps.iter().enumerate().filter_map(|(i, p)| p.map(|p| (i, p))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![None; ps.len()];
    let mut largest = 0.0f64;
    for (rank, (i, p)) in order.iter().enumerate() {
        largest = largest.max((p * (order.len() - rank) as f64).min(1.0));
        adjusted[*i] = Some(largest);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn adjusted_values_agree_with_r_and_keep_the_order() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives 0.03 0.06 0.06 0.02.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005].map(Some));
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found.unwrap() - expected).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn tests_without_a_p_value_are_not_counted() {
        assert_eq!(holm(&[None, Some(0.02), None, Some(0.5)]), [None, Some(0.04), None, Some(0.5)]);
        assert_eq!(holm(&[]), []);
    }

    #[test]
    fn no_adjusted_p_exceeds_one() {
        assert_eq!(holm(&[Some(0.9), Some(0.8)]), [Some(1.0), Some(1.0)]);
    }

    proptest! {
        #[test]
        fn an_adjusted_p_lies_between_the_original_and_bonferronis(ps in prop::collection::vec(0.0..=1.0f64, 1..20)) {
            let given: Vec<_> = ps.iter().copied().map(Some).collect();
            for (p, adjusted) in ps.iter().zip(holm(&given)) {
                let adjusted = adjusted.unwrap();
                prop_assert!(*p <= adjusted && adjusted <= (p * ps.len() as f64).min(1.0) + 1e-15);
            }
        }
    }
}
