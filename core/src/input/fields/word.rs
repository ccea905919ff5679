//! Flags, names and texts.

use super::super::node::{Node, Value, find, shortened};
use super::super::problems::{Problems, did_you_mean, expected_one_of};
use super::Fields;
use std::str::FromStr;

/// A flag that is being read; see [`Fields::flag`].
#[must_use]
#[derive(Debug)]
pub struct Flag<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
}

impl Flag<'_, '_> {
    /// The flag, or `default` where the key is not there.
    pub fn or(self, default: bool) -> bool {
        let Some(node) = self.fields.ask(self.key, false) else { return default };
        if let Value::Bool(value) = node.value {
            return value;
        }
        // What YAML took for a truth once, and does no more.
        let help = match node.text().map(str::to_lowercase).as_deref() {
            Some("yes" | "on" | "y" | "true") => Some("write `true`".to_owned()),
            Some("no" | "off" | "n" | "false") => Some("write `false`".to_owned()),
            _ => None,
        };
        self.fields.unexpected(self.key, node, "`true` or `false`", help);
        default
    }
}

/// A name out of several that is being read; see [`Fields::choice`].
#[must_use]
#[derive(Debug)]
pub struct Choice<'f, 'a, T> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
    pub(crate) choices: Vec<(&'static str, T)>,
}

impl<T: Clone> Choice<'_, '_, T> {
    /// What was chosen, or `default` where the key is not there.
    pub fn or(self, default: T) -> T {
        self.optional().unwrap_or(default)
    }

    /// What was chosen; nothing, and a problem, where the key is not there.
    pub fn required(self) -> Option<T> {
        if find(self.fields.entries, self.key).is_none() {
            let expected = expected_one_of(self.choices.iter().map(|(name, _)| *name));
            self.fields.missing(self.key, expected.trim_start_matches("expected "));
        }
        self.optional()
    }

    /// What was chosen; nothing where the key is not there, or is wrong.
    fn optional(self) -> Option<T> {
        let node = self.fields.ask(self.key, false)?;
        let names = || self.choices.iter().map(|(name, _)| *name);
        // YAML takes `true` for a truth even where it is a name.
        let truth = match node.value {
            Value::Bool(value) => names().find(|name| *name == if value { "true" } else { "false" }),
            _ => None,
        };
        let Some(text) = truth.or_else(|| node.text()) else {
            let expected = expected_one_of(names());
            self.fields.unexpected(self.key, node, expected.trim_start_matches("expected "), None);
            return None;
        };
        let chosen = self.choices.iter().find(|(name, _)| *name == text);
        if chosen.is_none() {
            unknown_name(self.fields.problems, self.key, node, text, names());
        }
        chosen.map(|(_, value)| value.clone())
    }
}

impl<'a> Fields<'a> {
    /// What the name under `key` stands for, `default` where the key is not there or is wrong. Where it stands for nothing, `names` are
    /// told, and that there are others, of a kind that `others` says by an example and lists.
    pub(crate) fn named<T: FromStr>(
        &mut self,
        key: &'static str,
        names: &[&'static str],
        others: (&str, &[&'static str]),
        default: T,
    ) -> T {
        let Some(node) = self.ask(key, false) else { return default };
        let expected = format!("{}, {}", expected_one_of(names.iter().copied()), others.0);
        let Some(text) = node.text() else {
            self.unexpected(key, node, expected.trim_start_matches("expected "), None);
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            let title = format!("unknown {key} `{}`", shortened(text));
            let help = did_you_mean(text, names.iter().chain(others.1).copied());
            self.problems.report(node.span.clone(), title, expected, help);
            default
        })
    }
}

/// Reports `text` at `node`, which is none of `names`.
pub(crate) fn unknown_name<'n>(
    problems: &mut Problems,
    what: &str,
    node: &Node,
    text: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) {
    let title = format!("unknown {what} `{}`", shortened(text));
    problems.report(node.span.clone(), title, expected_one_of(names.clone()), did_you_mean(text, names));
}

/// A text that is being read; see [`Fields::text`].
#[must_use]
#[derive(Debug)]
pub struct Text<'f, 'a> {
    pub(crate) fields: &'f mut Fields<'a>,
    pub(crate) key: &'static str,
}

impl<'a> Text<'_, 'a> {
    /// The text, which stands for what `expected` says; nothing, and a problem, where the key is not there or is wrong.
    pub fn required(self, expected: &str) -> Option<&'a str> {
        if find(self.fields.entries, self.key).is_none() {
            self.fields.missing(self.key, expected);
        }
        self.optional()
    }

    /// The text; nothing where the key is not there, or is wrong.
    pub fn optional(self) -> Option<&'a str> {
        let node = self.fields.ask(self.key, false)?;
        if node.text().is_none() {
            let help = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            self.fields.unexpected(self.key, node, "a text", help.then(|| format!("in quotes: \"{node}\"")));
        }
        node.text()
    }
}
