//! One combination of the grid, as written: the base with one value of every axis.

use super::paths::{Paths, WrittenPath};
use crate::input::node::{Key, MapEntry, Node, Value, find};
use std::rc::Rc;

/// The values of a configuration before they are checked. Copies share everything but the map itself.
#[derive(Clone, Debug)]
pub(super) struct Combination(Vec<MapEntry>);

impl Combination {
    /// The base, with its methods in long form.
    pub(super) fn new(base: &[MapEntry], paths: &Paths) -> Self {
        Combination(base.iter().map(|(key, node)| (key.clone(), paths.long_form(&key.name, node))).collect())
    }

    /// Its keys and values.
    pub(super) fn entries(&self) -> &[MapEntry] {
        &self.0
    }

    /// The value at `path`.
    pub(super) fn find(&self, path: &WrittenPath) -> Option<&Rc<Node>> {
        let (first, rest) = path.keys.split_first()?;
        rest.iter().try_fold(find(&self.0, &first.name)?, |node, key| node.get(&key.name))
    }

    /// Removes the top-level `key`.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(found, _)| &*found.name != key);
    }

    /// Replaces the value at `path` by `value`.
    pub(super) fn set(&mut self, path: &WrittenPath, value: &Rc<Node>) {
        set(&mut self.0, &path.keys, path.long_form(value));
    }
}

fn set(entries: &mut Vec<MapEntry>, keys: &[Key], value: Rc<Node>) {
    let Some((key, rest)) = keys.split_first() else { return };
    let at = entries.iter().position(|(found, _)| found.name == key.name);
    let value = if rest.is_empty() {
        value
    } else {
        // A value that is not a map is replaced by one; keys missing from it are reported when it is read.
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
