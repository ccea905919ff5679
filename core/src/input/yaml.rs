//! Parses YAML text into values with places.
//!
//! Two crates share the work. `saphyr-parser` yields the events of the document with the place of each; `serde_yaml` has no
//! places, and without them a problem cannot be shown. `serde_yaml` decides what a plain scalar is (`1e-4`, `~`, `0x1F`,
//! `.inf`), so that a file has the same meaning as in other tools. It is deprecated, so it does nothing else here.
//!
//! Aliases share the value of their anchor. The values that they stand for are counted before they are expanded, so that a
//! document that grows without bound is rejected early.

use super::node::{Key, MapEntry, Node, Value};
use super::problems::Problems;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// The largest document, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and maps.
const MAX_DEPTH: usize = 64;
/// The most values of a document, with each alias counted as what it stands for.
const MAX_NODES: usize = 100_000;

/// What a file must hold, for the message about an empty one.
pub(crate) struct Expected {
    /// Such as "a map with `sweep`, `seeds`, `base`".
    pub(crate) value: &'static str,
    /// Such as "a sweep file begins with `sweep: NAME`".
    pub(crate) begins: &'static str,
}

/// Parses the only document of `text`; `None`, and a problem, if it is not YAML or empty.
pub(crate) fn parse(text: &str, expected: &Expected, problems: &mut Problems) -> Option<Rc<Node>> {
    problems.number_lines(text);
    if text.len() > MAX_BYTES {
        let title = "the file is too large".to_owned();
        problems.report(0..0, title, format!("expected at most {MAX_BYTES} bytes, found {}", text.len()), None);
        return None;
    }
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some((at, c)) = text.char_indices().find(|(_, c)| control(*c)) {
        let label = format!("found the character U+{:04X}", u32::from(c));
        problems.report(at..at + c.len_utf8(), "the file contains a control character".to_owned(), label, None);
        return None;
    }
    let mut builder = TreeBuilder::new(text, problems);
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
    let TreeBuilder { root, problems, .. } = builder;
    if root.is_none() {
        let label = format!("expected {}", expected.value);
        problems.report(0..0, "the file is empty".to_owned(), label, Some(expected.begins.to_owned()));
    }
    root
}

/// A problem was reported after which parsing cannot continue.
struct Stop;

/// A node and its number of values, aliases counted as what they stand for.
type Counted = (Rc<Node>, usize);

struct TreeBuilder<'t, 'p> {
    text: &'t str,
    offsets: ByteOffsets,
    problems: &'p mut Problems,
    open: Vec<OpenCollection>,
    anchors: BTreeMap<usize, Counted>,
    nodes: usize,
    root: Option<Rc<Node>>,
}

/// A list or map whose end has not been parsed.
struct OpenCollection {
    start: usize,
    anchor: usize,
    tagged: bool,
    nodes_before: usize,
    collection: Collection,
}

enum Collection {
    Seq(Vec<Rc<Node>>),
    Map { entries: Vec<MapEntry>, names: BTreeSet<Rc<str>>, next: NextInMap },
}

/// The role of the next node within a map.
enum NextInMap {
    Key,
    ValueOf(Key),
    /// The value of a repeated key, which is dropped.
    ValueOfRepeated,
}

impl<'t, 'p> TreeBuilder<'t, 'p> {
    fn new(text: &'t str, problems: &'p mut Problems) -> Self {
        let offsets = ByteOffsets::new(text);
        TreeBuilder { text, offsets, problems, open: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None }
    }

