//! A list with headers, sections and notes: what reports that are no [table](super::Table) are printed as.

mod latex;
mod markdown;
mod text;

use super::Format;
use super::precision::Precision;
use crate::metric::Unit;
use serde::Serialize;

/// A list that is to be printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// What it is called where it is referred to.
    pub label: String,
    /// What it is.
    pub title: String,
    /// What its numbers are, a sentence a line.
    pub facts: Vec<String>,
    /// The header of every column.
    pub columns: Vec<Column>,
    /// Its rows, under headings.
    pub sections: Vec<Section>,
    /// What its signs mean, and what else is to be said.
    pub notes: Vec<Remark>,
}

/// The header of a column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Whether it holds numbers, which stand at the right.
    pub number: bool,
}

/// Rows that belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub heading: Option<String>,
    /// A text for every column.
    pub rows: Vec<Vec<String>>,
}

/// A line below a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// What it explains; empty where it is about the whole.
    pub sign: String,
    pub meaning: String,
}

impl Column {
    pub fn text(name: impl Into<String>) -> Column {
        Column { name: name.into(), number: false }
    }

    pub fn number(name: impl Into<String>) -> Column {
        Column { name: name.into(), number: true }
    }
}

/// A report as text in the given format, ending in a newline: as the list and the lines that are made of it, or as it is.
pub(super) fn render<R: Serialize>(
    report: &R,
    format: Format,
    listing: impl Fn(&R) -> Listing,
    csv: impl Fn(&R) -> String,
) -> String {
    match format {
        Format::Text => text::render(&listing(report)),
        Format::Markdown => markdown::render(&listing(report)),
        Format::Latex => latex::render(&listing(report)),
        Format::Csv => csv(report),
        Format::Json => serde_json::to_string_pretty(report).expect("a report is plain data") + "\n",
    }
}

/// Remarks that rows refer to by number, each once.
#[derive(Debug, Default)]
pub(super) struct Footnotes(Vec<String>);

impl Footnotes {
    /// The sign of the remark that says `meaning`.
    pub fn sign(&mut self, meaning: String) -> String {
        let known = self.0.iter().position(|earlier| *earlier == meaning);
        let index = known.unwrap_or_else(|| {
            self.0.push(meaning);
            self.0.len() - 1
        });
        format!("[{}]", index + 1)
    }

    pub fn into_remarks(self) -> impl Iterator<Item = Remark> {
        (1..).zip(self.0).map(|(i, meaning)| Remark { sign: format!("[{i}]"), meaning })
    }
}

/// " (%)" where a metric is printed in per cent.
pub(super) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Share => " (%)",
        Unit::Plain => "",
    }
}

/// The remark that `jobs` of a report diverged and count nevertheless, where any did.
pub(super) fn counted(jobs: usize) -> Option<Remark> {
    let what = "and count with the epochs that they had finished before";
    let jobs = match jobs {
        0 => return None,
        1 => "1 job".to_owned(),
        jobs => format!("{jobs} jobs"),
    };
    Some(Remark { sign: String::new(), meaning: format!("{jobs} diverged, {what}") })
}

/// A probability with four decimals, which tell 1/16 from what is below it.
pub(super) fn probability(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A level such as 0.05 in per cent, with the digits that it has.
pub(super) fn per_cent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A difference with its sign.
pub(super) fn signed(value: f64, precision: Precision) -> String {
    let text = precision.print(value);
    let nothing = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if value > 0.0 && !nothing { format!("+{text}") } else { text }
}

/// "[-0.43, +0.09]"
pub(super) fn interval(interval: super::inference::Interval, precision: Precision) -> String {
    format!("[{}, {}]", signed(interval.low, precision), signed(interval.high, precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_made_once_however_often_it_is_referred_to() {
        let mut footnotes = Footnotes::default();
        let signs = ["a", "b", "a"].map(|meaning| footnotes.sign(meaning.to_owned()));
        assert_eq!(signs, ["[1]", "[2]", "[1]"]);
        assert_eq!(footnotes.into_remarks().count(), 2);
    }

    #[test]
    fn small_numbers_are_printed_without_false_signs_or_digits() {
        let share = Precision::of(Unit::Share, &[]);
        assert_eq!([0.0123, -0.0123, 0.00001, -0.00001].map(|d| signed(d, share)), ["+1.23", "-1.23", "0.00", "0.00"]);
        assert_eq!([0.00004, 0.001, 0.0625, 1.0].map(probability), ["<0.0001", "0.0010", "0.0625", "1.0000"]);
        assert_eq!([0.05, 0.95, 0.999, 0.1].map(per_cent), ["5", "95", "99.9", "10"]);
    }
}
