//! Lists of numbers and of names.

use super::super::bounds::Bounds;
use super::super::declaration::{Presence, Shape};
use super::super::node::{Node, Value, shortened};
use super::super::problems::{did_you_mean, expected_one_of};
use super::map::Fields;
use super::number::{integer, number};
use std::rc::Rc;

/// A list of increasing whole numbers; see [`Fields::increasing`].
#[must_use]
#[derive(Debug)]
pub struct IncreasingField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
}

/// A list of numbers; see [`Fields::numbers`].
#[must_use]
#[derive(Debug)]
pub struct NumbersField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    range: Bounds,
}

impl<'a> Fields<'a> {
    /// A list of whole numbers from 1, each above the one before.
    pub fn increasing(&mut self, key: &'static str) -> IncreasingField<'_, 'a> {
        IncreasingField { fields: self, key }
    }

    /// A list of numbers.
    pub fn numbers(&mut self, key: &'static str) -> NumbersField<'_, 'a> {
        NumbersField { fields: self, key, range: Bounds::default() }
    }

    /// A list of names out of `choices`, each at most once and in any order, or `all`. Returns the choices in the order of
    /// `choices`; none if the key is absent.
    pub fn set_of<T: Copy + PartialEq>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Vec<T> {
        let names = choices.iter().map(|(name, _)| *name);
        let empty = || Presence::Default(serde_json::Value::Array(Vec::new()));
        let Some(node) = self.declare(key, || (Shape::Names(names.clone().collect()), empty())) else {
            return Vec::new();
        };
        if node.text() == Some("all") {
            return choices.iter().map(|(_, choice)| *choice).collect();
        }
        let Value::Seq(items) = &node.value else {
            let known = node.text().is_some_and(|text| names.clone().any(|name| name == text));
            let help = known.then(|| one_item_list(node));
            self.unexpected(key, node, "a list of names, or `all`", help);
            return Vec::new();
        };
        let mut chosen: Vec<&str> = Vec::new();
        for item in items {
            let Some(text) = item.text() else {
                let expected = expected_one_of(names.clone());
                self.unexpected(key, item, expected.trim_start_matches("expected "), None);
                continue;
            };
            if chosen.contains(&text) {
                let title = format!("`{}` is given twice", shortened(text));
                let label = format!("`{key}` already lists it");
                self.problems.report(item.span.clone(), title, label, Some("remove it here".to_owned()));
            } else if names.clone().any(|name| name == text) {
                chosen.push(text);
            } else {
                let help = match text {
                    "all" => Some(format!("write `{key}: all` to select every name")),
                    _ => did_you_mean(text, names.clone()),
                };
                let title = format!("unknown name `{}` in `{key}`", shortened(text));
                self.problems.report(item.span.clone(), title, expected_one_of(names.clone()), help);
            }
        }
        choices.iter().filter(|(name, _)| chosen.contains(name)).map(|(_, choice)| *choice).collect()
    }
}

impl IncreasingField<'_, '_> {
    /// The list, which has at least one item.
    pub fn required(self) -> Vec<u32> {
        const EXPECTED: &str = "a list of whole numbers from 1, each above the one before";
        let IncreasingField { fields, key } = self;
        let Some(node) = fields.declare(key, || (Shape::Increasing, Presence::Optional)) else {
            fields.missing(key, EXPECTED);
            return Vec::new();
        };
        let Some(items) = items(fields, key, node, EXPECTED) else { return Vec::new() };
        let mut values: Vec<u32> = Vec::with_capacity(items.len());
        for item in items {
            let before = fields.problems.reports();
            let value = integer(fields, key, item, 1, u64::from(u32::MAX)) as u32;
            match values.last() {
                _ if fields.problems.reports() != before => {}
                Some(last) if value <= *last => {
                    let label = format!("expected a number above {last}, found {item}");
                    fields.problems.report(item.span.clone(), format!("`{key}` does not increase"), label, None);
                }
                _ => values.push(value),
            }
        }
        values
    }
}

impl NumbersField<'_, '_> {
    /// Rejects items of `bound` and less.
    pub fn above(mut self, bound: f64) -> Self {
        self.range.above = Some(bound);
        self
    }

    /// The list, which has at least one item.
    pub fn required(self) -> Vec<f64> {
        let NumbersField { fields, key, range } = self;
        let expected = format!("a list of numbers{range}");
        let Some(node) = fields.declare(key, || (Shape::Numbers(range), Presence::Optional)) else {
            fields.missing(key, expected);
            return Vec::new();
        };
        let items = items(fields, key, node, &expected).unwrap_or_default();
        items.iter().map(|item| number(fields, key, item, &range)).collect()
    }
}

/// The items of a list; reports anything else and the empty list.
pub(crate) fn items<'n>(fields: &mut Fields<'_>, key: &str, node: &'n Node, expected: &str) -> Option<&'n [Rc<Node>]> {
    match &node.value {
        Value::Seq(items) if items.is_empty() => {
            let label = format!("expected {expected}");
            fields.problems.report(node.span.clone(), format!("`{key}` is an empty list"), label, None);
            None
        }
        Value::Seq(items) => Some(items),
        Value::Map(_) | Value::Null => {
            fields.unexpected(key, node, expected, None);
            None
        }
        _ => {
            fields.unexpected(key, node, expected, Some(one_item_list(node)));
            None
        }
    }
}

/// The remedy for a value in place of a list.
pub(super) fn one_item_list(node: &Node) -> String {
    format!("write a list of one item: `[{}]`", node.brief())
}
