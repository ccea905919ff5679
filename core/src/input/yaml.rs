//! YAML text to values with places.
//!
//! Two crates share the work. `saphyr-parser` gives the events of the document with the place of each, which `serde_yaml`
//! cannot tell once a value is read; without places a problem can only be named, not shown. `serde_yaml` says what a plain
//! scalar is (`1e-4`, `~`, `0x1F`, `.inf`), so that a sweep file means what it means to any other tool built on it. It is
//! deprecated, so nothing but that one question is put to it.
//!
//! Aliases share what their anchor holds, and what they would unfold to is counted before anything is unfolded: a document
//! that grows without bound is refused while it is still small.

use super::node::{Entry, Key, Node, Value};
use super::problems::Problems;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// The largest document, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and maps.
const MAX_DEPTH: usize = 64;
/// The most values a document may have once its aliases are followed.
const MAX_NODES: usize = 100_000;

/// What a file should hold, for one that holds nothing.
pub(crate) struct Expected {
    /// Such as "a map with `sweep`, `seeds`, `base`".
    pub(crate) value: &'static str,
    /// Such as "a sweep file begins with `sweep: NAME`".
    pub(crate) begins: &'static str,
}

/// Reads the one document of `text`. Nothing comes back where the text has no value that could be looked at further.
pub(crate) fn parse(text: &str, expected: &Expected, problems: &mut Problems) -> Option<Rc<Node>> {
    if text.len() > MAX_BYTES {
        let title = "the file is too large".to_owned();
        problems.report(0..0, title, format!("expected at most {MAX_BYTES} bytes, found {}", text.len()), None);
        return None;
    }
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some((at, c)) = text.char_indices().find(|(_, c)| control(*c)) {
        let label = format!("found the character U+{:04X}", u32::from(c));
        problems.report(at..at + c.len_utf8(), "a control character is not text".to_owned(), label, None);
        return None;
    }
    let mut builder = Builder::new(text, problems);
    for event in Parser::new_from_str(builder.body()) {
        let done = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                builder.syntax(error.marker().index(), error.info());
                Err(Stop)
            }
        };
        if let Err(Stop) = done {
            return None;
        }
    }
    let Builder { root, problems, .. } = builder;
    if root.is_none() {
        let label = format!("expected {}", expected.value);
        problems.report(0..0, "the file is empty".to_owned(), label, Some(expected.begins.to_owned()));
    }
    root
}

/// A problem was reported after which the document makes no sense.
struct Stop;

/// A value and how many it counts for with its aliases followed.
type Counted = (Rc<Node>, usize);

struct Builder<'t, 'p> {
    text: &'t str,
    places: Places,
    problems: &'p mut Problems,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Counted>,
    nodes: usize,
    root: Option<Rc<Node>>,
}

/// A list or map whose end has not been seen.
struct Open {
    start: usize,
    anchor: usize,
    nodes_before: usize,
    kind: Kind,
}

enum Kind {
    Seq(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, names: BTreeSet<Rc<str>>, key: Expecting },
}

/// What the next value within a map is.
enum Expecting {
    Key,
    ValueOf(Key),
    /// The value of a key that has been refused: it is read and left.
    Refused,
}

impl<'t, 'p> Builder<'t, 'p> {
    fn new(text: &'t str, problems: &'p mut Problems) -> Self {
        let places = Places::new(text);
        Builder { text, places, problems, open: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None }
    }

