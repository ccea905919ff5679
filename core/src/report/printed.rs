//! The content of a printed table, common to the formats text, Markdown and LaTeX: cells, legend, title and footer.

use super::axis::Axis;
use super::label::ABSENT;
use super::precision::Precision;
use super::status::StatusCounts;
use super::table::{CellSummary, Table};
use crate::display_text;
use crate::metric::Unit;
use crate::sweep_file::{Divergence, Std};
use std::collections::BTreeSet;

/// One cell as printed.
pub(super) struct PrintedCell {
    pub body: Body,
    /// The n of the mean, if it lacks seeds.
    pub n: Option<usize>,
    /// The number of seeds without a value by reason.
    pub marks: Vec<(Mark, usize)>,
    pub bold: bool,
}

/// The main content of a cell.
pub(super) enum Body {
    Number {
        mean: String,
        std: Option<String>,
    },
    Word(&'static str),
    /// No seed has a value, for several reasons, which the marks give.
    Empty,
}

/// Why a seed whose job has ended has no value, or not that of the table's epoch.
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

    fn count(self, counts: &StatusCounts) -> usize {
        match self {
            Mark::Failed => counts.failed,
            Mark::Diverged => counts.diverged,
            Mark::Counted => counts.counted,
            Mark::Cancelled => counts.cancelled,
            Mark::Absent => counts.absent,
        }
    }

    /// The body of a cell whose seeds all have this mark.
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

impl PrintedCell {
    pub fn new(cell: Option<&CellSummary>, precision: Precision, policy: Divergence) -> PrintedCell {
        let Some(cell) = cell else {
            return PrintedCell { body: Body::Word(ABSENT), n: None, marks: Vec::new(), bold: false };
        };
        let counts = &cell.counts;
        let marks = Mark::ALL.map(|mark| (mark, mark.count(counts))).into_iter().filter(|(_, count)| *count > 0);
        let mut marks: Vec<_> = marks.collect();
        let body = match (cell.mean, marks.as_slice()) {
            (Some(mean), _) => {
                Body::Number { mean: precision.print(mean), std: cell.std.map(|std| precision.print(std)) }
            }
            (None, _) if cell.fails(policy) => {
                marks.retain(|_| counts.diverged < counts.asked());
                Body::Word(DIVERGED)
            }
            (None, _) if counts.unfinished() > 0 => Body::Word(PENDING),
            (None, [(mark, _)]) => {
                let word = mark.word();
                marks.clear();
                Body::Word(word)
            }
            (None, _) => Body::Empty,
        };
        let n = (cell.mean.is_some() && !cell.is_complete()).then_some(counts.n);
        PrintedCell { body, n, marks, bold: cell.bold }
    }

    /// `body` followed by the n and the marks, as plain text.
    pub fn with_marks(&self, body: String) -> String {
        let n = self.n.map(|n| format!("(n={n})"));
        let marks = self.marks.iter().map(|(mark, count)| format!("{}{count}", mark.sign()));
        let parts = [body].into_iter().chain(n).chain(marks).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// A sign that the legend explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LegendEntry {
    Short,
    Marked(Mark),
    Pending,
    NotApplicable,
    NoCell,
}

impl LegendEntry {
    pub fn sign(self) -> String {
        match self {
            LegendEntry::Short => "(n=k)".to_owned(),
            LegendEntry::Marked(mark) => format!("{}k", mark.sign()),
            LegendEntry::Pending => PENDING.to_owned(),
            LegendEntry::NotApplicable => NOT_APPLICABLE.to_owned(),
            LegendEntry::NoCell => ABSENT.to_owned(),
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            LegendEntry::Short => "mean over only k of the seeds asked for",
            LegendEntry::Marked(Mark::Failed) => "k seeds failed",
            LegendEntry::Marked(Mark::Diverged) => "k seeds diverged: their loss became infinite or NaN",
            LegendEntry::Marked(Mark::Counted) => {
                "k seeds diverged, and count with the epochs that they had finished before"
            }
            LegendEntry::Marked(Mark::Cancelled) => "k seeds were called off",
            LegendEntry::Marked(Mark::Absent) => "k seeds finished without this metric",
            LegendEntry::Pending => "no seed has finished yet",
            LegendEntry::NotApplicable => "these jobs have no such metric",
            LegendEntry::NoCell => "not in the sweep",
        }
    }
}

/// A table whose cells are printed.
pub(super) struct PrintedTable {
    /// The headers of the columns; the metric if the sweep file names no path.
    pub columns: Axis,
    pub cells: Vec<Vec<PrintedCell>>,
    /// The signs that occur in the cells.
    pub legend: BTreeSet<LegendEntry>,
}

impl PrintedTable {
    pub fn new(table: &Table) -> PrintedTable {
        let precisions: Vec<_> = (0..table.columns.len()).map(|column| table.precision(column)).collect();
        let row = |row: &Vec<Option<CellSummary>>| {
            row.iter()
                .zip(&precisions)
                .map(|(cell, precision)| PrintedCell::new(cell.as_ref(), *precision, table.diverged))
                .collect()
        };
        let cells: Vec<Vec<PrintedCell>> = table.cells.iter().map(row).collect();
        let legend = cells.iter().flatten().flat_map(legend_entries).collect();
        let columns = if table.columns.paths.is_empty() {
            let metric = table.metric.name().to_owned();
            Axis { labels: vec![vec![metric.clone()]; table.columns.len()], paths: vec![metric] }
        } else {
            table.columns.clone()
        };
        PrintedTable { columns, cells, legend }
    }
}

fn legend_entries(cell: &PrintedCell) -> impl Iterator<Item = LegendEntry> {
    let word = match cell.body {
        Body::Word(PENDING) => Some(LegendEntry::Pending),
        Body::Word(NOT_APPLICABLE) => Some(LegendEntry::NotApplicable),
        Body::Word(ABSENT) => Some(LegendEntry::NoCell),
        _ => None,
    };
    let marks = cell.marks.iter().map(|(mark, _)| LegendEntry::Marked(*mark));
    cell.n.map(|_| LegendEntry::Short).into_iter().chain(marks).chain(word)
}

/// The sweep's name and description.
pub(super) fn title(table: &Table) -> String {
    match &table.description {
        Some(description) => format!("{}: {}", table.title, one_line(description)),
        None => table.title.to_string(),
    }
}

/// The metric, its unit and epoch, and the number of seeds.
pub(super) fn subtitle(table: &Table) -> String {
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

/// The number of jobs by status, if the table is partial.
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

/// The selection rule, and one line for each table cell that had several candidates.
pub(super) fn selections(table: &Table) -> Option<(String, Vec<String>)> {
    let rule = table.selection.as_ref()?;
    let names = table.cell_names();
    let line = |cell: &CellSummary| {
        let selection = cell.selection.as_ref().filter(|selection| selection.candidates > 1)?;
        let name = names.get(&cell.id).map_or("", String::as_str);
        Some(format!("{name}: {}", selection.describe(&rule.over)))
    };
    let lines: Vec<String> = table.summaries().filter_map(line).collect();
    (!lines.is_empty()).then(|| (rule.describe(), lines))
}

/// `text` without line breaks, which would end a caption or a row.
pub(super) fn one_line(text: &str) -> String {
    display_text::line(&text.split_whitespace().collect::<Vec<_>>().join(" ")).to_string()
}
