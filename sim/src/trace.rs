//! A trace with one line per event: a hash of all lines, and the text of the last ones.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// The number of lines that are kept to explain a broken promise.
const KEPT: usize = 400;

#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    last: VecDeque<String>,
    /// Whether every line is kept.
    whole: bool,
    pub lines: u64,
}

impl Trace {
    pub fn new(whole: bool) -> Self {
        Trace { whole, ..Trace::default() }
    }

    pub fn line(&mut self, now: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.last.len() < KEPT || self.whole {
            String::new()
        } else {
            let mut oldest = self.last.pop_front().unwrap_or_default();
            oldest.clear();
            oldest
        };
        // Writing to a string does not fail.
        let _ = write!(line, "{now:>8} {what}");
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        self.last.push_back(line);
        self.lines += 1;
    }

    /// The hash of all lines, hexadecimal.
    pub fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    pub fn kept(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
