//! Numbers and their ranges.

use super::super::node::{Node, Value};
use super::Fields;
use std::fmt;

/// The range of a number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) above: Option<f64>,
    at_least: Option<f64>,
    below: Option<f64>,
    at_most: Option<f64>,
}

impl Bounds {
    /// Both ends included.
    pub(crate) fn between(low: f64, high: f64) -> Self {
        Bounds { at_least: Some(low), at_most: Some(high), ..Bounds::default() }
    }

    fn hold(&self, value: f64) -> bool {
        self.above.is_none_or(|bound| value > bound)
            && self.at_least.is_none_or(|bound| value >= bound)
            && self.below.is_none_or(|bound| value < bound)
            && self.at_most.is_none_or(|bound| value <= bound)
    }

    /// A share was perhaps written in per cent.
    fn help(&self, value: f64) -> Option<String> {
        let share = self.above.or(self.at_least) == Some(0.0) && self.below.or(self.at_most) == Some(1.0);
        let per_cent = value / 100.0;
        (share && value > 1.0 && self.hold(per_cent)).then(|| format!("a share, not per cent: {value} % is {per_cent}"))
    }

    /// Any number in range.
    fn stand_in(&self) -> f64 {
        let low = self.at_least.or(self.above).unwrap_or(0.0);
        if self.hold(low) { low } else { self.at_most.or(self.below).map_or(low + 1.0, |high| (low + high) / 2.0) }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(low), Some(high)) = (self.at_least, self.at_most) {
            return write!(f, " from {low} to {high}");
        }
        let bounds =
            [("above", self.above), ("of at least", self.at_least), ("below", self.below), ("at most", self.at_most)];
        for (i, (word, bound)) in bounds.iter().filter_map(|(word, bound)| Some((word, (*bound)?))).enumerate() {
            write!(f, "{} {word} {bound}", if i > 0 { " and" } else { "" })?;
        }
        Ok(())
    }
}

/// A number that is being read; see [`Fields::number`].
#[must_use]
#[derive(Debug)]
pub struct Number<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
    pub(crate) range: Bounds,
}

impl Number<'_, '_> {
    /// Refuses `bound` and less.
    pub fn above(mut self, bound: f64) -> Self {
        self.range.above = Some(bound);
        self
    }

    /// Refuses less than `bound`.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.range.at_least = Some(bound);
        self
    }

    /// Refuses `bound` and more.
    pub fn below(mut self, bound: f64) -> Self {
        self.range.below = Some(bound);
        self
    }

    /// Refuses more than `bound`.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.range.at_most = Some(bound);
        self
    }

    /// The number, or `default` where the key is not there.
    pub fn or(self, default: f64) -> f64 {
        match self.fields.ask(self.key, false) {
            Some(node) => number(self.fields, self.key, node, &self.range),
            None => default,
        }
    }

    /// The number.
    pub fn required(self) -> f64 {
        match self.fields.ask(self.key, false) {
            Some(node) => number(self.fields, self.key, node, &self.range),
            None => {
                self.fields.missing(self.key, format!("a number{}", self.range));
                self.range.stand_in()
            }
        }
    }
}

pub(crate) fn number(fields: &mut Fields<'_>, key: &str, node: &Node, range: &Bounds) -> f64 {
    let expected = || format!("a number{range}");
    match node.number() {
        None => {
            let quoted = node.text().filter(|text| text.trim().parse::<f64>().is_ok_and(f64::is_finite));
            fields.unexpected(key, node, &expected(), quoted.map(|text| format!("without quotes: `{}`", text.trim())));
            range.stand_in()
        }
        Some(value) if !value.is_finite() => {
            fields.out_of_range(key, node, &format!("a finite number{range}"), None);
            range.stand_in()
        }
        Some(value) if !range.hold(value) => {
            fields.out_of_range(key, node, &expected(), range.help(value));
            range.stand_in()
        }
        // No two forms of one number: −0 would make a configuration of its own.
        Some(value) => value + 0.0,
    }
}

/// A whole number that is being read; see [`Fields::integer`].
#[must_use]
#[derive(Debug)]
pub struct Integer<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
    pub(crate) least: u64,
    pub(crate) most: u64,
}

impl Integer<'_, '_> {
    /// Refuses less than `least`.
    pub fn at_least(mut self, least: u64) -> Self {
        self.least = least;
        self
    }

    /// Refuses more than `most`.
    pub fn at_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// The number, or `default` where the key is not there.
    pub fn or(self, default: u64) -> u64 {
        match self.fields.ask(self.key, false) {
            Some(node) => integer(self.fields, self.key, node, self.least, self.most),
            None => default,
        }
    }

    /// The number, or nothing where the key is not there or has no value.
    pub fn optional(self) -> Option<u64> {
        let node = self.fields.ask(self.key, false).filter(|node| node.value != Value::Null)?;
        Some(integer(self.fields, self.key, node, self.least, self.most))
    }

    /// The number.
    pub fn required(self) -> u64 {
        match self.fields.ask(self.key, false) {
            Some(node) => integer(self.fields, self.key, node, self.least, self.most),
            None => {
                self.fields.missing(self.key, whole_number(self.least, self.most));
                self.least
            }
        }
    }
}

fn whole_number(least: u64, most: u64) -> String {
    let end = if most < i64::MAX as u64 { format!(" to {most}") } else { String::new() };
    format!("a whole number from {least}{end}")
}

/// A whole number in `least..=most`; `key` is what it is called.
pub(crate) fn integer(fields: &mut Fields<'_>, key: &str, node: &Node, least: u64, most: u64) -> u64 {
    let expected = whole_number(least, most);
    match &node.value {
        Value::Int(value) => match u64::try_from(*value) {
            Ok(value) if (least..=most).contains(&value) => return value,
            _ => fields.out_of_range(key, node, &expected, None),
        },
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            fields.unexpected(key, node, &expected, Some(format!("without a decimal point: `{value:.0}`")));
        }
        Value::Text(text) if text.trim().parse::<i64>().is_ok() => {
            fields.unexpected(key, node, &expected, Some(format!("without quotes: `{}`", text.trim())));
        }
        _ => fields.unexpected(key, node, &expected, None),
    }
    least
}
