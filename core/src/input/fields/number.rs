//! Numbers and whole numbers.

use super::super::bounds::Bounds;
use super::super::declaration::{Presence, Shape};
use super::super::node::{Node, Value};
use super::map::Fields;

/// A number; see [`Fields::number`].
#[must_use]
#[derive(Debug)]
pub struct NumberField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    range: Bounds,
}

/// A whole number; see [`Fields::integer`].
#[must_use]
#[derive(Debug)]
pub struct IntegerField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    least: u64,
    most: u64,
}

impl<'a> Fields<'a> {
    /// A finite number.
    pub fn number(&mut self, key: &'static str) -> NumberField<'_, 'a> {
        NumberField { fields: self, key, range: Bounds::default() }
    }

    /// A whole number of at least 0.
    pub fn integer(&mut self, key: &'static str) -> IntegerField<'_, 'a> {
        IntegerField { fields: self, key, least: 0, most: i64::MAX as u64 }
    }
}

impl NumberField<'_, '_> {
    /// Rejects `bound` and less.
    pub fn above(mut self, bound: f64) -> Self {
        self.range.above = Some(bound);
        self
    }

    /// Rejects less than `bound`.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.range.at_least = Some(bound);
        self
    }

    /// Rejects `bound` and more.
    pub fn below(mut self, bound: f64) -> Self {
        self.range.below = Some(bound);
        self
    }

    /// Rejects more than `bound`.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.range.at_most = Some(bound);
        self
    }

    /// The number, or `default` if the key is absent.
    pub fn or(self, default: f64) -> f64 {
        let NumberField { fields, key, range } = self;
        match fields.declare(key, || (Shape::Number(range), Presence::Default(default.into()))) {
            Some(node) => number(fields, key, node, &range),
            None => default,
        }
    }

    /// The number; a placeholder, and a problem, if the key is absent.
    pub fn required(self) -> f64 {
        let NumberField { fields, key, range } = self;
        match fields.declare(key, || (Shape::Number(range), Presence::Optional)) {
            Some(node) => number(fields, key, node, &range),
            None => {
                fields.missing(key, format!("a number{range}"));
                range.placeholder()
            }
        }
    }
}

impl IntegerField<'_, '_> {
    /// Rejects less than `least`.
    pub fn at_least(mut self, least: u64) -> Self {
        self.least = least;
        self
    }

    /// Rejects more than `most`.
    pub fn at_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// The number, or `default` if the key is absent.
    pub fn or(self, default: u64) -> u64 {
        let IntegerField { fields, key, least, most } = self;
        let shape = || Shape::Integer { least, most, nullable: false };
        match fields.declare(key, || (shape(), Presence::Default(default.into()))) {
            Some(node) => integer(fields, key, node, least, most),
            None => default,
        }
    }

    /// The number, or `None` if the key is absent or has no value.
    pub fn optional(self) -> Option<u64> {
        let IntegerField { fields, key, least, most } = self;
        let node = fields.declare(key, || (Shape::Integer { least, most, nullable: true }, Presence::Optional));
        let node = node.filter(|node| node.value != Value::Null)?;
        Some(integer(fields, key, node, least, most))
    }

    /// The number; the smallest one, and a problem, if the key is absent.
    pub fn required(self) -> u64 {
        let IntegerField { fields, key, least, most } = self;
        match fields.declare(key, || (Shape::Integer { least, most, nullable: false }, Presence::Optional)) {
            Some(node) => integer(fields, key, node, least, most),
            None => {
                fields.missing(key, whole_number(least, most));
                least
            }
        }
    }
}

/// Reads a number in `range`; reports anything else and returns a placeholder.
pub(super) fn number(fields: &mut Fields<'_>, key: &str, node: &Node, range: &Bounds) -> f64 {
    let expected = || format!("a number{range}");
    match node.number() {
        None => {
            fields.unexpected(key, node, &expected(), number_in_text(node));
            range.placeholder()
        }
        Some(value) if !value.is_finite() => {
            fields.out_of_range(key, node, &format!("a finite number{range}"), None);
            range.placeholder()
        }
        Some(value) if !range.contain(value) => {
            fields.out_of_range(key, node, &expected(), range.remedy(value));
            range.placeholder()
        }
        // −0 becomes 0: two spellings of one number must not make two configurations.
        Some(value) => value + 0.0,
    }
}

/// The remedy for a text that is a number but for its quotes, leading zeros or underscores.
fn number_in_text(node: &Node) -> Option<String> {
    let text = node.text()?.trim();
    let (sign, digits) = text.split_at(usize::from(text.starts_with('-')));
    let mut digits = digits.replace('_', "");
    while digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        digits.remove(0);
    }
    let number = format!("{sign}{digits}");
    // Rust also reads words such as `inf` as numbers.
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && number.parse().is_ok_and(f64::is_finite);
    is_number.then(|| match node.plain {
        Some(_) => format!("write `{number}`"),
        None => format!("remove the quotes: `{number}`"),
    })
}

/// "a whole number from 1 to 100000".
fn whole_number(least: u64, most: u64) -> String {
    let end = if most < i64::MAX as u64 { format!(" to {most}") } else { String::new() };
    format!("a whole number from {least}{end}")
}

/// Reads a whole number from `least` to `most`; reports anything else and returns `least`.
pub(crate) fn integer(fields: &mut Fields<'_>, key: &str, node: &Node, least: u64, most: u64) -> u64 {
    let expected = whole_number(least, most);
    match &node.value {
        Value::Int(value) => match u64::try_from(*value) {
            Ok(value) if (least..=most).contains(&value) => return value,
            _ => fields.out_of_range(key, node, &expected, None),
        },
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            let point = node.plain.as_ref().is_none_or(|written| written.contains('.'));
            let remedy = if point { "remove the decimal point" } else { "write the number out" };
            fields.unexpected(key, node, &expected, Some(format!("{remedy}: `{:.0}`", value + 0.0)));
        }
        _ => fields.unexpected(key, node, &expected, number_in_text(node)),
    }
    least
}
