//! Reads a file of published results.
//!
//! The file follows a printed table: `columns` state what the numbers of each column have in common, and each of the `rows` what
//! the numbers of the row have in common, with one value per column.

use super::{Condition, Protocol, Published, PublishedResult, Spread};
use crate::display_text;
use crate::id::SweepName;
use crate::input::Problem;
use crate::input::fields::{Fields, Subject, items};
use crate::input::node::{Node, Value};
use crate::input::problems::Problems;
use crate::input::yaml::{self, Expected};
use crate::sweep_file::path::Path;
use std::rc::Rc;

/// What a file of published results must hold.
const EXPECTED: Expected =
    Expected { value: "a map with `reference`, `columns`, `rows`", begins: "start the file with `reference: NAME`" };

/// Reads a file of published results.
///
/// # Errors
/// All problems of the file, in the order of their places.
pub fn read_published(text: &str) -> Result<Published, Vec<Problem>> {
    let mut problems = Problems::default();
    let published = yaml::parse(text, &EXPECTED, &mut problems).and_then(|root| published(&root, &mut problems));
    match published {
        Some(published) if problems.reports() == 0 => Ok(published),
        _ => Err(problems.into_sorted()),
    }
}

fn published(root: &Node, problems: &mut Problems) -> Option<Published> {
    let Some(entries) = root.entries() else {
        let label = format!("expected {}, found {}", EXPECTED.value, root.described());
        let help = Some(EXPECTED.begins.to_owned());
        let start = root.span.start..root.span.start;
        problems.report(start, "the file holds no published results".to_owned(), label, help);
        return None;
    };
    let start = entries.first().map_or(root.span.clone(), |(key, _)| key.span.clone());
    let mut fields = Fields::new(entries, Subject("a file of published results", None), start, problems);
    let name = fields.text("reference").required("the name that sweep files refer to");
    if let (Some(name), Some(place)) = (name, fields.value_place("reference")) {
        check_name(name, place, fields.problems());
    }
    let title = fields.text("title").required("the title of the table, such as `Zhang & Sabuncu 2018, Table 1`");
    let source = fields.text("source").optional().map(one_line);
    let divisor = fields.choice("unit", &[("percent", 100.0), ("plain", 1.0)]).or(100.0);
    let spreads = [("unsaid", Spread::Unsaid), ("sample", Spread::Sample), ("population", Spread::Population)];
    let spread = fields.choice("std", &spreads).or(Spread::Unsaid);
    let notes = texts(&mut fields, "notes");
    let shared = Shared::read(&mut fields);
    let mut protocol = Vec::new();
    if let Some(node) = fields.node("base") {
        protocol.extend(conditions("base", node, &mut fields).map(|set| Protocol { when: Vec::new(), set }));
    }
    protocol.extend(overrides(&mut fields));
    let columns: Vec<Shared> = maps(&mut fields, "columns", "a list of maps, one per column")
        .iter()
        .map(|node| within(node, "a column", &mut fields, Shared::read))
        .collect();
    let mut results = Vec::new();
    for node in maps(&mut fields, "rows", "a list of `{when: {PATH: VALUE}, values: [VALUE, …]}`") {
        results.extend(within(node, "a row", &mut fields, |row| read_row(row, &shared, &columns)));
    }
    if fields.key_place("rows").is_none() {
        fields.missing("rows", "a list of rows with numbers");
    }
    if fields.key_place("columns").is_none() {
        fields.missing("columns", "a list of maps, one per column");
    }
    fields.finish();
    Some(Published {
        name: name?.to_owned(),
        title: one_line(title?),
        source,
        divisor,
        spread,
        notes,
        protocol,
        results,
    })
}

/// Reports an invalid name of published results.
pub(in crate::sweep_file) fn check_name(name: &str, place: std::ops::Range<usize>, problems: &mut Problems) {
    if let Err(error) = name.parse::<SweepName>() {
        let label = format!("expected {}", error.expected());
        problems.report(place, "invalid name of published results".to_owned(), label, None);
    }
}

