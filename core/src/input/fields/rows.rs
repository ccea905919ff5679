//! Lists of lists: transition matrices, and pairs of classes.

use super::super::node::{Node, Value};
use super::Fields;
use super::list::items;
use super::number::{Bounds, integer, number};
use crate::methods::noise::TOLERANCE;

/// More classes than any data set has.
const CLASSES: u64 = 65_536;

/// A row-stochastic matrix that is being read; see [`Fields::stochastic`].
#[must_use]
#[derive(Debug)]
pub struct Stochastic<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
}

impl Stochastic<'_, '_> {
    /// The rows, which are as many as each has shares.
    pub fn required(self) -> Vec<Vec<f64>> {
        const EXPECTED: &str =
            "a list of rows, each a list of shares that sum to 1, such as `[[0.9, 0.1], [0.2, 0.8]]`";
        let Stochastic { fields, key } = self;
        let Some(node) = fields.ask_nested(key, 2) else {
            fields.missing(key, EXPECTED);
            return Vec::new();
        };
        let Some(rows) = items(fields, key, node, EXPECTED) else { return Vec::new() };
        let read = |(i, row): (usize, &std::rc::Rc<Node>)| {
            let before = fields.problems.reports();
            let shares = items(fields, key, row, "a row: a list of shares that sum to 1")?;
            let range = Bounds::between(0.0, 1.0);
            let values: Vec<f64> = shares.iter().map(|share| number(fields, key, share, &range)).collect();
            let sum: f64 = values.iter().sum();
            if fields.problems.reports() != before {
                return None;
            }
            if values.len() != rows.len() {
                let title = format!("`{key}` is not square");
                let label =
                    format!("expected {} shares, as many as there are rows, found {}", rows.len(), values.len());
                fields.problems.report(row.span.clone(), title, label, None);
            } else if (sum - 1.0).abs() > TOLERANCE {
                let title = format!("row {i} of `{key}` does not sum to 1");
                // As many digits as tell what is wrong, and no more.
                let sum = (sum * 1e9).round() / 1e9;
                let label = format!("expected the shares of what class {i} becomes to sum to 1, found {sum}");
                fields.problems.report(row.span.clone(), title, label, None);
            }
            Some(values)
        };
        rows.iter().enumerate().filter_map(read).collect()
    }
}

/// A list of pairs of classes that is being read; see [`Fields::class_map`].
#[must_use]
#[derive(Debug)]
pub struct ClassMap<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
}

impl ClassMap<'_, '_> {
    /// The pairs; nothing where the key is not there or has no value.
    pub fn optional(self) -> Option<Vec<(usize, usize)>> {
        const EXPECTED: &str = "a list of pairs of true and given class, such as `[[9, 1], [2, 0]]`";
        let ClassMap { fields, key } = self;
        let node = fields.ask_nested(key, 2).filter(|node| node.value != Value::Null)?;
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for item in items(fields, key, node, EXPECTED)? {
            let Value::Seq(classes) = &item.value else {
                fields.unexpected(key, item, "a pair of classes, such as `[9, 1]`", None);
                continue;
            };
            let [from, to] = classes.as_slice() else {
                let label = format!("expected a true and a given class, found {} classes", classes.len());
                fields.problems.report(item.span.clone(), format!("no pair in `{key}`"), label, None);
                continue;
            };
            let before = fields.problems.reports();
            let [from, to] = [from, to].map(|class| integer(fields, key, class, 0, CLASSES - 1) as usize);
            let (title, label) = if fields.problems.reports() != before {
                continue;
            } else if from == to {
                (format!("`{key}` leads from a class to itself"), format!("class {from} stays what it is without this"))
            } else if let Some((_, earlier)) = pairs.iter().find(|(earlier, _)| *earlier == from) {
                let label = format!("expected one given class for each true one, and {from} becomes {earlier} already");
                (format!("`{key}` leads from one class to two"), label)
            } else {
                pairs.push((from, to));
                continue;
            };
            let help = (from != to).then(|| "for a class that becomes several, take a `transition-matrix`".to_owned());
            fields.problems.report(item.span.clone(), title, label, help);
        }
        Some(pairs)
    }
}
