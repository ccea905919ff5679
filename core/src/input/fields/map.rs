//! The map that is read: its keys, unknown and missing ones, and the record of declarations.

use super::super::declaration::{Declaration, Presence, Shape};
use super::super::node::{Key, MapEntry, Node, Value, find, has_rejected, shortened};
use super::super::problems::{Problems, expected_one_of, nearest};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A map of a file, read key by key.
#[derive(Debug)]
pub struct Fields<'a> {
    pub(super) entries: &'a [MapEntry],
    subject: Subject<'a>,
    place: Range<usize>,
    declared: Vec<&'static str>,
    /// Required keys that are absent, and what each expects.
    missing: Vec<(&'static str, String)>,
    pub(super) problems: &'a mut Problems,
    /// The description of the next key.
    about: Option<&'static str>,
    record: Option<Record>,
}

/// The declarations that reading a map has made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The description of the map.
    pub(crate) about: Option<&'static str>,
    pub(crate) keys: Vec<Declaration>,
}

impl Record {
    /// Runs `read` on an empty map and returns the keys that it declares.
    pub(crate) fn of(read: impl FnOnce(&mut Fields<'_>)) -> Record {
        let mut ignored = Problems::default();
        let mut fields = Fields::new(&[], Subject("a map", None), 0..0, &mut ignored);
        fields.record = Some(Record::default());
        read(&mut fields);
        fields.record.unwrap_or_default()
    }
}

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

impl<'a> Fields<'a> {
    /// The map with these `entries`; missing keys are reported at `place`.
    pub(crate) fn new(
        entries: &'a [MapEntry],
        subject: Subject<'a>,
        place: Range<usize>,
        problems: &'a mut Problems,
    ) -> Self {
        let (declared, missing) = (Vec::new(), Vec::new());
        Fields { entries, subject, place, declared, missing, problems, about: None, record: None }
    }

    /// Describes the next key in one sentence fragment, for the reference.
    pub fn about(&mut self, text: &'static str) -> &mut Self {
        self.about = Some(text);
        self
    }

    /// Describes the map itself in one sentence fragment, for the reference.
    pub fn describe(&mut self, text: &'static str) {
        if let Some(record) = &mut self.record {
            record.about = Some(text);
        }
    }

    /// Declares `key` and returns its value. `shape` runs only while declarations are recorded.
    pub(super) fn declare(
        &mut self,
        key: &'static str,
        shape: impl FnOnce() -> (Shape, Presence),
    ) -> Option<&'a Rc<Node>> {
        self.declared.push(key);
        let about = self.about.take();
        if let Some(record) = &mut self.record {
            let (shape, presence) = shape();
            record.keys.push(Declaration { key, about, shape, presence });
        }
        find(self.entries, key)
    }

    /// The value under `key`, whose form the caller checks and the schema defines under the key's name.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Rc<Node>> {
        self.declare(key, || (Shape::Defined(key), Presence::Optional))
    }

    /// The value under `key`: a map with `keys`, or if `short` is set a text in place of the first of them. The caller
    /// reads the map.
    pub(crate) fn map(
        &mut self,
        key: &'static str,
        short: bool,
        keys: impl FnOnce() -> Vec<Declaration>,
    ) -> Option<&'a Rc<Node>> {
        self.declare(key, || (Shape::Map { keys: keys(), short }, Presence::Optional))
    }

    pub(crate) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Where missing keys of the map are reported.
    pub(crate) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Where `key` was written.
    pub(crate) fn key_place(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|(found, _)| &*found.name == key).map(|(found, _)| found.span.clone())
    }

    /// The value of `key` as written.
    pub(crate) fn written(&self, key: &str) -> Option<&'a Rc<Node>> {
        find(self.entries, key)
    }

    /// Where the value of `key` was written.
    pub(crate) fn value_place(&self, key: &str) -> Option<Range<usize>> {
        find(self.entries, key).map(|node| node.span.clone())
    }

    /// Notes that the required `key` is absent. [`Fields::finish`] reports it, unless a misspelt key explains it.
    pub(crate) fn missing(&mut self, key: &'static str, expected: impl Into<String>) {
        let recorded = self.record.iter_mut().flat_map(|record| &mut record.keys);
        recorded.filter(|declaration| declaration.key == key).for_each(|key| key.presence = Presence::Required);
        self.missing.push((key, expected.into()));
    }

    /// Drops the missing keys for which `excused` returns true.
    pub(crate) fn excuse(&mut self, excused: impl Fn(&str) -> bool) {
        let before = self.missing.len();
        self.missing.retain(|(key, _)| !excused(key));
        if self.missing.len() < before {
            self.problems.note_derived();
        }
    }

    /// Reports a value of `key` that has the wrong type.
    pub(crate) fn unexpected(&mut self, key: &str, node: &Node, expected: &str, help: Option<String>) {
        let title = match node.value {
            Value::Null => format!("`{key}` has no value"),
            _ => format!("wrong type of `{key}`"),
        };
        let label = format!("expected {expected}, found {}", node.described());
        self.problems.report(node.span.clone(), title, label, help);
    }

    /// Reports a number of `key` outside its range.
    pub(super) fn out_of_range(&mut self, key: &str, node: &Node, expected: &str, help: Option<String>) {
        let title = match self.subject.1 {
            Some(_) => format!("`{key}` of {} is out of range", self.subject),
            None => format!("`{key}` is out of range"),
        };
        self.problems.report(node.span.clone(), title, format!("expected {expected}, found {node}"), help);
    }

    /// Whether the map has keys that are not declared.
    pub(crate) fn has_unknown(&self) -> bool {
        self.entries.iter().any(|(key, _)| self.declared.iter().all(|declared| *declared != &*key.name))
    }

    /// Reports unknown keys and missing ones.
    pub(crate) fn finish(self) {
        let Fields { entries, subject, declared, place, mut missing, problems, .. } = self;
        let known = |key: &Key| declared.iter().any(|declared| *declared == &*key.name);
        let names = || declared.iter().copied();
        let absent: Vec<_> = names().filter(|name| find(entries, name).is_none()).collect();
        for (key, _) in entries.iter().filter(|(key, _)| !known(key)) {
            if problems.is_full() {
                break;
            }
            let meant = nearest(&key.name, absent.iter().copied()).or_else(|| nearest(&key.name, names()));
            missing.retain(|(key, _)| Some(*key) != meant);
            let help = meant.map(|meant| format!("did you mean `{meant}`?"));
            // The key that names the method is not one of its parameters.
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
        if has_rejected(entries) && !missing.is_empty() {
            problems.note_derived();
            missing.clear();
        }
        for (key, expected) in missing {
            let label = format!("{subject} needs `{key}`: {expected}");
            problems.report(place.clone(), format!("missing `{key}`"), label, None);
        }
    }
}
