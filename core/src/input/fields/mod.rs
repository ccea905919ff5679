//! The keys of one map, asked for one after another.
//!
//! What is wrong is reported and a stand-in returned, so that reading goes on and a file's problems come all at once. What
//! was never asked for is unknown: a method's parameters are listed nowhere but where they are read.

mod list;
mod number;
mod rows;
mod word;

pub(crate) use list::items;
pub use list::{Increasing, Numbers};
pub(crate) use number::integer;
pub use number::{Integer, Number};
pub use rows::{ClassMap, Stochastic};
pub(crate) use word::unknown_name;
pub use word::{Choice, Flag, Text};

use super::node::{Entry, Key, Node, Value, find, shortened};
use super::problems::{Problems, expected_one_of, nearest};
use number::Bounds;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A map of the sweep file that is being read.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: &'a [Entry],
    subject: Subject<'a>,
    place: Range<usize>,
    asked: Vec<Asked>,
    /// What is required and not there, with what it stands for.
    missing: Vec<(&'static str, String)>,
    problems: &'a mut Problems,
}

/// Reads what a name stands for from the map of its parameters; nothing where there is no such name.
pub type Read<T> = fn(&str, &mut Fields<'_>) -> Option<T>;

/// What a map describes, such as "loss `gce`".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a>(pub(crate) &'static str, pub(crate) Option<&'a str>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(name) => write!(f, "{} `{name}`", self.0),
            None => f.write_str(self.0),
        }
    }
}

/// A key that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) key: &'static str,
    /// How many lists deep its value is: several values that are lists are a list of lists.
    pub(crate) depth: usize,
}

impl<'a> Fields<'a> {
    /// The map with these `entries`; what it lacks is reported at `place`.
    pub(crate) fn new(
        entries: &'a [Entry],
        subject: Subject<'a>,
        place: Range<usize>,
        problems: &'a mut Problems,
    ) -> Self {
        Fields { entries, subject, place, asked: Vec::new(), missing: Vec::new(), problems }
    }

    /// A number.
    pub fn number(&mut self, key: &'static str) -> Number<'_, 'a> {
        Number { fields: self, key, range: Bounds::default() }
    }

    /// A whole number that is not negative.
    pub fn integer(&mut self, key: &'static str) -> Integer<'_, 'a> {
        Integer { fields: self, key, least: 0, most: i64::MAX as u64 }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Flag<'_, 'a> {
        Flag { fields: self, key }
    }

    /// One of `choices`, by name.
    pub fn choice<T: Clone>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Choice<'_, 'a, T> {
        let choices = choices.to_vec();
        Choice { fields: self, key, choices }
    }

    /// A list of whole numbers from 1, each above the one before.
    pub fn increasing(&mut self, key: &'static str) -> Increasing<'_, 'a> {
        Increasing { fields: self, key }
    }

    /// A list of numbers.
    pub fn numbers(&mut self, key: &'static str) -> Numbers<'_, 'a> {
        Numbers { fields: self, key, range: Bounds::default() }
    }

    /// A square matrix of shares from 0 to 1, of which each row sums to 1.
    pub fn stochastic(&mut self, key: &'static str) -> Stochastic<'_, 'a> {
        Stochastic { fields: self, key }
    }

    /// Pairs of different classes, counted from 0, of which the first is in one pair only.
    pub fn class_map(&mut self, key: &'static str) -> ClassMap<'_, 'a> {
        ClassMap { fields: self, key }
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Text<'_, 'a> {
        Text { fields: self, key }
    }

    /// One of several things that are each a name alone or a map that begins with that name, as `channel` and
    /// `{mean: [0.3], std: [0.3]}` are: `read` gets the name and the map, and returns nothing where it knows no such name.
    pub fn one_of<T>(&mut self, key: &'static str, names: &[&'static str], read: Read<T>) -> Option<T> {
        let node = self.ask(key, false)?;
        self.named_first(key, node, names, read)
    }

    /// A list of such things; empty where the key is not there.
    pub fn list_of<T>(&mut self, key: &'static str, names: &[&'static str], read: Read<T>) -> Vec<T> {
        let Some(node) = self.ask(key, true) else { return Vec::new() };
        let Value::Seq(items) = &node.value else {
            let help = (node.value != Value::Null).then(|| format!("a list of one is `[{}]`", node.brief()));
            self.unexpected(key, node, "a list", help);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.named_first(key, item, names, read)).collect()
    }