/// What the numbers of a file, a column or a row have in common.
#[derive(Clone, Debug, Default)]
struct Shared {
    when: Vec<Condition>,
    metric: Option<String>,
    at: Option<String>,
    /// Absent, or given without a value, or given: a paper may not state it.
    n: Option<Option<u64>>,
    doubt: Option<String>,
}

impl Shared {
    fn read(fields: &mut Fields<'_>) -> Shared {
        // Without a value: the paper does not state it.
        let given = fields.key_place("n").is_some();
        let n = fields.integer("n").at_least(1).optional();
        let when = fields.node("when").and_then(|node| conditions("when", node, fields));
        Shared {
            when: when.unwrap_or_default(),
            metric: fields.text("metric").optional().map(str::to_owned),
            at: fields.text("at").optional().map(str::to_owned),
            n: given.then_some(n),
            doubt: fields.text("doubt").optional().map(one_line),
        }
    }

    /// Extended by `inner`, which takes precedence.
    fn with(&self, inner: &Shared) -> Shared {
        let doubts: Vec<&str> = [&self.doubt, &inner.doubt].into_iter().flatten().map(String::as_str).collect();
        Shared {
            when: self.when.iter().chain(&inner.when).cloned().collect(),
            metric: inner.metric.clone().or_else(|| self.metric.clone()),
            at: inner.at.clone().or_else(|| self.at.clone()),
            n: inner.n.or(self.n),
            doubt: (!doubts.is_empty()).then(|| doubts.join("; ")),
        }
    }
}

fn read_row(fields: &mut Fields<'_>, file: &Shared, columns: &[Shared]) -> Vec<PublishedResult> {
    const EXPECTED: &str = "a list with one value per column";
    let shared = Shared::read(fields);
    let Some(node) = fields.node("values") else {
        fields.missing("values", EXPECTED);
        return Vec::new();
    };
    let Some(values) = items(fields, "values", node, EXPECTED) else { return Vec::new() };
    if values.len() != columns.len() && !columns.is_empty() {
        let label = format!("expected {} values, one per column, found {}", columns.len(), values.len());
        let help = Some("write `~` for a value that was not printed".to_owned());
        fields.problems().report(node.span.clone(), "a row needs one value per column".to_owned(), label, help);
    }
    let mut results = Vec::new();
    for (column, value) in columns.iter().zip(values) {
        let Some(number) = number(value, fields) else { continue };
        let Shared { when, metric, at, n, doubt } = file.with(column).with(&shared).with(&number.shared);
        let (Some(metric), Some(at)) = (metric, at) else {
            let label = "the value, its row, its column and the file lack one of them".to_owned();
            let help =
                Some("add for instance `metric: test_accuracy` and `at: final` at the top of the file".to_owned());
            let title = "a value without `metric` and `at`".to_owned();
            fields.problems().report(value.span.clone(), title, label, help);
            return results;
        };
        let Number { mean, std, printed, .. } = number;
        results.push(PublishedResult { when, metric, at, mean, std, n: n.flatten(), printed, doubt });
    }
    results
}

struct Number {
    mean: f64,
    std: Option<f64>,
    printed: String,
    /// Settings of this value alone.
    shared: Shared,
}

/// A value: `93.24 ± 0.12`, `93.24`, a map with either of them under `value` and further keys, or `~` for none.
fn number(node: &Rc<Node>, fields: &mut Fields<'_>) -> Option<Number> {
    const EXPECTED: &str = "a number, `MEAN ± STD`, a map with such a `value`, or `~`";
    match &node.value {
        Value::Null => None,
        Value::Map(_) => within(node, "a value", fields, |map| {
            let Some(value) = map.node("value") else {
                map.missing("value", EXPECTED);
                return None;
            };
            let shared = Shared::read(map);
            let read = plain(value);
            if read.is_none() {
                map.unexpected("value", value, EXPECTED, None);
            }
            let (mean, std, printed) = read?;
            Some(Number { mean, std, printed, shared })
        }),
        _ => {
            let read = plain(node);
            if read.is_none() {
                fields.unexpected("values", node, EXPECTED, None);
            }
            let (mean, std, printed) = read?;
            Some(Number { mean, std, printed, shared: Shared::default() })
        }
    }
}

