//! What is wrong with a sweep file.

use std::ops::Range;

/// One problem of a sweep file: what was expected, what was found, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One sentence fragment in lower case, such as "unknown loss `gec`".
    pub title: String,
    /// Bytes of the file that it is about.
    pub span: Range<usize>,
    /// What is said beneath those bytes, such as "expected one of `cce`, `mae`, `gce`".
    pub label: String,
    /// What to do, such as "did you mean `gce`?".
    pub help: Option<String>,
}