    fn named_first<T>(&mut self, key: &'static str, node: &Node, names: &[&'static str], read: Read<T>) -> Option<T> {
        let (name, entries, place) = match &node.value {
            Value::Text(name) => (&**name, &[][..], &node.span),
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

    /// The value under `key`, as it stands.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Rc<Node>> {
        self.ask(key, false)
    }

    /// The value under `key`, which is a list.
    pub(crate) fn list(&mut self, key: &'static str) -> Option<&'a Rc<Node>> {
        self.ask(key, true)
    }

    fn ask(&mut self, key: &'static str, list: bool) -> Option<&'a Rc<Node>> {
        self.ask_nested(key, usize::from(list))
    }

    /// The value under `key`, which is lists within lists, `depth` deep.
    fn ask_nested(&mut self, key: &'static str, depth: usize) -> Option<&'a Rc<Node>> {
        self.asked.push(Asked { key, depth });
        find(self.entries, key)
    }

    pub(crate) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Where the map is reported.
    pub(crate) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Where `key` was written.
    pub(crate) fn key_place(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|(found, _)| &*found.name == key).map(|(found, _)| found.span.clone())
    }

    /// Where the value of `key` was written.
    pub(crate) fn value_place(&self, key: &str) -> Option<Range<usize>> {
        find(self.entries, key).map(|node| node.span.clone())
    }

    /// The keys asked for so far.
    pub(crate) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Notes that the map has no `key`, which stands for what `expected` says. It is reported in the end, unless a slip of
    /// the keyboard explains it.
    pub(crate) fn missing(&mut self, key: &'static str, expected: impl Into<String>) {
        self.missing.push((key, expected.into()));
    }

    /// Notes that what the map lacks is not to be reported where `excused` says so.
    pub(crate) fn excuse(&mut self, excused: impl Fn(&str) -> bool) {
        self.missing.retain(|(key, _)| !excused(key));
    }

    /// Reports a value under `key` that is not what `expected` says.
    pub(crate) fn unexpected(&mut self, key: &str, node: &Node, expected: &str, help: Option<String>) {
        let title = match node.value {
            Value::Null => format!("`{key}` has no value"),
            _ => format!("wrong type of `{key}`"),
        };
        let label = format!("expected {expected}, found {}", node.described());
        self.problems.report(node.span.clone(), title, label, help);
    }

    fn out_of_range(&mut self, key: &str, node: &Node, expected: &str, help: Option<String>) {
        let title = match self.subject.1 {
            Some(_) => format!("`{key}` of {} is out of range", self.subject),
            None => format!("`{key}` is out of range"),
        };
        self.problems.report(node.span.clone(), title, format!("expected {expected}, found {node}"), help);
    }

    /// Whether there are keys that nobody asked for.
    pub(crate) fn has_unknown(&self) -> bool {
        self.entries.iter().any(|(key, _)| self.asked.iter().all(|asked| asked.key != &*key.name))
    }

    /// Reports the keys that nobody asked for, and those that are missing.
    pub(crate) fn finish(self) {
        let Fields { entries, subject, asked, place, mut missing, problems } = self;
        let known = |key: &Key| asked.iter().any(|asked| asked.key == &*key.name);
        let names = || asked.iter().map(|asked| asked.key);
        let absent: Vec<_> = names().filter(|name| find(entries, name).is_none()).collect();
        for (key, _) in entries.iter().filter(|(key, _)| !known(key)) {
            if problems.is_enough() {
                break;
            }
            let meant = nearest(&key.name, absent.iter().copied()).or_else(|| nearest(&key.name, names()));
            missing.retain(|(key, _)| Some(*key) != meant);
            let help = meant.map(|meant| format!("did you mean `{meant}`?"));
            // The key that names the method is no parameter of it.
            let mut parameters =
                names().filter(|name| subject.1.is_none() || !matches!(*name, "name" | "kind")).peekable();
            let label = match parameters.peek() {
                None => format!("{subject} has no parameters"),
                Some(_) => expected_one_of(parameters),
            };
            let name = shortened(&key.name);
            let title = match subject.1 {
                Some(_) => format!("unknown key `{name}` of {subject}"),
                None => format!("unknown key `{name}`"),
            };
            problems.report(key.span.clone(), title, label, help);
        }
        for (key, expected) in missing {
            let label = format!("{subject} needs `{key}`, {expected}");
            problems.report(place.clone(), format!("missing `{key}`"), label, None);
        }
    }
}