/// Mean, deviation, and both exactly as printed.
fn plain(node: &Node) -> Option<(f64, Option<f64>, String)> {
    let finite = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(mean) = node.number().filter(|number| number.is_finite()) {
        return Some((mean, None, node.to_string()));
    }
    let (mean, std) = node.text()?.split_once('±')?;
    let deviation = finite(std).filter(|std| *std >= 0.0)?;
    Some((finite(mean)?, Some(deviation), format!("{} ± {}", mean.trim(), std.trim())))
}

/// Reads `overrides`: settings of some results.
fn overrides(fields: &mut Fields<'_>) -> Vec<Protocol> {
    let nodes = maps(fields, "overrides", "a list of `{when: {PATH: VALUE}, set: {PATH: VALUE}}`");
    let read = |rule: &mut Fields<'_>| {
        let part = |key: &'static str, expected: &str, rule: &mut Fields<'_>| match rule.node(key) {
            Some(node) => conditions(key, node, rule),
            None => {
                rule.missing(key, expected);
                None
            }
        };
        let when = part("when", "paths and values that a result must have", rule);
        let set = part("set", "paths and their values", rule);
        Some(Protocol { when: when?, set: set? })
    };
    nodes.into_iter().filter_map(|node| within(node, "an override", fields, read)).collect()
}

/// The paths and values in a map.
fn conditions(key: &str, node: &Rc<Node>, fields: &mut Fields<'_>) -> Option<Vec<Condition>> {
    let Some(entries) = node.entries() else {
        fields.unexpected(key, node, "a map of paths and values", None);
        return None;
    };
    let condition = |(key, node): &(crate::input::node::Key, Rc<Node>)| {
        let path = Path::dotted(&key.name);
        Condition { path, value: json(node) }
    };
    Some(entries.iter().map(condition).collect())
}

/// The value as JSON. NaN and infinities become `null`: no configuration has them.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null | Value::Invalid => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => (&**text).into(),
        Value::Seq(items) => items.iter().map(|item| json(item)).collect(),
        Value::Map(entries) => entries.iter().map(|(key, node)| (key.name.to_string(), json(node))).collect(),
    }
}

/// The maps in the list under `key`; none if it is absent.
fn maps<'n>(fields: &mut Fields<'n>, key: &'static str, expected: &str) -> Vec<&'n Rc<Node>> {
    let Some(node) = fields.node(key) else { return Vec::new() };
    let mut maps = Vec::new();
    for item in items(fields, key, node, expected).unwrap_or_default() {
        match &item.value {
            Value::Map(_) => maps.push(item),
            _ => fields.unexpected(key, item, expected, None),
        }
    }
    maps
}

/// Runs `read` on the map `node` and reports its unknown keys.
fn within<T>(
    node: &Rc<Node>,
    what: &'static str,
    fields: &mut Fields<'_>,
    read: impl FnOnce(&mut Fields<'_>) -> T,
) -> T {
    let entries = node.entries().unwrap_or_default();
    let mut inner = Fields::new(entries, Subject(what, None), node.span.clone(), fields.problems());
    let value = read(&mut inner);
    inner.finish();
    value
}

fn texts(fields: &mut Fields<'_>, key: &'static str) -> Vec<String> {
    let Some(node) = fields.node(key) else { return Vec::new() };
    let mut texts = Vec::new();
    for item in items(fields, key, node, "a list of texts").unwrap_or_default() {
        match item.text() {
            Some(text) => texts.push(one_line(text)),
            None => fields.unexpected(key, item, "a text", Some("put it in quotes".to_owned())),
        }
    }
    texts
}

/// `text` with line breaks replaced by spaces.
fn one_line(text: &str) -> String {
    display_text::line(&text.split_whitespace().collect::<Vec<_>>().join(" ")).to_string()
}
