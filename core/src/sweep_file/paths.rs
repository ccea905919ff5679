//! The paths into a configuration that a file may use, and values set at them.

use crate::input::node::{Key, Node, Value, shortened};
use crate::input::problems::{Problems, did_you_mean};
use crate::input::{Declaration, Shape};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// The paths of a configuration.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// In the order of a configuration.
    names: Vec<String>,
    /// The list depth of values that are lists.
    list_depths: BTreeMap<String, usize>,
    /// For keys with a short form: the key within the long form that it stands for.
    tags: BTreeMap<&'static str, &'static str>,
}

/// A path as it was written.
#[derive(Clone, Debug)]
pub(super) struct WrittenPath {
    pub(super) keys: Vec<Key>,
    pub(super) name: String,
    /// The key that a text alone stands for at this path, such as `name` for `loss`.
    tag: Option<&'static str>,
}

/// A path and the value that is set there.
pub(super) type Change = (WrittenPath, Rc<Node>);

impl Paths {
    /// The paths of a configuration with these keys.
    pub(super) fn new(keys: &[Declaration]) -> Self {
        let mut paths = Paths::default();
        for Declaration { key, shape, .. } in keys {
            paths.add((*key).to_owned(), shape.list_depth());
            match shape {
                Shape::Method { tag, variants } => {
                    paths.tags.insert(key, tag);
                    paths.add(format!("{key}.{tag}"), 0);
                    let parameters = variants.iter().flat_map(|variant| &variant.parameters);
                    parameters.for_each(|part| paths.add(format!("{key}.{}", part.key), part.shape.list_depth()));
                }
                Shape::Map { keys: parts, short } => {
                    paths.tags.extend(parts.first().filter(|_| *short).map(|first| (*key, first.key)));
                    parts.iter().for_each(|part| paths.add(format!("{key}.{}", part.key), part.shape.list_depth()));
                }
                // These parameters are set together or not at all, so no paths lead to them.
                Shape::OneOf(variants) => {
                    let parameters = variants.iter().flat_map(|variant| &variant.parameters);
                    let depths = parameters.map(|part| (format!("{key}.{}", part.key), part.shape.list_depth()));
                    paths.list_depths.extend(depths.filter(|(_, depth)| *depth > 0));
                }
                _ => {}
            }
        }
        paths
    }

    fn add(&mut self, name: String, list_depth: usize) {
        if list_depth > 0 {
            self.list_depths.insert(name.clone(), list_depth);
        }
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// All paths, in the order of a configuration.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The values that `node` names one after another at the path `name`. Where one value is itself a list, a list is one
    /// value and a list of lists is several.
    pub(super) fn alternatives<'n>(&self, name: &str, node: &'n Rc<Node>) -> &'n [Rc<Node>] {
        let depth = self.list_depths.get(name).copied().unwrap_or(0);
        match &node.value {
            Value::Seq(items) if node.is_nested(depth + 1) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// The path `name`, written at `span`; `None`, and a problem, if there is no such path.
    pub(super) fn check(&self, name: &str, span: &Range<usize>, problems: &mut Problems) -> Option<WrittenPath> {
        if self.names.iter().any(|path| path == name) {
            return Some(self.written(name, span));
        }
        let names = || self.names.iter().map(String::as_str);
        // A parameter without its method: `lr` for `optimizer.lr`.
        let suffix = format!(".{name}");
        let full = names().find(|path| path.ends_with(&suffix)).map(|path| format!("did you mean `{path}`?"));
        let label = match name.split_once('.') {
            Some((head, _)) if names().any(|path| path == head) => {
                let prefix = format!("{head}.");
                let below: Vec<_> =
                    names().filter(|path| path.starts_with(&prefix)).map(|p| format!("`{p}`")).collect();
                match below.as_slice() {
                    [] => format!("no path continues below `{head}`"),
                    below => format!("expected one of {}", below.join(", ")),
                }
            }
            _ => "no configuration has this key".to_owned(),
        };
        let title = format!("unknown path `{}`", shortened(name));
        problems.report(span.clone(), title, label, full.or_else(|| did_you_mean(name, names())));
        None
    }

    /// The path `name`, which exists, written at `span`.
    pub(super) fn written(&self, name: &str, span: &Range<usize>) -> WrittenPath {
        let keys = name.split('.').map(|key| Key::new(key, span.clone())).collect();
        WrittenPath { keys, name: name.to_owned(), tag: self.tags.get(name).copied() }
    }

    /// The value `node` of the top-level `key` in long form.
    pub(super) fn long_form(&self, key: &str, node: &Rc<Node>) -> Rc<Node> {
        long_form(self.tags.get(key).copied(), node)
    }

    /// The changes in the map `node`; unknown paths are reported.
    pub(super) fn changes(&self, node: &Node, problems: &mut Problems) -> Vec<Change> {
        let entries = node.entries().unwrap_or_default().iter();
        entries
            .filter_map(|(key, value)| Some((self.check(&key.name, &key.span, problems)?, Rc::clone(value))))
            .collect()
    }
}

impl WrittenPath {
    /// Where the path was written.
    pub(super) fn span(&self) -> Range<usize> {
        self.keys[0].span.clone()
    }

    /// The value `node` of this path in long form.
    pub(super) fn long_form(&self, node: &Rc<Node>) -> Rc<Node> {
        long_form(self.tag, node)
    }
}

/// A name alone becomes a map with that name under `tag`, so that `loss.q` can be set beside it and `loss.name` found in it.
fn long_form(tag: Option<&'static str>, node: &Rc<Node>) -> Rc<Node> {
    match (tag, &node.value) {
        (Some(tag), Value::Text(_)) => {
            let tag = Key::new(tag, node.span.clone());
            Rc::new(Node::new(node.span.clone(), Value::Map(vec![(tag, Rc::clone(node))])))
        }
        _ => Rc::clone(node),
    }
}
