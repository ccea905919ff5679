//! Methods: a name with parameters, in three ways of writing.

use super::super::declaration::{Presence, Shape, Variant};
use super::super::node::{Node, Value, has_rejected};
use super::super::problems::expected_one_of;
use super::list::one_item_list;
use super::map::{Fields, Record, Subject};
use super::word::unknown_name;
use std::rc::Rc;

/// Reads the parameters of the method with this name; `None` for an unknown name.
pub type ReadMethod<T> = fn(&str, &mut Fields<'_>) -> Option<T>;

/// A key whose value is one of several methods; see [`Fields::method`].
#[must_use]
#[derive(Debug)]
pub struct MethodField<'f, 'a, T> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    tag: &'static str,
    names: &'static [&'static str],
    read: ReadMethod<T>,
}

/// The variants that `read` accepts, with their parameters.
fn variants<T>(names: &[&'static str], read: ReadMethod<T>) -> Vec<Variant> {
    let variant = |name: &&'static str| {
        let record = Record::of(|fields| _ = read(name, fields));
        Variant { name, about: record.about, parameters: record.keys }
    };
    names.iter().map(variant).collect()
}

impl<'a> Fields<'a> {
    /// A method in long form, a map with its name under `tag` beside its parameters. (A name alone is brought into long
    /// form before it is read.)
    pub(crate) fn method<T>(
        &mut self,
        key: &'static str,
        tag: &'static str,
        names: &'static [&'static str],
        read: ReadMethod<T>,
    ) -> MethodField<'_, 'a, T> {
        MethodField { fields: self, key, tag, names, read }
    }

    /// A name alone, or a map whose first key is the name, such as `channel` and `{mean: [0.3], std: [0.3]}`. `None` if the
    /// key is absent or invalid.
    pub(crate) fn one_of<T>(
        &mut self,
        key: &'static str,
        names: &[&'static str],
        read: ReadMethod<T>,
        default: &'static str,
    ) -> Option<T> {
        let node = self.declare(key, || (Shape::OneOf(variants(names, read)), Presence::Default(default.into())))?;
        self.named_first(key, node, names, read)
    }

    /// A list of such names and maps; empty if the key is absent.
    pub(crate) fn list_of<T>(&mut self, key: &'static str, names: &[&'static str], read: ReadMethod<T>) -> Vec<T> {
        let empty = || Presence::Default(serde_json::Value::Array(Vec::new()));
        let Some(node) = self.declare(key, || (Shape::ListOf(variants(names, read)), empty())) else {
            return Vec::new();
        };
        let Value::Seq(items) = &node.value else {
            let help = match &node.value {
                Value::Null => None,
                Value::Bool(false) => Some("write `[]`".to_owned()),
                // Words for nothing, in YAML 1.1 and elsewhere.
                Value::Text(text) if matches!(&*text.to_lowercase(), "no" | "off" | "n" | "false" | "none") => {
                    Some("write `[]`".to_owned())
                }
                _ => Some(one_item_list(node)),
            };
            self.unexpected(key, node, "a list", help);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.named_first(key, item, names, read)).collect()
    }

    fn named_first<T>(
        &mut self,
        key: &'static str,
        node: &Node,
        names: &[&'static str],
        read: ReadMethod<T>,
    ) -> Option<T> {
        let (name, entries, place) = match &node.value {
            Value::Text(name) => (&**name, &[][..], &node.span),
            Value::Map(entries) if entries.first().is_some_and(|(key, _)| key.rejected) => {
                self.problems.note_derived();
                return None;
            }
            Value::Map(entries) if !entries.is_empty() => (&*entries[0].0.name, entries.as_slice(), &entries[0].0.span),
            _ => {
                let expected = expected_one_of(names.iter().copied());
                self.unexpected(key, node, expected.trim_start_matches("expected "), None);
                return None;
            }
        };
        let mut fields = Fields::new(entries, Subject(key, None), place.clone(), self.problems);
        let value = read(name, &mut fields);
        match value {
            Some(_) => fields.finish(),
            None => {
                let named = Node::new(place.clone(), Value::Text(Rc::from(name)));
                unknown_name(self.problems, key, &named, name, names.iter().copied());
            }
        }
        value
    }
}

impl<T> MethodField<'_, '_, T> {
    /// The method; `None`, and a problem, if the key is absent or invalid.
    pub(crate) fn required(self) -> Option<T> {
        let MethodField { key, tag, names, read, .. } = self;
        let shape = || Shape::Method { tag, variants: variants(names, read) };
        match self.fields.declare(key, || (shape(), Presence::Optional)) {
            Some(node) => self.read(node),
            None => {
                let expected = self.expected();
                self.fields.missing(key, expected);
                None
            }
        }
    }

    /// The method, or `default`, whose name is `named`, if the key is absent; `None` if it is invalid.
    pub(crate) fn or(self, default: T, named: &'static str) -> Option<T> {
        let MethodField { key, tag, names, read, .. } = self;
        let shape = || Shape::Method { tag, variants: variants(names, read) };
        match self.fields.declare(key, || (shape(), Presence::Default(named.into()))) {
            Some(node) => self.read(node),
            None => Some(default),
        }
    }

    fn read(self, node: &Node) -> Option<T> {
        let expected = self.expected();
        let MethodField { fields, key, tag, names, read } = self;
        let Some(entries) = node.entries() else {
            fields.unexpected(key, node, &expected, None);
            return None;
        };
        let Some(name_node) = node.get(tag) else {
            if has_rejected(entries) {
                fields.problems.note_derived();
                return None;
            }
            let help = names.last().map(|name| format!("for instance `{{{tag}: {name}, …}}`"));
            fields.problems.report(
                node.span.clone(),
                format!("`{key}` has no `{tag}`"),
                format!("expected {expected}"),
                help,
            );
            return None;
        };
        let Some(name) = name_node.text() else {
            fields.unexpected(tag, name_node, &format!("the name of a {key}"), None);
            return None;
        };
        let mut parameters = Fields::new(entries, Subject(key, Some(name)), name_node.span.clone(), fields.problems);
        parameters.node(tag);
        let method = read(name, &mut parameters);
        match method {
            Some(_) => parameters.finish(),
            None => unknown_name(fields.problems, key, name_node, name, names.iter().copied()),
        }
        method
    }

    fn expected(&self) -> String {
        format!("a name or a map with `{}`", self.tag)
    }
}