    fn body(&self) -> &'t str {
        &self.text[self.offsets.skipped..]
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let span = self.offsets.bytes(span);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let help = Some("move it into a file of its own".to_owned());
                let label = "the second document starts here".to_owned();
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
                    let label = "its anchor encloses this alias".to_owned();
                    self.problems.report(span, "an alias contains itself".to_owned(), label, None);
                    return Err(Stop);
                };
                self.count(size, &span)?;
                self.insert(node, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, &span)?;
                let mut plain = None;
                let (span, mut value) = match style {
                    ScalarStyle::Plain if text.is_empty() => (self.place_of_empty(&span), Value::Null),
                    ScalarStyle::Plain => {
                        plain = Some(Rc::from(&*text));
                        (self.trimmed(span.clone()), self.plain(&text, &span))
                    }
                    _ => (self.trimmed(span.clone()), Value::Text(Rc::from(&*text))),
                };
                if tag.is_some() {
                    self.reject_tag(&span);
                    value = Value::Invalid;
                }
                let node = Rc::new(Node { span: span.clone(), value, plain });
                if anchor > 0 {
                    self.anchors.insert(anchor, (Rc::clone(&node), 1));
                }
                self.insert(node, span)
            }
            Event::SequenceStart(anchor, tag) => self.open(span, anchor, tag.is_some(), Collection::Seq(Vec::new())),
            Event::MappingStart(anchor, tag) => self.open(
                span,
                anchor,
                tag.is_some(),
                Collection::Map { entries: Vec::new(), names: BTreeSet::new(), next: NextInMap::Key },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn open(&mut self, span: Range<usize>, anchor: usize, tagged: bool, collection: Collection) -> Result<(), Stop> {
        if self.open.len() == MAX_DEPTH {
            let label = format!("expected at most {MAX_DEPTH} nested lists and maps");
            self.problems.report(span, "the file is nested too deeply".to_owned(), label, None);
            return Err(Stop);
        }
        let nodes_before = self.nodes;
        self.count(1, &span)?;
        self.open.push(OpenCollection { start: span.start, anchor, tagged, nodes_before, collection });
        Ok(())
    }

    fn close(&mut self, span: Range<usize>) -> Result<(), Stop> {
        let Some(OpenCollection { start, anchor, tagged, nodes_before, collection }) = self.open.pop() else {
            return Ok(());
        };
        let (mut value, last) = match collection {
            Collection::Seq(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::Seq(items), last)
            }
            Collection::Map { entries, .. } => {
                let last = entries.last().map(|(key, node)| key.span.end.max(node.span.end));
                (Value::Map(entries), last)
            }
        };
        // A list in brackets ends at the bracket; a block list ends with its last item, not at the next key.
        let bracketed = self.text[start..].starts_with(['[', '{']);
        let end = if bracketed { span.end } else { last.unwrap_or(start) };
        let place = start..end.max(start);
        if tagged {
            self.reject_tag(&place);
            value = Value::Invalid;
        }
        let node = Rc::new(Node::new(place, value));
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), self.nodes - nodes_before));
        }
        let place = node.span.clone();
        self.insert(node, place)
    }

    /// Adds a finished node to its parent. `place` is the place of the node, or of the alias that stands for it.
    fn insert(&mut self, node: Rc<Node>, place: Range<usize>) -> Result<(), Stop> {
        match self.open.last_mut().map(|open| &mut open.collection) {
            None => self.root = Some(node),
            Some(Collection::Seq(items)) => items.push(node),
            Some(Collection::Map { entries, names, next }) => {
                *next = match std::mem::replace(next, NextInMap::Key) {
                    NextInMap::Key => match read_key(&node, place, names, self.problems) {
                        Some(key) => NextInMap::ValueOf(key),
                        None => NextInMap::ValueOfRepeated,
                    },
                    NextInMap::ValueOf(key) => {
                        entries.push((key, node));
                        NextInMap::Key
                    }
                    NextInMap::ValueOfRepeated => NextInMap::Key,
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
        let label = format!("expected at most {MAX_NODES}, with each alias counted as what it stands for");
        self.problems.report(span.clone(), "the file has too many values".to_owned(), label, None);
        Err(Stop)
    }

    /// The value of a plain scalar, as `serde_yaml` reads it.
    fn plain(&mut self, text: &str, span: &Range<usize>) -> Value {
        // Other first characters start a text, and a text of several words is never a number.
        let typed = text.starts_with(|c: char| c.is_ascii_digit() || "~.+-nNtTfF".contains(c));
        let text_value = Value::Text(Rc::from(text));
        if !typed || text.contains(char::is_whitespace) {
            return text_value;
        }
        // As the item of a list, where `---` does not start a document.
        let read = serde_yaml::from_str::<Vec<serde_yaml::Value>>(&format!("- {text}"));
        let number = match read.as_deref() {
            Ok([serde_yaml::Value::Null]) => return Value::Null,
            Ok([serde_yaml::Value::Bool(value)]) => return Value::Bool(*value),
            Ok([serde_yaml::Value::Number(number)]) => number,
            Ok(_) => return text_value,
            // The only plain scalar that fails is an integer beyond 64 bits.
            Err(_) => return self.too_large(span),
        };
        match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) if number.is_f64() => Value::Float(float),
            _ => self.too_large(span),
        }
    }

    fn too_large(&mut self, span: &Range<usize>) -> Value {
        let label = format!("expected at most {}", i64::MAX);
        self.problems.report_final(span.clone(), "the integer is too large".to_owned(), label, None);
        Value::Invalid
    }

    /// Reports the tag of the value at `span`. Nothing else is said about the value: its type is what the tag has changed.
    fn reject_tag(&mut self, span: &Range<usize>) {
        let (label, help) = ("tags (`!…`) have no meaning in this file".to_owned(), Some("remove the tag".to_owned()));
        self.problems.report(self.tag_near(span), "unexpected tag".to_owned(), label, help);
        self.problems.close(span);
    }

    /// The place of the tag of the value at `span`, which precedes or starts it.
    fn tag_near(&self, span: &Range<usize>) -> Range<usize> {
        let before = &self.text[..self.text.len().min(span.start + 1)];
        let start = before
            .rfind('!')
            .map_or(span.start, |at| at - before[..at].chars().rev().take_while(|c| *c == '!').count());
        let length = self.text[start..].find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(1);
        start..start + length.max(1)
    }

    /// The place of an empty value: its key, or else the dash or comma before it.
    fn place_of_empty(&self, span: &Range<usize>) -> Range<usize> {
        match self.open.last().map(|open| &open.collection) {
            Some(Collection::Map { next: NextInMap::ValueOf(key), .. }) => key.span.clone(),
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
        let at = self.offsets.byte(index);
        // The character at the place, or the tabs before it. The end of a line is not shown.
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
            let label = format!("line {line} is not valid inside this bracket: {info}");
            let help = Some(format!("a `{closing}` or a comma may be missing before line {line}"));
            self.problems.report(open.start..open.start + 1, "the file is not YAML".to_owned(), label, help);
            return;
        }
        let help = if info.contains("tab") {
            Some("indent with spaces".to_owned())
        } else if info.contains("quoted scalar") {
            Some("close the quote".to_owned())
        } else if info.contains("flow") || info.contains("bracket") {
            Some("close the bracket, or add the missing comma".to_owned())
        } else if info.contains("mapping values are not allowed") {
            Some("put a text that contains `: ` in quotes".to_owned())
        } else {
            None
        };
        self.problems.report(span, "the file is not YAML".to_owned(), info.to_owned(), help);
    }
}

