//! `overrides` and `exclude`: rules that change combinations or leave them out.
//!
//! Conditions see a combination as written, with earlier overrides applied. A rule or a value that matches no combination
//! is a problem: a typo would otherwise pass unnoticed.

use super::combination::Combination;
use super::paths::{Change, Paths, WrittenPath};
use crate::input::fields::{Fields, Subject, items};
use crate::input::node::{Node, Value};
use crate::input::problems::{Problems, did_you_mean};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// Conditions that must all hold, and the changes to apply then; an exclusion has no changes.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    span: Range<usize>,
    conditions: Vec<Condition>,
    set: Vec<Change>,
    /// Whether a combination has met all conditions.
    met: bool,
    /// Whether the rule may match no combination.
    may_be_unmet: bool,
}

/// A path that must have one of several values.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    path: WrittenPath,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug)]
struct Alternative {
    node: Rc<Node>,
    met: bool,
}

/// Reads `overrides`.
pub(super) fn overrides(fields: &mut Fields<'_>, paths: &Paths) -> Vec<Rule> {
    const EXPECTED: &str = "a list of `{when: {PATH: VALUE}, set: {PATH: VALUE}}`";
    let mut rules = Vec::new();
    for node in maps(fields, "overrides", EXPECTED) {
        let entries = node.entries().unwrap_or_default();
        let mut rule = Fields::new(entries, Subject("an override", None), node.span.clone(), fields.problems());
        let (conditions, set) = read_override(&mut rule, paths);
        rule.finish();
        if let (Some(conditions), Some(set)) = (conditions, set) {
            rules.push(Rule { span: node.span.clone(), conditions, set, met: false, may_be_unmet: false });
        }
    }
    rules
}

/// Reads the keys of one override.
pub(super) fn read_override(rule: &mut Fields<'_>, paths: &Paths) -> (Option<Vec<Condition>>, Option<Vec<Change>>) {
    rule.about("paths and values that a combination must have");
    let conditions = non_empty_map(rule, "when", "paths and values that a combination must have");
    let conditions = conditions.and_then(|node| self::conditions(node, paths, rule.problems()));
    rule.about("paths and their new values");
    let set = non_empty_map(rule, "set", "paths and their new values");
    (conditions, set.map(|node| paths.changes(node, rule.problems())))
}

/// Reads `exclude`.
pub(super) fn exclude(fields: &mut Fields<'_>, paths: &Paths) -> Vec<Rule> {
    const EXPECTED: &str = "a list of `{PATH: VALUE}`";
    let mut rules = Vec::new();
    for node in maps(fields, "exclude", EXPECTED) {
        if let Some(conditions) = conditions(node, paths, fields.problems()) {
            rules.push(Rule { span: node.span.clone(), conditions, set: Vec::new(), met: false, may_be_unmet: false });
        }
    }
    rules
}

/// The maps in the list under `key`; other items are reported.
fn maps<'n>(fields: &mut Fields<'n>, key: &'static str, expected: &str) -> Vec<&'n Rc<Node>> {
    let Some(node) = fields.node(key) else { return Vec::new() };
    // A list without rules is valid.
    if matches!(&node.value, Value::Seq(items) if items.is_empty()) {
        return Vec::new();
    }
    let Some(items) = items(fields, key, node, expected) else { return Vec::new() };
    let mut maps = Vec::new();
    for item in items {
        match &item.value {
            Value::Map(entries) if entries.is_empty() => {
                let label = "this would match every job".to_owned();
                fields.problems().report(item.span.clone(), format!("an empty map in `{key}`"), label, None);
            }
            Value::Map(_) => maps.push(item),
            _ => fields.unexpected(key, item, expected, None),
        }
    }
    maps
}

/// The map under `key`; an empty map is reported.
fn non_empty_map<'n>(fields: &mut Fields<'n>, key: &'static str, expected: &str) -> Option<&'n Rc<Node>> {
    let Some(node) = fields.node(key) else {
        fields.missing(key, expected);
        return None;
    };
    match &node.value {
        Value::Map(entries) if entries.is_empty() => {
            let label = format!("expected {expected}");
            fields.problems().report(node.span.clone(), format!("`{key}` is empty"), label, None);
            None
        }
        Value::Map(_) => Some(node),
        _ => {
            fields.unexpected(key, node, expected, None);
            None
        }
    }
}