    fn body(&self) -> &'t str {
        &self.text[self.places.skipped..]
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let span = self.places.bytes(span);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let help = Some("put the other sweep into a file of its own".to_owned());
                let label = "a second document begins here".to_owned();
                self.problems.report(
                    self.line_of(span.start),
                    "the file holds several documents".to_owned(),
                    label,
                    help,
                );
                Err(Stop)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    let label = "this stands within what it stands for".to_owned();
                    self.problems.report(span, "an alias holds itself".to_owned(), label, None);
                    return Err(Stop);
                };
                self.count(size, &span)?;
                self.value(node, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                self.count(1, &span)?;
                let (span, value) = match style {
                    ScalarStyle::Plain if text.is_empty() => (self.nothing(&span), Value::Null),
                    ScalarStyle::Plain => (self.trimmed(span.clone()), self.plain(&text, &span)),
                    _ => (self.trimmed(span.clone()), Value::Text(Rc::from(&*text))),
                };
                let node = Rc::new(Node::new(span.clone(), value));
                if anchor > 0 {
                    self.anchors.insert(anchor, (Rc::clone(&node), 1));
                }
                self.value(node, span)
            }
            Event::SequenceStart(anchor, tag) => self.begin(span, anchor, tag.is_some(), Kind::Seq(Vec::new())),
            Event::MappingStart(anchor, tag) => self.begin(
                span,
                anchor,
                tag.is_some(),
                Kind::Map { entries: Vec::new(), names: BTreeSet::new(), key: Expecting::Key },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn begin(&mut self, span: Range<usize>, anchor: usize, tagged: bool, kind: Kind) -> Result<(), Stop> {
        self.refuse_tag(tagged, &span);
        if self.open.len() == MAX_DEPTH {
            let label = format!("expected at most {MAX_DEPTH} lists and maps within one another");
            self.problems.report(span, "the file is nested too deeply".to_owned(), label, None);
            return Err(Stop);
        }
        let nodes_before = self.nodes;
        self.count(1, &span)?;
        self.open.push(Open { start: span.start, anchor, nodes_before, kind });
        Ok(())
    }

    fn end(&mut self, span: Range<usize>) -> Result<(), Stop> {
        let Some(Open { start, anchor, nodes_before, kind }) = self.open.pop() else { return Ok(()) };
        let (value, last) = match kind {
            Kind::Seq(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::Seq(items), last)
            }
            Kind::Map { entries, .. } => {
                let last = entries.last().map(|(key, node)| key.span.end.max(node.span.end));
                (Value::Map(entries), last)
            }
        };
        // A list in brackets ends at the bracket; one in a block ends where its last item does, not at the next key.
        let bracketed = self.text[start..].starts_with(['[', '{']);
        let end = if bracketed { span.end } else { last.unwrap_or(start) };
        let node = Rc::new(Node::new(start..end.max(start), value));
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), self.nodes - nodes_before));
        }
        let place = node.span.clone();
        self.value(node, place)
    }

    /// Puts a finished value where it belongs. `place` is where it was asked for: an alias's own, not its anchor's.
    fn value(&mut self, node: Rc<Node>, place: Range<usize>) -> Result<(), Stop> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::Seq(items)) => items.push(node),
            Some(Kind::Map { entries, names, key }) => {
                *key = match std::mem::replace(key, Expecting::Key) {
                    Expecting::Key => match accepted_key(&node, place, names, self.problems) {
                        Some(key) => Expecting::ValueOf(key),
                        None => Expecting::Refused,
                    },
                    Expecting::ValueOf(key) => {
                        entries.push((key, node));
                        Expecting::Key
                    }
                    Expecting::Refused => Expecting::Key,
                };
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let label = format!("more than {MAX_NODES} by here, those that aliases stand for counted each time");
        self.problems.report(span.clone(), "the file holds too many values".to_owned(), label, None);
        Err(Stop)
    }

    /// What `serde_yaml` takes a plain scalar for.
    fn plain(&mut self, text: &str, span: &Range<usize>) -> Value {
        // Only these begin anything but text; and a text of several words is never a number.
        let typed = text.starts_with(|c: char| c.is_ascii_digit() || "~.+-nNtTfF".contains(c));
        let text_value = Value::Text(Rc::from(text));
        if !typed || text.contains(char::is_whitespace) {
            return text_value;
        }
        // As the item of a list, where `---` is no document's start.
        let read = serde_yaml::from_str::<Vec<serde_yaml::Value>>(&format!("- {text}"));
        let number = match read.as_deref() {
            Ok([serde_yaml::Value::Null]) => return Value::Null,
            Ok([serde_yaml::Value::Bool(value)]) => return Value::Bool(*value),
            Ok([serde_yaml::Value::Number(number)]) => number,
            Ok(_) => return text_value,
            // An integer beyond 64 bits is the one plain scalar that it reads and cannot hold.
            Err(_) => {
                self.too_large(span);
                return Value::Int(0);
            }
        };
        match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) if number.is_f64() => Value::Float(float),
            _ => {
                self.too_large(span);
                Value::Int(0)
            }
        }
    }

    fn too_large(&mut self, span: &Range<usize>) {
        let label = format!("expected at most {}", i64::MAX);
        self.problems.settle(span.clone(), "the integer is too large".to_owned(), label, None);
    }

    fn refuse_tag(&mut self, tagged: bool, span: &Range<usize>) {
        if tagged {
            let (label, help) =
                ("tags (`!…`) mean nothing in a sweep file".to_owned(), Some("remove the tag".to_owned()));
            self.problems.report(self.tag_near(span), "unexpected tag".to_owned(), label, help);
        }
    }

    /// The tag of the value at `span`, which stands before it or begins it.
    fn tag_near(&self, span: &Range<usize>) -> Range<usize> {
        let before = &self.text[..self.text.len().min(span.start + 1)];
        let start = before
            .rfind('!')
            .map_or(span.start, |at| at - before[..at].chars().rev().take_while(|c| *c == '!').count());
        let length = self.text[start..].find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(1);
        start..start + length.max(1)
    }

    /// Where to point for a value that was left out: at its key, or else at the dash or comma that promised it.
    fn nothing(&self, span: &Range<usize>) -> Range<usize> {
        match self.open.last().map(|open| &open.kind) {
            Some(Kind::Map { key: Expecting::ValueOf(key), .. }) => key.span.clone(),
            _ => span.clone(),
        }
    }

    fn trimmed(&self, span: Range<usize>) -> Range<usize> {
        span.start..span.start + self.text[span.clone()].trim_end().len()
    }

    /// The first line at or after `at`.
    fn line_of(&self, at: usize) -> Range<usize> {
        at..at + self.text[at..].find('\n').unwrap_or(self.text.len() - at)
    }

    fn syntax(&mut self, index: usize, info: &str) {
        let at = self.places.byte(index);
        // The character at the place, or the tabs before it; the end of a line is not shown.
        let tabs = self.text[..at].trim_end_matches('\t').len();
        let character = self.text[at..].chars().next().filter(|c| !c.is_whitespace());
        let span = match info.contains("tab") && tabs < at {
            true => tabs..at,
            false => at..at + character.map_or(0, char::len_utf8),
        };
        let info = info.trim_start_matches("while ");
        if let Some(open) = self.open.last().filter(|open| self.text[open.start..].starts_with(['[', '{'])) {
            let closing = if self.text[open.start..].starts_with('[') { ']' } else { '}' };
            let line = self.text[..at].matches('\n').count() + 1;
            let label = format!("line {line} cannot stand within what is opened here: {info}");
            let help = Some(format!("a `{closing}` or a comma may be missing before it"));
            self.problems.report(open.start..open.start + 1, "the file is not YAML".to_owned(), label, help);
            return;
        }
        let help = if info.contains("tab") {
            Some("indent with spaces".to_owned())
        } else if info.contains("quoted scalar") {
            Some("a quote is opened and not closed".to_owned())
        } else if info.contains("flow") || info.contains("bracket") {
            Some("a bracket is opened and not closed, or a comma is missing".to_owned())
        } else if info.contains("mapping values are not allowed") {
            Some("put a text with `: ` in it into quotes".to_owned())
        } else {
            None
        };
        self.problems.report(span, "the file is not YAML".to_owned(), info.to_owned(), help);
    }
}