/// The key `node`, marked and reported if it is not a name; `None`, and a problem, if `names` has it already.
fn read_key(node: &Node, span: Range<usize>, names: &mut BTreeSet<Rc<str>>, problems: &mut Problems) -> Option<Key> {
    let Value::Text(name) = &node.value else {
        let label = format!("expected a name, found {}", node.described());
        problems.report_final(span.clone(), "a key is not a name".to_owned(), label, None);
        return Some(Key { rejected: true, ..Key::new(&node.brief(), span) });
    };
    if &**name == "<<" {
        let help = Some("write the keys out; one override can set several keys".to_owned());
        let title = "merge keys are not supported".to_owned();
        problems.report_final(span.clone(), title, "unexpected `<<`".to_owned(), help);
        return Some(Key { rejected: true, ..Key::new(name, span) });
    }
    if !names.insert(Rc::clone(name)) {
        let help = Some("remove one of the two".to_owned());
        let label = "the same map already has this key".to_owned();
        problems.report(span, format!("`{}` is given twice", super::node::shortened(name)), label, help);
        return None;
    }
    Some(Key { name: Rc::clone(name), span, rejected: false })
}

/// Converts the character indices of the parser to byte offsets.
struct ByteOffsets {
    /// Length of the byte order mark, which is cut off before parsing.
    skipped: usize,
    /// The offset of each character; `None` if every character has one byte.
    starts: Option<Vec<usize>>,
    end: usize,
}

impl ByteOffsets {
    fn new(text: &str) -> Self {
        let skipped = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let starts = (!text.is_ascii()).then(|| text[skipped..].char_indices().map(|(at, _)| at + skipped).collect());
        ByteOffsets { skipped, starts, end: text.len() }
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
