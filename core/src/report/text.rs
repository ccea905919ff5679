//! A table as aligned columns for a terminal.

use super::format::Emphasis;
use super::printed::{Body, PrintedCell, PrintedTable, progress, selections, subtitle, title};
use super::table::Table;
use std::ops::Range;
use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

pub(super) fn render(table: &Table, emphasis: Emphasis<'_>) -> String {
    let printed = PrintedTable::new(table);
    let mut lines = vec![title(table), subtitle(table)];
    lines.extend(progress(table));
    lines.push(String::new());
    lines.extend(grid(table, &printed, emphasis));
    if !printed.legend.is_empty() {
        lines.push(String::new());
    }
    let width = printed.legend.iter().map(|entry| entry.sign().width()).max().unwrap_or_default();
    lines
        .extend(printed.legend.iter().map(|entry| format!("{}{GAP}{}", padded(&entry.sign(), width), entry.meaning())));
    if let Some((rule, cells)) = selections(table) {
        lines.extend([String::new(), rule]);
        lines.extend(cells.iter().map(|cell| format!("{GAP}{cell}")));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The headers, a rule and the rows.
fn grid(table: &Table, printed: &PrintedTable, emphasis: Emphasis<'_>) -> Vec<String> {
    let columns: Vec<Vec<String>> = (0..printed.columns.len()).map(|column| contents(printed, column)).collect();
    let widths = widths(printed, &columns);
    let stubs = stub_widths(table);
    let stub = |text: &dyn Fn(usize) -> String| -> String {
        stubs.iter().enumerate().map(|(level, width)| padded(&text(level), *width) + GAP).collect()
    };

    let mut lines = Vec::new();
    let last = printed.columns.paths.len() - 1;
    for level in 0..=last {
        let spans = printed.columns.spans(level);
        let blank = stub(&|_| String::new());
        let names = if level == last { stub(&|level| table.rows.paths[level].clone()) } else { blank.clone() };
        let spanned =
            |range: &Range<usize>| widths[range.clone()].iter().sum::<usize>() + GAP.len() * (range.len() - 1);
        let headers = spans.iter().map(|(label, range)| padded(label, spanned(range)));
        lines.push(names + &headers.collect::<Vec<_>>().join(GAP));
        if level < last {
            let rules = spans.iter().map(|(_, range)| "─".repeat(spanned(range)));
            lines.push(blank + &rules.collect::<Vec<_>>().join(GAP));
        }
    }
    let whole = stubs.iter().chain(&widths).map(|width| width + GAP.len()).sum::<usize>();
    lines.push("─".repeat(whole.saturating_sub(GAP.len())));

    for (row, labels) in table.rows.labels.iter().enumerate() {
        // An outer label is printed once for all rows that share it.
        let label =
            |level: usize| if table.rows.starts_header(row, level) { labels[level].clone() } else { String::new() };
        let cells = printed.cells[row].iter().enumerate().map(|(column, cell)| {
            let text = &columns[column][row];
            let padding = " ".repeat(widths[column] - text.width());
            if cell.bold {
                format!("{}{text}{}{padding}", emphasis.start, emphasis.end)
            } else {
                text.clone() + &padding
            }
        });
        lines.push(stub(&label) + &cells.collect::<Vec<_>>().join(GAP));
    }
    lines
}

/// The cells of a column, with means and deviations aligned.
fn contents(printed: &PrintedTable, column: usize) -> Vec<String> {
    let cells = || printed.cells.iter().map(move |row| &row[column]);
    let widest = |of: fn(&PrintedCell) -> usize| cells().map(of).max().unwrap_or_default();
    let mean_width = widest(|cell| if let Body::Number { mean, .. } = &cell.body { mean.width() } else { 0 });
    let std_width = widest(|cell| match &cell.body {
        Body::Number { std: Some(std), .. } => std.width(),
        _ => 0,
    });
    let content = |cell: &PrintedCell| {
        let body = match &cell.body {
            Body::Number { mean, std: Some(std) } => format!("{mean:>mean_width$} ± {std:>std_width$}"),
            Body::Number { mean, std: None } => format!("{mean:>mean_width$}"),
            Body::Word(word) => (*word).to_owned(),
            Body::Empty => String::new(),
        };
        cell.with_marks(body)
    };
    cells().map(content).collect()
}

/// The width of each column: that of its widest cell or header. A header over several columns that is wider than they are widens the
/// last of them.
fn widths(printed: &PrintedTable, columns: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> =
        columns.iter().map(|cells| cells.iter().map(|cell| cell.width()).max().unwrap_or_default()).collect();
    for (label, range) in (0..printed.columns.paths.len()).rev().flat_map(|level| printed.columns.spans(level)) {
        let have = widths[range.clone()].iter().sum::<usize>() + GAP.len() * (range.len() - 1);
        widths[range.end - 1] += label.width().saturating_sub(have);
    }
    widths
}

/// The width of each level of row headers.
fn stub_widths(table: &Table) -> Vec<usize> {
    let level = |(level, path): (usize, &String)| {
        table.rows.labels.iter().map(|labels| labels[level].width()).chain([path.width()]).max().unwrap_or_default()
    };
    table.rows.paths.iter().enumerate().map(level).collect()
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