/// The conditions in the map `node`; `None` if one of them is invalid.
fn conditions(node: &Node, paths: &Paths, problems: &mut Problems) -> Option<Vec<Condition>> {
    let entries = node.entries().unwrap_or_default();
    let before = problems.reports();
    let mut conditions = Vec::new();
    for (key, value) in entries {
        let Some(path) = paths.check(&key.name, &key.span, problems) else { continue };
        let alternatives = paths.alternatives(&path.name, value);
        if alternatives.is_empty() {
            let label = "expected at least one value".to_owned();
            problems.report(value.span.clone(), format!("`{}` is an empty list", path.name), label, None);
        }
        // What a reported value would match is unknown.
        if alternatives.iter().any(|node| node.holds_invalid()) {
            problems.note_derived();
        }
        let alternatives = alternatives.iter().map(|node| Alternative { node: Rc::clone(node), met: false }).collect();
        conditions.push(Condition { path, alternatives });
    }
    (problems.reports() == before).then_some(conditions)
}

impl Rule {
    /// Whether `combination` meets all conditions; notes which values have matched.
    pub(super) fn holds(&mut self, combination: &Combination) -> bool {
        let mut all = true;
        for condition in &mut self.conditions {
            // Every condition is evaluated: a value that no job has differs from values that never occur together.
            let value = combination.find(&condition.path);
            let mut any = false;
            for alternative in &mut condition.alternatives {
                let holds = value.is_some_and(|value| alternative.node.matches(value));
                alternative.met |= holds;
                any |= holds;
            }
            all &= any;
        }
        self.met |= all;
        all
    }

    /// Applies the changes of the rule.
    pub(super) fn apply(&self, combination: &mut Combination) {
        self.set.iter().for_each(|(path, value)| combination.set(path, value));
    }

    /// The paths that the rule sets.
    pub(super) fn changed(&self) -> impl Iterator<Item = &WrittenPath> {
        self.set.iter().map(|(path, _)| path)
    }

    /// Whether the rule and each of its values have matched a combination, or need not.
    pub(super) fn is_met(&self) -> bool {
        self.may_be_unmet || self.met && self.unmet().next().is_none()
    }

    /// Accepts that the rule matches no combination.
    pub(super) fn allow_unmet(&mut self) {
        self.may_be_unmet = true;
    }

    /// The values that no combination has.
    fn unmet<'r>(&'r self) -> impl Iterator<Item = (&'r WrittenPath, &'r Alternative)> {
        let of = |condition: &'r Condition| {
            let Condition { path, alternatives } = condition;
            alternatives
                .iter()
                .filter(|alternative| !alternative.met && !self.may_be_unmet)
                .map(move |alternative| (path, alternative))
        };
        self.conditions.iter().flat_map(of)
    }

    /// The paths of values that no combination has.
    pub(super) fn unmet_paths(&self) -> impl Iterator<Item = &WrittenPath> {
        self.unmet().map(|(path, _)| path)
    }

    /// Reports the parts of the rule that match no combination; `values` returns the values that occur at a path.
    pub(super) fn report_unmet<'v>(
        &self,
        values: &dyn Fn(&WrittenPath) -> &'v OccurringValues,
        problems: &mut Problems,
    ) {
        for (path, alternative) in self.unmet() {
            // A value that was reported may be meant to be this one.
            if values(path).any_reported {
                continue;
            }
            let title = format!("no job has `{}: {}`", path.name, alternative.node.brief());
            // For a name list names, for a map list maps.
            let values = values(path);
            let values = if alternative.node.text().is_some() { &values.names } else { &values.whole };
            let label = match values.len() {
                0 => format!("no job sets `{}`; rules do not match default values", path.name),
                _ => format!("the jobs have {}", listed(values)),
            };
            let help = alternative.node.text().and_then(|wrong| did_you_mean(wrong, values.iter().map(String::as_str)));
            problems.report(alternative.node.span.clone(), title, label, help);
        }
        if !self.may_be_unmet && !self.met && self.unmet().next().is_none() {
            let label = "each condition matches some jobs, but no job meets all of them".to_owned();
            problems.report(self.span.clone(), "the rule matches no job".to_owned(), label, None);
        }
    }
}

/// The values that occur at a path in some combination.
#[derive(Debug, Default)]
pub(super) struct OccurringValues {
    whole: BTreeSet<String>,
    /// The same, with methods reduced to their names.
    names: BTreeSet<String>,
    /// Whether a problem of one of them was reported.
    any_reported: bool,
}

impl OccurringValues {
    /// Adds a value.
    pub(super) fn insert(&mut self, value: &Node, problems: &Problems) {
        // Far more than a message shows; a path may have as many values as there are jobs.
        const MOST: usize = 1000;
        if self.whole.len() < MOST {
            self.any_reported |= problems.any_within(&value.span);
            self.whole.insert(value.brief());
            self.names.insert(value.tag().map_or_else(|| value.brief(), str::to_owned));
        }
    }
}

fn listed(values: &BTreeSet<String>) -> String {
    const MOST: usize = 10;
    let mut listed: Vec<_> = values.iter().take(MOST).map(|value| format!("`{value}`")).collect();
    if values.len() > MOST {
        listed.push(format!("… ({} in all)", values.len()));
    }
    listed.join(", ")
}
