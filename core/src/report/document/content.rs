//! The content of a report: title, columns, sections of rows, and notes.

/// A report that is printed as a table in sections with notes below it.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Document {
    /// The key for references in LaTeX.
    pub label: String,
    pub title: String,
    /// Sentences that explain the numbers, one per line.
    pub summary: Vec<String>,
    pub columns: Vec<Column>,
    pub sections: Vec<Section>,
    /// Explanations of signs, and remarks.
    pub notes: Vec<Note>,
}

/// The header of a column.
#[derive(Clone, Debug)]
pub(in crate::report) struct Column {
    pub name: String,
    /// Numbers are right-aligned, text is left-aligned.
    pub is_number: bool,
}

/// Rows under a common heading.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Section {
    pub heading: Option<String>,
    /// By row, then by column.
    pub rows: Vec<Vec<String>>,
}

/// A line below the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct Note {
    /// The sign that the note explains; empty for a remark on the whole report.
    pub sign: String,
    pub meaning: String,
}

impl Column {
    pub fn text(name: impl Into<String>) -> Column {
        Column { name: name.into(), is_number: false }
    }

    pub fn number(name: impl Into<String>) -> Column {
        Column { name: name.into(), is_number: true }
    }
}

impl Note {
    /// A remark on the whole report.
    pub fn remark(meaning: impl Into<String>) -> Note {
        Note { sign: String::new(), meaning: meaning.into() }
    }
}

/// Notes that rows refer to by number. Equal notes share a number.
#[derive(Debug, Default)]
pub(in crate::report) struct Footnotes(Vec<String>);

impl Footnotes {
    /// The sign of the footnote with this text, such as `[1]`.
    pub fn sign(&mut self, meaning: String) -> String {
        let known = self.0.iter().position(|earlier| *earlier == meaning);
        let index = known.unwrap_or_else(|| {
            self.0.push(meaning);
            self.0.len() - 1
        });
        format!("[{}]", index + 1)
    }

    pub fn into_notes(self) -> impl Iterator<Item = Note> {
        (1..).zip(self.0).map(|(i, meaning)| Note { sign: format!("[{i}]"), meaning })
    }
}

/// The note on `jobs` that diverged and are in the means; `None` for no jobs.
pub(in crate::report) fn counted_divergences(jobs: usize) -> Option<Note> {
    let what = "and count with the epochs that they had finished before";
    let jobs = match jobs {
        0 => return None,
        1 => "1 job".to_owned(),
        jobs => format!("{jobs} jobs"),
    };
    Some(Note::remark(format!("{jobs} diverged, {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_footnotes_share_a_number() {
        let mut footnotes = Footnotes::default();
        let signs = ["a", "b", "a"].map(|meaning| footnotes.sign(meaning.to_owned()));
        assert_eq!(signs, ["[1]", "[2]", "[1]"]);
        assert_eq!(footnotes.into_notes().count(), 2);
    }
}
