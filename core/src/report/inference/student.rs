//! Student's t distribution. `statrs` without its standard library computes with `libm`, so p values have the same digits on every
//! system.

use statrs::function::beta::beta_reg;

/// P(|T| ≥ |`t`|) with `df` > 0 degrees of freedom: the regularised incomplete beta function I_x(df/2, 1/2) at x = df/(df + t²)
/// (DLMF 8.17(i)).
pub(super) fn two_sided(t: f64, df: f64) -> f64 {
    let square = t * t;
    if square.is_infinite() {
        return 0.0;
    }
    // For small t, 1 − x computed from x would lose all digits, so it is computed from t.
    let p = if square < df {
        1.0 - beta_reg(0.5, df / 2.0, square / (df + square))
    } else {
        beta_reg(df / 2.0, 0.5, df / (df + square))
    };
    p.clamp(0.0, 1.0)
}

/// The t with P(|T| ≥ t) = `alpha`, 0 < α < 1; `None` if it exceeds 1e150.
pub(super) fn quantile(alpha: f64, df: f64) -> Option<f64> {
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided(high, df) > alpha {
        (low, high) = (high, high * 2.0);
        if high > 1e150 {
            return None;
        }
    }
    // The probability decreases in t, so bisection ends at neighbouring numbers.
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return Some(high);
        }
        if two_sided(middle, df) > alpha { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for t in [1e-9, 0.1, 1.0, 3.0, 40.0, 1e6] {
            let cauchy = 2.0 / std::f64::consts::PI * libm::atan(1.0 / t);
            assert!((two_sided(t, 1.0) / cauchy - 1.0).abs() < 1e-12, "{t}: {} {cauchy}", two_sided(t, 1.0));
            // 1 − t/√(2 + t²), without the cancellation.
            let root = (2.0 + t * t).sqrt();
            let two = 2.0 / (root * (root + t));
            assert!((two_sided(t, 2.0) / two - 1.0).abs() < 1e-12, "{t}: {} {two}", two_sided(t, 2.0));
        }
    }

    #[test]
    fn probabilities_agree_with_scipys() {
        // 2 * scipy.stats.t.sf(t, df)
        for (t, df, p) in EXPECTED {
            assert!((two_sided(t, df) / p - 1.0).abs() < 1e-9, "{t}, {df}: {}", two_sided(t, df));
        }
    }

    const EXPECTED: [(f64, f64, f64); 5] = [
        (2.132, 4.0, 0.09998277273914148),
        (0.3, 3.7, 0.7802674871314622),
        (12.0, 2.15, 0.005231256210530346),
        (25.0, 9.0, 1.2589450378990368e-09),
        (1.96, 5000.0, 0.050051252291819504),
    ];

    #[test]
    fn quantiles_agree_with_printed_tables_and_scipys() {
        for (alpha, df, t) in [
            (0.05, 1.0, 12.706204736),
            (0.05, 4.0, 2.7764451052),
            (0.05, 17.776, 2.1028213104),
            (0.01, 30.0, 2.7499956536),
        ] {
            assert!((quantile(alpha, df).unwrap() - t).abs() < 1e-8, "{alpha}, {df}: {:?}", quantile(alpha, df));
        }
    }

    #[test]
    fn a_quantile_has_the_requested_probability() {
        for df in [0.5, 1.5, 7.84, 1000.0] {
            for alpha in [1e-6, 0.05, 0.9] {
                let t = quantile(alpha, df).unwrap();
                assert!((two_sided(t, df) / alpha - 1.0).abs() < 1e-9, "{alpha}, {df}");
            }
        }
    }

    #[test]
    fn zero_and_very_large_t_have_probabilities_one_and_zero() {
        assert_eq!((two_sided(0.0, 4.0), two_sided(1e200, 4.0)), (1.0, 0.0));
        assert_eq!(quantile(1e-300, 0.1), None, "a heavy tail");
    }
}
