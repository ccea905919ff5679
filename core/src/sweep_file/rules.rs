//! `overrides` and `exclude`: what is changed in some combinations, and which are left out.
//!
//! A condition is put to a combination as it is written, earlier overrides applied. A rule that no combination meets, or a
//! value that none has, is a problem: a slip of the keyboard would otherwise change nothing, and say nothing.

use super::combination::Combination;
use super::configuration::{Route, Schema};
use super::parent::Change;
use crate::input::fields::{Fields, Subject};
use crate::input::node::{Node, Value};
use crate::input::problems::{Problems, did_you_mean};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// Conditions that must hold at once, and what is then set; an `exclude` sets nothing.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    span: Range<usize>,
    conditions: Vec<Condition>,
    set: Vec<Change>,
    met: bool,
    /// Whether it is no problem if nothing meets it.
    excused: bool,
}

/// A path that must have one of some values.
#[derive(Clone, Debug)]
struct Condition {
    route: Route,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug)]
struct Alternative {
    node: Rc<Node>,
    met: bool,
}

/// Reads `overrides`.
pub(super) fn overrides(fields: &mut Fields<'_>, schema: &Schema) -> Vec<Rule> {
    const EXPECTED: &str = "a list of `{when: {PATH: VALUE}, set: {PATH: VALUE}}`";
    let mut rules = Vec::new();
    for node in maps(fields, "overrides", EXPECTED) {
        let entries = node.entries().unwrap_or_default();
        let mut rule = Fields::new(entries, Subject("an override", None), node.span.clone(), fields.problems());
        let conditions = pairs(&mut rule, "when", "the paths and values of the jobs that it is for");
        let conditions = conditions.and_then(|node| self::conditions(node, schema, rule.problems()));
        let set = pairs(&mut rule, "set", "the paths and their new values");
        let set = set.map(|node| changes(node, schema, rule.problems()));
        rule.finish();
        if let (Some(conditions), Some(set)) = (conditions, set) {
            rules.push(Rule { span: node.span.clone(), conditions, set, met: false, excused: false });
        }
    }
    rules
}

/// Reads `exclude`.
pub(super) fn exclude(fields: &mut Fields<'_>, schema: &Schema) -> Vec<Rule> {
    const EXPECTED: &str = "a list of `{PATH: VALUE}`";
    let mut rules = Vec::new();
    for node in maps(fields, "exclude", EXPECTED) {
        if let Some(conditions) = conditions(node, schema, fields.problems()) {
            rules.push(Rule { span: node.span.clone(), conditions, set: Vec::new(), met: false, excused: false });
        }
    }
    rules
}

/// The maps of the list under `key`.
fn maps<'n>(fields: &mut Fields<'n>, key: &'static str, expected: &str) -> Vec<&'n Rc<Node>> {
    let Some(node) = fields.list(key) else { return Vec::new() };
    // No rules are no mistake, unlike no values.
    if matches!(&node.value, Value::Seq(items) if items.is_empty()) {
        return Vec::new();
    }
    let Some(items) = crate::input::fields::items(fields, key, node, expected) else { return Vec::new() };
    let mut maps = Vec::new();
    for item in items {
        match &item.value {
            Value::Map(entries) if entries.is_empty() => {
                let label = "this would be every job".to_owned();
                fields.problems().report(item.span.clone(), format!("an empty map in `{key}`"), label, None);
            }
            Value::Map(_) => maps.push(item),
            _ => fields.unexpected(key, item, expected, None),
        }
    }
    maps
}

