//! Lists.

use super::super::node::{Node, Value};
use super::Fields;
use super::number::{Bounds, integer, number};
use std::rc::Rc;

/// An increasing list that is being read; see [`Fields::increasing`].
#[must_use]
#[derive(Debug)]
pub struct Increasing<'f, 'a> {
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) key: &'static str,
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
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) key: &'static str,
    pub(super) range: Bounds,
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

/// The items of a list that is not empty.
pub(in crate::spec) fn items<'n>(
    fields: &mut Fields<'_>,
    key: &str,
    node: &'n Node,
    expected: &str,
) -> Option<&'n [Rc<Node>]> {
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
