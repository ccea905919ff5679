//! One diagnostic of a file.

use std::ops::Range;

/// A problem of a file: its place, what was expected, what was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A fragment in lower case, such as "unknown loss `gec`".
    pub title: String,
    /// The bytes of the file at fault.
    pub span: Range<usize>,
    /// The text shown under those bytes, such as "expected one of `cce`, `mae`, `gce`".
    pub label: String,
    /// The remedy, such as "did you mean `gce`?".
    pub help: Option<String>,
}
