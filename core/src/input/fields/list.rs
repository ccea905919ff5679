//! Lists.

use super::super::node::{Node, Value, shortened};
use super::super::problems::{did_you_mean, expected_one_of};
use super::Fields;
use super::number::{Bounds, integer, number};
use std::rc::Rc;

/// An increasing list that is being read; see [`Fields::increasing`].
#[must_use]
#[derive(Debug)]
pub struct Increasing<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
}

impl Increasing<'_, '_> {
    /// The list, which is not empty.
    pub fn required(self) -> Vec<u32> {
        const EXPECTED: &str = "a list of whole numbers from 1, each above the one before";
        let Increasing { fields, key } = self;
        let Some(node) = fields.ask(key, true) else {
            fields.missing(key, EXPECTED);
            return Vec::new();
        };
        let Some(items) = items(fields, key, node, EXPECTED) else { return Vec::new() };
        let mut values: Vec<u32> = Vec::with_capacity(items.len());
        for item in items {
            let value = integer(fields, key, item, 1, u64::from(u32::MAX)) as u32;
            match values.last() {
                Some(last) if value <= *last && matches!(item.value, Value::Int(_)) => {
                    let label = format!("expected more than {last}, found {item}");
                    fields.problems.report(item.span.clone(), format!("`{key}` does not increase"), label, None);
                }
                _ => values.push(value),
            }
        }
        values
    }
}

/// A list of numbers that is being read; see [`Fields::numbers`].
#[must_use]
#[derive(Debug)]
pub struct Numbers<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
    pub(crate) range: Bounds,
}

impl Numbers<'_, '_> {
    /// Refuses items of `bound` and less.
    pub fn above(mut self, bound: f64) -> Self {
        self.range.above = Some(bound);
        self
    }

    /// The list, which is not empty.
    pub fn required(self) -> Vec<f64> {
        let expected = format!("a list of numbers{}", self.range);
        let Numbers { fields, key, range } = self;
        let Some(node) = fields.ask(key, true) else {
            fields.missing(key, expected);
            return Vec::new();
        };
        let items = items(fields, key, node, &expected).unwrap_or_default();
        items.iter().map(|item| number(fields, key, item, &range)).collect()
    }
}

impl Fields<'_> {
    /// A list of names out of `choices`, each once and in any order, or `all`; given back in the order of `choices`, and empty where
    /// the key is not there.
    pub fn set_of<T: Copy + PartialEq>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Vec<T> {
        let Some(node) = self.ask(key, true) else { return Vec::new() };
        let names = choices.iter().map(|(name, _)| *name);
        if node.text() == Some("all") {
            return choices.iter().map(|(_, choice)| *choice).collect();
        }
        let Value::Seq(items) = &node.value else {
            let known = node.text().is_some_and(|text| names.clone().any(|name| name == text));
            let help = known.then(|| format!("a list of one is `[{}]`", node.brief()));
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
                let label = format!("`{key}` has it already");
                self.problems.report(item.span.clone(), title, label, Some("remove it here".to_owned()));
            } else if names.clone().any(|name| name == text) {
                chosen.push(text);
            } else {
                let help = match text {
                    "all" => Some(format!("everything is `{key}: all`")),
                    _ => did_you_mean(text, names.clone()),
                };
                let title = format!("unknown name `{}` in `{key}`", shortened(text));
                self.problems.report(item.span.clone(), title, expected_one_of(names.clone()), help);
            }
        }
        choices.iter().filter(|(name, _)| chosen.contains(name)).map(|(_, choice)| *choice).collect()
    }
}

/// The items of a list that is not empty.
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
            fields.unexpected(key, node, expected, Some(format!("a list of one is `[{}]`", node.brief())));
            None
        }
    }
}