/// The map under `key`, which has at least one entry.
fn pairs<'n>(fields: &mut Fields<'n>, key: &'static str, expected: &str) -> Option<&'n Rc<Node>> {
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

/// The conditions in the map `node`; nothing where one of them can never hold.
fn conditions(node: &Node, schema: &Schema, problems: &mut Problems) -> Option<Vec<Condition>> {
    let entries = node.entries().unwrap_or_default();
    let before = problems.reports();
    let mut conditions = Vec::new();
    for (key, value) in entries {
        let Some(route) = schema.check(&key.name, &key.span, problems) else { continue };
        let alternatives = schema.alternatives(&route.name, value);
        if alternatives.is_empty() {
            let label = "expected at least one value".to_owned();
            problems.report(value.span.clone(), format!("`{}` is an empty list", route.name), label, None);
        }
        let alternatives = alternatives.iter().map(|node| Alternative { node: Rc::clone(node), met: false }).collect();
        conditions.push(Condition { route, alternatives });
    }
    (problems.reports() == before).then_some(conditions)
}

/// The paths in the map `node` and what is set there.
pub(super) fn changes(node: &Node, schema: &Schema, problems: &mut Problems) -> Vec<Change> {
    let entries = node.entries().unwrap_or_default();
    let routes = entries
        .iter()
        .filter_map(|(key, value)| Some((schema.check(&key.name, &key.span, problems)?, Rc::clone(value))));
    routes.collect()
}

impl Rule {
    /// Whether all conditions hold of `combination`.
    pub(super) fn holds(&mut self, combination: &Combination) -> bool {
        let mut all = true;
        for condition in &mut self.conditions {
            // Each is asked even if one before it fails, so that what no job has is told from what never meets.
            let value = combination.find(&condition.route);
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

    /// Sets what the rule sets.
    pub(super) fn apply(&self, combination: &mut Combination) {
        self.set.iter().for_each(|(route, value)| combination.set(route, value));
    }

    /// Whether every part of the rule has been of use.
    pub(super) fn is_met(&self) -> bool {
        self.excused || self.met && self.unmet().next().is_none()
    }

    /// Asks no more that every part of the rule is of use.
    pub(super) fn excuse(&mut self) {
        self.excused = true;
    }

    fn unmet<'r>(&'r self) -> impl Iterator<Item = (&'r Route, &'r Alternative)> {
        let of = |condition: &'r Condition| {
            let Condition { route, alternatives } = condition;
            alternatives
                .iter()
                .filter(|alternative| !alternative.met && !self.excused)
                .map(move |alternative| (route, alternative))
        };
        self.conditions.iter().flat_map(of)
    }

    /// The paths whose values are worth naming when the rule is reported.
    pub(super) fn unmet_paths(&self) -> impl Iterator<Item = &Route> {
        self.unmet().map(|(route, _)| route)
    }

    /// Reports what no combination meets; `values` are those that a path has.
    pub(super) fn report<'v>(&self, values: &dyn Fn(&Route) -> &'v Values, problems: &mut Problems) {
        for (route, alternative) in self.unmet() {
            let title = format!("no job has `{}: {}`", route.name, alternative.node.brief());
            // Who asks for a name is told names; who asks for a map, maps.
            let values = values(route);
            let values = if alternative.node.text().is_some() { &values.names } else { &values.whole };
            let label = match values.len() {
                0 => format!("no job gives `{}` a value, other than by default", route.name),
                _ => format!("the jobs have {}", listed(values)),
            };
            let help = alternative.node.text().and_then(|wrong| did_you_mean(wrong, values.iter().map(String::as_str)));
            problems.report(alternative.node.span.clone(), title, label, help);
        }
        if !self.excused && !self.met && self.unmet().next().is_none() {
            let label = "some jobs have each of these, but none has all of them".to_owned();
            problems.report(self.span.clone(), "this matches no job".to_owned(), label, None);
        }
    }
}

/// The values that a path has in some combination.
#[derive(Debug, Default)]
pub(super) struct Values {
    whole: BTreeSet<String>,
    /// The same with a method's parameters left out.
    names: BTreeSet<String>,
}

impl Values {
    /// Adds a value.
    pub(super) fn insert(&mut self, value: &Node) {
        // More than are ever shown; a path may have as many values as there are jobs.
        const ENOUGH: usize = 1000;
        if self.whole.len() < ENOUGH {
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