/// The key that `node` makes, unless it is none or is there already.
fn accepted_key(
    node: &Node,
    span: Range<usize>,
    names: &mut BTreeSet<Rc<str>>,
    problems: &mut Problems,
) -> Option<Key> {
    let Value::Text(name) = &node.value else {
        let label = format!("expected a name, found {}", node.described());
        problems.report(span, "a key is not a name".to_owned(), label, None);
        return None;
    };
    if &**name == "<<" {
        let help = Some("write the keys out; `overrides` can set several at once".to_owned());
        problems.report(span, "merge keys are not part of a sweep file".to_owned(), "unexpected `<<`".to_owned(), help);
        return None;
    }
    if !names.insert(Rc::clone(name)) {
        let help = Some("remove one of the two".to_owned());
        let label = "this key stands in the same map already".to_owned();
        problems.report(span, format!("`{}` is given twice", super::node::shortened(name)), label, help);
        return None;
    }
    Some(Key { name: Rc::clone(name), span })
}

/// The parser counts characters, a span counts bytes.
struct Places {
    /// A byte order mark, which the parser does not get to see.
    skipped: usize,
    /// The byte at which each character starts; nothing where all are of one byte.
    starts: Option<Vec<usize>>,
    end: usize,
}

impl Places {
    fn new(text: &str) -> Self {
        let skipped = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let starts = (!text.is_ascii()).then(|| text[skipped..].char_indices().map(|(at, _)| at + skipped).collect());
        Places { skipped, starts, end: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        match &self.starts {
            Some(starts) => starts.get(character).copied().unwrap_or(self.end),
            None => character.min(self.end),
        }
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}
