//! The number of decimals that a table prints.

use crate::metric::Unit;
use crate::sweep_file::TableSpec;

/// The unit and the decimals of one column.
///
/// The sweep file or the user may set the decimals. Otherwise shares are printed in per cent with two decimals, as in papers. Plain numbers have as many decimals as the column's smallest deviation
/// needs for two significant digits or, without any deviation, as the smallest mean needs for four; at most eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Precision {
    unit: Unit,
    decimals: usize,
}

impl Precision {
    /// For a column of `numbers`, means with their deviations; `wanted` decimals, if they are set.
    pub(super) fn of(unit: Unit, wanted: Option<u8>, numbers: &[(f64, Option<f64>)]) -> Precision {
        if let Some(decimals) = wanted {
            return Precision { unit, decimals: usize::from(decimals.min(TableSpec::MOST_DECIMALS)) };
        }
        let smallest = |values: &mut dyn Iterator<Item = f64>| {
            values.map(f64::abs).filter(|value| *value > 0.0 && value.is_finite()).min_by(f64::total_cmp)
        };
        let deviation = smallest(&mut numbers.iter().filter_map(|(_, std)| *std));
        let mean = smallest(&mut numbers.iter().map(|(mean, _)| *mean));
        let decimals = match (unit, deviation, mean) {
            (Unit::Share, ..) => 2,
            (Unit::Plain, Some(std), _) => decimals(std, 2).min(8),
            (Unit::Plain, None, Some(mean)) => decimals(mean, 4).min(8),
            (Unit::Plain, None, None) => 0,
        };
        Precision { unit, decimals }
    }

    /// Prints a mean or a deviation.
    pub(super) fn print(self, value: f64) -> String {
        let scale = match self.unit {
            Unit::Share => 100.0,
            Unit::Plain => 1.0,
        };
        let text = format!("{:.*}", self.decimals, value * scale);
        // −0.00 comes from rounding.
        match text.strip_prefix('-') {
            Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => digits.to_owned(),
            _ => text,
        }
    }
}

/// The number of decimals that show a positive value with `digits` significant digits, after rounding to them.
fn decimals(value: f64, digits: i32) -> usize {
    let rounded = format!("{value:.*e}", digits as usize - 1);
    let exponent: i32 = rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or_default();
    (digits - 1 - exponent).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(mean: f64, std: Option<f64>) -> (String, Option<String>) {
        let precision = Precision::of(Unit::Plain, None, &[(mean, std)]);
        (precision.print(mean), std.map(|std| precision.print(std)))
    }

    #[test]
    fn shares_are_printed_in_per_cent_with_two_decimals() {
        let precision = Precision::of(Unit::Share, None, &[(0.892_67, Some(0.003_1))]);
        assert_eq!((precision.print(0.892_67), precision.print(0.003_1)), ("89.27".to_owned(), "0.31".to_owned()));
        assert_eq!(precision.print(1.0), "100.00");
    }

    #[test]
    fn a_plain_number_shows_two_digits_of_its_deviation() {
        assert_eq!(plain(0.456_78, Some(0.012_3)), ("0.457".to_owned(), Some("0.012".to_owned())));
        assert_eq!(plain(12_345.6, Some(234.5)), ("12346".to_owned(), Some("234".to_owned())));
        assert_eq!(plain(0.4, Some(0.009_99)), ("0.400".to_owned(), Some("0.010".to_owned())), "not 0.0100");
        assert_eq!(
            plain(0.5, Some(1e-9)),
            ("0.50000000".to_owned(), Some("0.00000000".to_owned())),
            "at most eight decimals"
        );
    }

    #[test]
    fn a_plain_number_without_deviation_shows_four_digits_of_itself() {
        assert_eq!(plain(2.345_678, None).0, "2.346");
        assert_eq!(plain(1e-5, Some(0.0)).0, "0.00001000");
        assert_eq!(plain(0.0, None).0, "0");
    }

    #[test]
    fn a_column_prints_as_many_decimals_as_its_smallest_deviation_needs() {
        let precision = Precision::of(Unit::Plain, None, &[(2.0, Some(0.5)), (1.0, Some(0.02))]);
        assert_eq!(precision.print(2.0), "2.000");
    }

    #[test]
    fn decimals_that_are_set_replace_those_of_the_unit() {
        let print = |unit, decimals| Precision::of(unit, Some(decimals), &[(0.5, Some(0.1))]).print(0.031_25);
        assert_eq!([0, 1, 4].map(|decimals| print(Unit::Share, decimals)), ["3", "3.1", "3.1250"]);
        assert_eq!([0, 2, 10].map(|decimals| print(Unit::Plain, decimals)), ["0", "0.03", "0.0312500000"]);
        assert_eq!(print(Unit::Plain, 255), print(Unit::Plain, TableSpec::MOST_DECIMALS));
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(Precision { unit: Unit::Plain, decimals: 2 }.print(-0.001), "0.00");
        assert_eq!(Precision { unit: Unit::Plain, decimals: 2 }.print(-0.01), "-0.01");
    }
}
