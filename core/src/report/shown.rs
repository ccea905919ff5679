//! What every printed format says of a table, before it is said in that format's signs.

use super::axis::Axis;
use super::label::ABSENT;
use super::precision::Precision;
use super::status::Counts;
use super::table::{CellSummary, Table};
use crate::metric::Unit;
use crate::sweep_file::{Divergence, Std};
use std::collections::BTreeSet;

/// What is printed of one cell.
pub(super) struct Shown {
    pub content: Content,
    /// The n of the mean, where it is short.
    pub n: Option<usize>,
    /// What became of seeds that gave no value.
    pub marks: Vec<(Mark, usize)>,
    pub bold: bool,
}

/// The body of a cell.
pub(super) enum Content {
    Number {
        mean: String,
        std: Option<String>,
    },
    Word(&'static str),
    /// No seed has a value, for more than one reason: the marks say which.
    Nothing,
}

/// Why a seed that will not run any more by itself has no value, or not that of its last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Failed,
    Diverged,
    Counted,
    Cancelled,
    Absent,
}

impl Mark {
    pub const ALL: [Mark; 5] = [Mark::Failed, Mark::Diverged, Mark::Counted, Mark::Cancelled, Mark::Absent];

    pub fn sign(self) -> &'static str {
        match self {
            Mark::Failed => "†",
            Mark::Diverged => "‡",
            Mark::Counted => "‖",
            Mark::Cancelled => "§",
            Mark::Absent => "¶",
        }
    }

    fn count(self, counts: &Counts) -> usize {
        match self {
            Mark::Failed => counts.failed,
            Mark::Diverged => counts.diverged,
            Mark::Counted => counts.counted,
            Mark::Cancelled => counts.cancelled,
            Mark::Absent => counts.absent,
        }
    }

    /// What a cell says all of whose seeds went this way.
    fn word(self) -> &'static str {
        match self {
            Mark::Failed => "failed",
            Mark::Diverged | Mark::Counted => DIVERGED,
            Mark::Cancelled => "cancelled",
            Mark::Absent => NOT_APPLICABLE,
        }
    }
}

const DIVERGED: &str = "diverged";
const PENDING: &str = "…";
const NOT_APPLICABLE: &str = "n/a";

impl Shown {
    pub fn of(cell: Option<&CellSummary>, precision: Precision, policy: Divergence) -> Shown {
        let Some(cell) = cell else {
            return Shown { content: Content::Word(ABSENT), n: None, marks: Vec::new(), bold: false };
        };
        let counts = &cell.counts;
        let marks = Mark::ALL.map(|mark| (mark, mark.count(counts))).into_iter().filter(|(_, count)| *count > 0);
        let mut marks: Vec<_> = marks.collect();
        let content = match (cell.mean, marks.as_slice()) {
            (Some(mean), _) => {
                Content::Number { mean: precision.print(mean), std: cell.std.map(|std| precision.print(std)) }
            }
            (None, _) if cell.is_void(policy) => {
                marks.retain(|_| counts.diverged < counts.asked());
                Content::Word(DIVERGED)
            }
            (None, _) if counts.unfinished() > 0 => Content::Word(PENDING),
            (None, [(mark, _)]) => {
                let word = mark.word();
                marks.clear();
                Content::Word(word)
            }
            (None, _) => Content::Nothing,
        };
        let n = (cell.mean.is_some() && !cell.is_complete()).then_some(counts.n);
        Shown { content, n, marks, bold: cell.bold }
    }

