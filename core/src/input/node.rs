//! YAML values with their place in the file.

use crate::display_text;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A value and its byte range in the file.
///
/// Children are shared: an alias and each combination of a grid cost one pointer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
    /// A scalar without quotes, exactly as the file has it.
    pub(crate) plain: Option<Rc<str>>,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A value that was reported as a whole. Nothing else is said about it.
    Invalid,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Seq(Vec<Rc<Node>>),
    Map(Vec<MapEntry>),
}

/// A key of a map and its value.
pub(crate) type MapEntry = (Key, Rc<Node>);

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: Rc<str>,
    pub(crate) span: Range<usize>,
    /// Whether the key was reported. The keys that it stands for are unknown, so none counts as missing from its map.
    pub(crate) rejected: bool,
}

impl Key {
    pub(crate) fn new(name: &str, span: Range<usize>) -> Self {
        Key { name: Rc::from(name), span, rejected: false }
    }
}

/// Whether the file has keys in this map that could not be read.
pub(crate) fn has_rejected(entries: &[MapEntry]) -> bool {
    entries.iter().any(|(key, _)| key.rejected)
}

impl Node {
    pub(crate) fn new(span: Range<usize>, value: Value) -> Self {
        Node { span, value, plain: None }
    }

    /// Whether this value, or one within it, was reported already.
    pub(crate) fn holds_invalid(&self) -> bool {
        match &self.value {
            Value::Invalid => true,
            Value::Seq(items) => items.iter().any(|item| item.holds_invalid()),
            Value::Map(entries) => has_rejected(entries) || entries.iter().any(|(_, node)| node.holds_invalid()),
            _ => false,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[MapEntry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key` if this is a map that has the key.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Node>> {
        find(self.entries()?, key)
    }

    /// The name of a method in long form.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.get("name").or_else(|| self.get("kind"))?.text()
    }

    /// Whether this is a list nested at least `depth` deep.
    pub(crate) fn is_nested(&self, depth: usize) -> bool {
        match (&self.value, depth) {
            (_, 0) => true,
            (Value::Seq(_), 1) => true,
            (Value::Seq(items), _) => !items.is_empty() && items.iter().all(|item| item.is_nested(depth - 1)),
            _ => false,
        }
    }

    /// The number, if this is an integer or a float.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.value {
            Value::Int(int) => Some(int as f64),
            Value::Float(float) => Some(float),
            _ => None,
        }
    }

    /// The value as a message names it, such as "the number 3".
    pub(crate) fn described(&self) -> String {
        match &self.value {
            Value::Invalid => "an invalid value".to_owned(),
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) => format!("`{self}`"),
            Value::Int(_) | Value::Float(_) => format!("the number {self}"),
            Value::Text(text) => format!("the text `{}`", shortened(text)),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// The value in YAML, shortened for a message.
    pub(crate) fn brief(&self) -> String {
        shortened(&self.to_string())
    }

    /// Whether `value` meets the condition `self`: numbers are equal by value, a name alone matches every method of that
    /// name, and a map requires only its own keys.
    pub(crate) fn matches(&self, value: &Node) -> bool {
        match (&self.value, &value.value) {
            (Value::Text(name), Value::Map(_)) => value.tag() == Some(name),
            (Value::Map(asked), Value::Map(found)) => {
                asked.iter().all(|(key, asked)| find(found, &key.name).is_some_and(|found| asked.matches(found)))
            }
            (Value::Seq(asked), Value::Seq(found)) => {
                asked.len() == found.len() && asked.iter().zip(found).all(|(asked, found)| asked.matches(found))
            }
            (asked, found) => match (self.number(), value.number()) {
                (Some(asked), Some(found)) => asked == found,
                _ => asked == found,
            },
        }
    }

    /// A text that is equal for equal values, whatever the order of keys and the notation of numbers.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.value {
            Value::Seq(items) => {
                format!("[{}]", items.iter().map(|item| item.fingerprint()).collect::<Vec<_>>().join(", "))
            }
            Value::Map(entries) => {
                let part = |(key, node): &MapEntry| format!("{:?}: {}", key.name, node.fingerprint());
                let mut parts: Vec<_> = entries.iter().map(part).collect();
                parts.sort();
                format!("{{{}}}", parts.join(", "))
            }
            Value::Text(text) => format!("{text:?}"),
            // −0 is 0, and 1.0 is 1.
            Value::Float(value) if value.fract() == 0.0 => format!("{:.0}", value + 0.0),
            Value::Float(value) => format!("{value:?}"),
            Value::Int(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null => "~".to_owned(),
            Value::Invalid => format!("invalid {:?}", self.span),
        }
    }
}

/// The value under `key`.
pub(crate) fn find<'n>(entries: &'n [MapEntry], key: &str) -> Option<&'n Rc<Node>> {
    entries.iter().find(|(found, _)| &*found.name == key).map(|(_, node)| node)
}

/// The first 60 characters of `text`, on one line.
pub(crate) fn shortened(text: &str) -> String {
    display_text::shortened(text, 60).to_string()
}

/// The value on one line of YAML; numbers as the file has them.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(plain), false) = (&self.plain, self.text().is_some()) {
            return f.write_str(&shortened(plain));
        }
        match &self.value {
            Value::Invalid => f.write_str("…"),
            Value::Null => f.write_str("~"),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) if value.is_nan() => f.write_str(".nan"),
            Value::Float(value) if value.is_infinite() => f.write_str(if *value > 0.0 { ".inf" } else { "-.inf" }),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(text) => f.write_str(&shortened(text)),
            Value::Seq(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Value::Map(entries) => {
                // A method that was written as a name alone.
                if let (1, Some(tag)) = (entries.len(), self.tag()) {
                    return f.write_str(&shortened(tag));
                }
                f.write_str("{")?;
                for (i, (key, node)) in entries.iter().enumerate() {
                    write!(f, "{}{}: {node}", if i > 0 { ", " } else { "" }, key.name)?;
                }
                f.write_str("}")
            }
        }
    }
}
