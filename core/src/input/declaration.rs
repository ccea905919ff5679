//! Declared keys as data: what reference pages and the JSON Schema are generated from.
//!
//! Nothing is listed twice: a declaration is recorded by the code that reads and checks the key, see
//! `Record::of`.

use super::Bounds;

/// A key that a map may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// The key.
    pub key: &'static str,
    /// One sentence fragment for readers of the reference.
    pub about: Option<&'static str>,
    /// The values that the key takes.
    pub shape: Shape,
    /// What applies if the key is absent.
    pub presence: Presence,
}

/// What applies if a key is absent.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// The file is rejected.
    Required,
    /// The feature is off, or the default depends on other keys.
    Optional,
    /// This value is used.
    Default(serde_json::Value),
}

/// The values that a key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A finite number.
    Number(Bounds),
    /// A whole number.
    Integer {
        /// Smallest value.
        least: u64,
        /// Largest value; `i64::MAX` stands for no limit.
        most: u64,
        /// Whether `null` counts as an absent key.
        nullable: bool,
    },
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// One of these names, or a name that matches the pattern.
    Name {
        /// The fixed names.
        names: Vec<&'static str>,
        /// A regular expression for further names.
        pattern: Option<&'static str>,
    },
    /// A list of different names, or `all`.
    Names(Vec<&'static str>),
    /// A list of increasing whole numbers from 1.
    Increasing,
    /// A list of numbers.
    Numbers(Bounds),
    /// A square matrix of shares; each row sums to 1.
    Stochastic,
    /// A list of pairs of classes; `null` counts as an absent key.
    ClassMap,
    /// A method: its name alone, or a map with the name under `tag` beside its parameters.
    Method {
        /// The key of the name.
        tag: &'static str,
        /// The methods.
        variants: Vec<Variant>,
    },
    /// A name alone, or a map whose first key is the name.
    OneOf(Vec<Variant>),
    /// A list of such names and maps.
    ListOf(Vec<Variant>),
    /// A map with these keys, or the value of its first key alone if `short` is set; `null` counts as an absent key.
    Map {
        /// The keys.
        keys: Vec<Declaration>,
        /// Whether a text alone stands for a map of the first key.
        short: bool,
    },
    /// The form that the owner of the file format defines under this name.
    Defined(&'static str),
}

/// One of several methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// One sentence fragment for readers of the reference.
    pub about: Option<&'static str>,
    /// Its parameters.
    pub parameters: Vec<Declaration>,
}

impl Shape {
    /// How many lists deep one value is: 0 for a scalar, 1 for a list, 2 for a list of lists.
    pub(crate) fn list_depth(&self) -> usize {
        match self {
            Shape::Names(_) | Shape::Increasing | Shape::Numbers(_) | Shape::ListOf(_) => 1,
            Shape::Stochastic | Shape::ClassMap => 2,
            _ => 0,
        }
    }
}