    /// `body` with the n and the marks after it, as plain text.
    pub fn remarked(&self, body: String) -> String {
        let n = self.n.map(|n| format!("(n={n})"));
        let marks = self.marks.iter().map(|(mark, count)| format!("{}{count}", mark.sign()));
        let parts = [body].into_iter().chain(n).chain(marks).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// A sign that a table uses and its legend explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Note {
    Short,
    Marked(Mark),
    Pending,
    NotApplicable,
    NoCell,
}

impl Note {
    pub fn sign(self) -> String {
        match self {
            Note::Short => "(n=k)".to_owned(),
            Note::Marked(mark) => format!("{}k", mark.sign()),
            Note::Pending => PENDING.to_owned(),
            Note::NotApplicable => NOT_APPLICABLE.to_owned(),
            Note::NoCell => ABSENT.to_owned(),
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Note::Short => "mean over only k of the seeds asked for",
            Note::Marked(Mark::Failed) => "k seeds failed",
            Note::Marked(Mark::Diverged) => "k seeds diverged: their loss became infinite or NaN",
            Note::Marked(Mark::Counted) => "k seeds diverged, and count with the epochs that they had finished before",
            Note::Marked(Mark::Cancelled) => "k seeds were called off",
            Note::Marked(Mark::Absent) => "k seeds finished without this metric",
            Note::Pending => "no seed has finished yet",
            Note::NotApplicable => "these jobs have no such metric",
            Note::NoCell => "not in the sweep",
        }
    }
}

/// A table with its cells as they are printed.
pub(super) struct Page {
    /// The columns' headers: at least one level, the metric where the sweep names no path.
    pub columns: Axis,
    pub cells: Vec<Vec<Shown>>,
    /// The signs that occur.
    pub legend: BTreeSet<Note>,
}

impl Page {
    pub fn of(table: &Table) -> Page {
        let precisions: Vec<_> = (0..table.columns.len()).map(|column| table.precision(column)).collect();
        let row = |row: &Vec<Option<CellSummary>>| {
            row.iter()
                .zip(&precisions)
                .map(|(cell, precision)| Shown::of(cell.as_ref(), *precision, table.diverged))
                .collect()
        };
        let cells: Vec<Vec<Shown>> = table.cells.iter().map(row).collect();
        let legend = cells.iter().flatten().flat_map(notes).collect();
        let columns = if table.columns.paths.is_empty() {
            let metric = table.metric.name().to_owned();
            Axis { labels: vec![vec![metric.clone()]; table.columns.len()], paths: vec![metric] }
        } else {
            table.columns.clone()
        };
        Page { columns, cells, legend }
    }
}

fn notes(shown: &Shown) -> impl Iterator<Item = Note> {
    let word = match shown.content {
        Content::Word(PENDING) => Some(Note::Pending),
        Content::Word(NOT_APPLICABLE) => Some(Note::NotApplicable),
        Content::Word(ABSENT) => Some(Note::NoCell),
        _ => None,
    };
    let marks = shown.marks.iter().map(|(mark, _)| Note::Marked(*mark));
    shown.n.map(|_| Note::Short).into_iter().chain(marks).chain(word)
}

/// The table's name, with its description.
pub(super) fn title(table: &Table) -> String {
    match &table.description {
        Some(description) => format!("{}: {}", table.title, one_line(description)),
        None => table.title.to_string(),
    }
}

/// What the numbers are.
pub(super) fn facts(table: &Table) -> String {
    let unit = match table.metric.unit() {
        Unit::Share => " (%)",
        Unit::Plain => "",
    };
    let by =
        if table.columns.paths.is_empty() { String::new() } else { format!(" by {}", table.columns.paths.join(", ")) };
    let std = match table.std {
        Std::Sample => "sample",
        Std::Population => "population",
    };
    let numbers = match table.seeds.len() {
        1 => "one seed".to_owned(),
        seeds => format!("mean ± {std} std over {seeds} seeds"),
    };
    format!("{}{unit}{by} at {}: {numbers}", table.metric, table.at)
}

/// How far the sweep has come, unless running it again would add nothing.
pub(super) fn progress(table: &Table) -> Option<String> {
    let jobs = &table.jobs;
    let counts = [
        (jobs.running, "running"),
        (jobs.waiting, "waiting"),
        (jobs.failed, "failed"),
        (jobs.diverged + jobs.counted, "diverged"),
        (jobs.cancelled, "cancelled"),
    ];
    let rest: String =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    jobs.is_partial().then(|| format!("partial: {} of {} jobs finished{rest}", jobs.finished(), jobs.asked()))
}

/// What was chosen, a line each: first by what, then for each place that has several candidates.
pub(super) fn choices(table: &Table) -> Option<(String, Vec<String>)> {
    let choosing = table.choosing.as_ref()?;
    let names = table.names();
    let line = |cell: &CellSummary| {
        let choice = cell.choice.as_ref().filter(|choice| choice.candidates > 1)?;
        let name = names.get(&cell.id).map_or("", String::as_str);
        Some(format!("{name}: {}", choice.described(&choosing.over)))
    };
    let lines: Vec<String> = table.summaries().filter_map(line).collect();
    (!lines.is_empty()).then(|| (choosing.described(), lines))
}

/// `text` without line breaks, which would end a caption or a table row.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
