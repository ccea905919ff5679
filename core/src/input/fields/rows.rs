//! Lists of lists: transition matrices and pairs of classes.

use super::super::bounds::Bounds;
use super::super::declaration::{Presence, Shape};
use super::super::node::{Node, Value};
use super::list::items;
use super::map::Fields;
use super::number::{integer, number};
use std::rc::Rc;

/// How far the sum of a row of shares may be from 1: 0.333333 counts as a third.
pub(crate) const SHARES_TOLERANCE: f64 = 1e-6;

/// An upper limit on the number of classes of a data set.
const CLASSES: u64 = 65_536;

/// A row-stochastic matrix; see [`Fields::stochastic`].
#[must_use]
#[derive(Debug)]
pub struct StochasticField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
}

/// A list of pairs of classes; see [`Fields::class_map`].
#[must_use]
#[derive(Debug)]
pub struct ClassMapField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
}

impl<'a> Fields<'a> {
    /// A square matrix of shares from 0 to 1; each row sums to 1.
    pub fn stochastic(&mut self, key: &'static str) -> StochasticField<'_, 'a> {
        StochasticField { fields: self, key }
    }

    /// Pairs of a true class and a different given class, counted from 0; no true class occurs twice.
    pub fn class_map(&mut self, key: &'static str) -> ClassMapField<'_, 'a> {
        ClassMapField { fields: self, key }
    }
}

impl StochasticField<'_, '_> {
    /// The rows, `[classes × classes]`.
    pub fn required(self) -> Vec<Vec<f64>> {
        const EXPECTED: &str =
            "a list of rows, each a list of shares that sum to 1, such as `[[0.9, 0.1], [0.2, 0.8]]`";
        let StochasticField { fields, key } = self;
        let Some(node) = fields.declare(key, || (Shape::Stochastic, Presence::Optional)) else {
            fields.missing(key, EXPECTED);
            return Vec::new();
        };
        let Some(rows) = items(fields, key, node, EXPECTED) else { return Vec::new() };
        rows.iter().enumerate().filter_map(|(i, row)| read_row(fields, key, rows.len(), (i, row))).collect()
    }
}

/// The shares of the row `i`; `None` if one of them is invalid.
fn read_row(fields: &mut Fields<'_>, key: &str, rows: usize, (i, row): (usize, &Rc<Node>)) -> Option<Vec<f64>> {
    let before = fields.problems.reports();
    let shares = items(fields, key, row, "a row: a list of shares that sum to 1")?;
    let range = Bounds::between(0.0, 1.0);
    let values: Vec<f64> = shares.iter().map(|share| number(fields, key, share, &range)).collect();
    let sum: f64 = values.iter().sum();
    if fields.problems.reports() != before {
        return None;
    }
    if values.len() != rows {
        let label = format!("expected {rows} shares, one for each row, found {}", values.len());
        fields.problems.report(row.span.clone(), format!("`{key}` is not square"), label, None);
    } else if (sum - 1.0).abs() > SHARES_TOLERANCE {
        let title = format!("row {i} of `{key}` does not sum to 1");
        // Rounded, so that binary fractions do not show.
        let sum = (sum * 1e9).round() / 1e9;
        let label = format!("expected the probabilities of the labels given to class {i} to sum to 1, found {sum}");
        fields.problems.report(row.span.clone(), title, label, None);
    }
    Some(values)
}

impl ClassMapField<'_, '_> {
    /// The pairs (true, given); `None` if the key is absent or has no value.
    pub fn optional(self) -> Option<Vec<(usize, usize)>> {
        const EXPECTED: &str = "a list of pairs of true and given class, such as `[[9, 1], [2, 0]]`";
        let ClassMapField { fields, key } = self;
        let node = fields.declare(key, || (Shape::ClassMap, Presence::Optional));
        let node = node.filter(|node| node.value != Value::Null)?;
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for item in items(fields, key, node, EXPECTED)? {
            let Some([from, to]) = read_pair(fields, key, item) else { continue };
            let (title, label) = if from == to {
                (format!("`{key}` maps a class to itself"), format!("class {from} keeps its label without this pair"))
            } else if let Some((_, earlier)) = pairs.iter().find(|(earlier, _)| *earlier == from) {
                let label =
                    format!("expected one given class per true class; class {from} is already mapped to {earlier}");
                (format!("`{key}` maps a class twice"), label)
            } else {
                pairs.push((from, to));
                continue;
            };
            let help =
                (from != to).then(|| "use a `transition-matrix` for a class with several given labels".to_owned());
            fields.problems.report(item.span.clone(), title, label, help);
        }
        Some(pairs)
    }
}

/// A true and a given class; `None` if `item` is not a pair of classes.
fn read_pair(fields: &mut Fields<'_>, key: &str, item: &Rc<Node>) -> Option<[usize; 2]> {
    let Value::Seq(classes) = &item.value else {
        fields.unexpected(key, item, "a pair of classes, such as `[9, 1]`", None);
        return None;
    };
    let [from, to] = classes.as_slice() else {
        let label = format!("expected a true and a given class, found {} values", classes.len());
        fields.problems.report(item.span.clone(), format!("an item of `{key}` is not a pair"), label, None);
        return None;
    };
    let before = fields.problems.reports();
    let pair = [from, to].map(|class| integer(fields, key, class, 0, CLASSES - 1) as usize);
    (fields.problems.reports() == before).then_some(pair)
}
