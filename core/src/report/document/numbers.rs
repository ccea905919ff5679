//! Numbers as reports print them.

use crate::metric::Unit;
use crate::report::inference::Interval;
use crate::report::precision::Precision;

/// " (%)" for a metric that is printed in per cent.
pub(in crate::report) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Share => " (%)",
        Unit::Plain => "",
    }
}

/// A p value with four decimals, which distinguish 1/16 from smaller values.
pub(in crate::report) fn p_value(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A share such as 0.05 in per cent, without trailing zeros.
pub(in crate::report) fn per_cent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A difference with its sign; without a sign if all printed digits are 0.
pub(in crate::report) fn signed(value: f64, precision: Precision) -> String {
    let text = precision.print(value);
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if value > 0.0 && !is_zero { format!("+{text}") } else { text }
}

/// An interval such as `[-0.43, +0.09]`.
pub(in crate::report) fn interval(interval: Interval, precision: Precision) -> String {
    format!("[{}, {}]", signed(interval.low, precision), signed(interval.high, precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_printed_without_false_signs_or_digits() {
        let share = Precision::of(Unit::Share, None, &[]);
        assert_eq!([0.0123, -0.0123, 0.00001, -0.00001].map(|d| signed(d, share)), ["+1.23", "-1.23", "0.00", "0.00"]);
        assert_eq!([0.00004, 0.001, 0.0625, 1.0].map(p_value), ["<0.0001", "0.0010", "0.0625", "1.0000"]);
        assert_eq!([0.05, 0.95, 0.999, 0.1].map(per_cent), ["5", "95", "99.9", "10"]);
    }
}
