//! One combination of the grid, as written: the base with the values of every axis set into it.

use super::configuration::{Route, long_form};
use crate::input::node::{Entry, Key, Node, Value, find};
use std::rc::Rc;

/// The values of a configuration before they are read. Copies share all but the map itself.
#[derive(Clone, Debug)]
pub(super) struct Combination(Vec<Entry>);

impl Combination {
    /// The configuration's own map.
    pub(super) fn new(base: &[Entry]) -> Self {
        Combination(base.iter().map(|(key, node)| (key.clone(), long_form(&key.name, node))).collect())
    }

    /// Its keys and values.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The value that `route` leads to.
    pub(super) fn find(&self, route: &Route) -> Option<&Rc<Node>> {
        let (first, rest) = route.keys.split_first()?;
        rest.iter().try_fold(find(&self.0, &first.name)?, |node, key| node.get(&key.name))
    }

    /// Takes out what stands under `key`.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(found, _)| &*found.name != key);
    }

    /// Puts `value` at the end of `route` in place of what is there.
    pub(super) fn set(&mut self, route: &Route, value: &Rc<Node>) {
        let value = match route.keys.as_slice() {
            [key] => long_form(&key.name, value),
            _ => Rc::clone(value),
        };
        set(&mut self.0, &route.keys, value);
    }
}

fn set(entries: &mut Vec<Entry>, keys: &[Key], value: Rc<Node>) {
    let Some((key, rest)) = keys.split_first() else { return };
    let at = entries.iter().position(|(found, _)| found.name == key.name);
    let value = if rest.is_empty() {
        value
    } else {
        // A value that is no map gives way to one; what is then missing from it is reported when it is read.
        let old = at.map(|at| &entries[at].1);
        let span = old.map_or(key.span.clone(), |old| old.span.clone());
        let mut below = old.and_then(|old| old.entries()).unwrap_or_default().to_vec();
        set(&mut below, rest, value);
        Rc::new(Node::new(span, Value::Map(below)))
    };
    match at {
        Some(at) => entries[at].1 = value,
        None => entries.push((key.clone(), value)),
    }
}
