//! Flags, names and texts.

use super::super::declaration::{Presence, Shape};
use super::super::node::{Node, Value, shortened};
use super::super::problems::{Problems, did_you_mean, expected_one_of};
use super::map::Fields;
use std::str::FromStr;

/// `true` or `false`; see [`Fields::flag`].
#[must_use]
#[derive(Debug)]
pub struct FlagField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
}

/// One of several names; see [`Fields::choice`].
#[must_use]
#[derive(Debug)]
pub struct ChoiceField<'f, 'a, T> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    choices: Vec<(&'static str, T)>,
}

/// A text; see [`Fields::text`].
#[must_use]
#[derive(Debug)]
pub struct TextField<'f, 'a> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
}

/// Fixed names, and a pattern for further names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamesAndPattern<'n> {
    /// Names that a message lists.
    pub(crate) names: &'n [&'static str],
    /// Further valid names, which a message only suggests.
    pub(crate) others: &'n [&'static str],
    /// The end of the message, such as "or a mean over any number of epochs, such as `last-10-mean`".
    pub(crate) examples: &'n str,
    /// A regular expression for valid names beside `names` and `others`.
    pub(crate) pattern: &'static str,
}

impl<'a> Fields<'a> {
    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> FlagField<'_, 'a> {
        FlagField { fields: self, key }
    }

    /// One of `choices`, by name.
    pub fn choice<T: Clone + PartialEq>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> ChoiceField<'_, 'a, T> {
        ChoiceField { fields: self, key, choices: choices.to_vec() }
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> TextField<'_, 'a> {
        TextField { fields: self, key }
    }

    /// The value that the name under `key` parses to; `default`, which is named `named`, if the key is absent or invalid.
    pub(crate) fn named<T: FromStr>(
        &mut self,
        key: &'static str,
        accepted: NamesAndPattern<'_>,
        (named, default): (&'static str, T),
    ) -> T {
        let NamesAndPattern { names, others, examples, pattern } = accepted;
        let shape = || Shape::Name { names: [names, others].concat(), pattern: Some(pattern) };
        let Some(node) = self.declare(key, || (shape(), Presence::Default(named.into()))) else { return default };
        let expected = format!("{}, {examples}", expected_one_of(names.iter().copied()));
        let Some(text) = node.text() else {
            self.unexpected(key, node, expected.trim_start_matches("expected "), None);
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            let title = format!("unknown {key} `{}`", shortened(text));
            let help = did_you_mean(text, names.iter().chain(others).copied());
            self.problems.report(node.span.clone(), title, expected, help);
            default
        })
    }
}

impl FlagField<'_, '_> {
    /// The flag, or `default` if the key is absent.
    pub fn or(self, default: bool) -> bool {
        let FlagField { fields, key } = self;
        let Some(node) = fields.declare(key, || (Shape::Flag, Presence::Default(default.into()))) else {
            return default;
        };
        if let Value::Bool(value) = node.value {
            return value;
        }
        // YAML 1.1 reads these as booleans, YAML 1.2 does not.
        let help = match node.text().map(str::to_lowercase).as_deref() {
            Some("yes" | "on" | "y" | "true") => Some("write `true`".to_owned()),
            Some("no" | "off" | "n" | "false") => Some("write `false`".to_owned()),
            _ => None,
        };
        fields.unexpected(key, node, "`true` or `false`", help);
        default
    }
}

impl<T: Clone + PartialEq> ChoiceField<'_, '_, T> {
    /// The choice, or `default` if the key is absent or invalid.
    pub fn or(self, default: T) -> T {
        let named = self.choices.iter().find(|(_, value)| *value == default).map(|(name, _)| *name);
        self.read(named).unwrap_or(default)
    }

    /// The choice; `None`, and a problem, if the key is absent or invalid.
    pub fn required(self) -> Option<T> {
        let present = self.fields.key_place(self.key).is_some();
        let ChoiceField { fields, key, choices } = self;
        let expected = expected_one_of(choices.iter().map(|(name, _)| *name));
        let choice = ChoiceField { fields: &mut *fields, key, choices }.read(None);
        if !present {
            fields.missing(key, expected.trim_start_matches("expected "));
        }
        choice
    }

    /// The choice; `None` if the key is absent or invalid.
    pub fn optional(self) -> Option<T> {
        self.read(None)
    }

    fn read(self, default: Option<&'static str>) -> Option<T> {
        let ChoiceField { fields, key, choices } = self;
        let names = || choices.iter().map(|(name, _)| *name);
        let presence = default.map_or(Presence::Optional, |name| Presence::Default(name.into()));
        let node = fields.declare(key, || (Shape::Name { names: names().collect(), pattern: None }, presence))?;
        // YAML reads `true` as a boolean even where it is a name.
        let boolean = match node.value {
            Value::Bool(value) => names().find(|name| *name == if value { "true" } else { "false" }),
            _ => None,
        };
        let Some(text) = boolean.or_else(|| node.text()) else {
            let expected = expected_one_of(names());
            fields.unexpected(key, node, expected.trim_start_matches("expected "), None);
            return None;
        };
        let chosen = choices.iter().find(|(name, _)| *name == text);
        if chosen.is_none() {
            unknown_name(fields.problems, key, node, text, names());
        }
        chosen.map(|(_, value)| value.clone())
    }
}

impl<'a> TextField<'_, 'a> {
    /// The text; `None`, and a problem that asks for `expected`, if the key is absent or invalid.
    pub fn required(self, expected: &str) -> Option<&'a str> {
        let TextField { fields, key } = self;
        let text = TextField { fields: &mut *fields, key }.optional();
        if fields.key_place(key).is_none() {
            fields.missing(key, expected);
        }
        text
    }

    /// The text; `None` if the key is absent or invalid.
    pub fn optional(self) -> Option<&'a str> {
        let TextField { fields, key } = self;
        let node = fields.declare(key, || (Shape::Text, Presence::Optional))?;
        if node.text().is_none() {
            let scalar = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            fields.unexpected(key, node, "a text", scalar.then(|| format!("put it in quotes: \"{node}\"")));
        }
        node.text()
    }
}

/// Reports the unknown name `text` of a `what` and suggests the nearest of `names`.
pub(super) fn unknown_name<'n>(
    problems: &mut Problems,
    what: &str,
    node: &Node,
    text: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) {
    let title = format!("unknown {what} `{}`", shortened(text));
    problems.report(node.span.clone(), title, expected_one_of(names.clone()), did_you_mean(text, names));
}
