//! Aligned columns for a terminal.

use super::Emphasis;
use super::shown::{Content, Page, Shown, choices, facts, progress, title};
use super::table::Table;
use std::ops::Range;
use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

pub(super) fn render(table: &Table, emphasis: Emphasis<'_>) -> String {
    let page = Page::of(table);
    let mut lines = vec![title(table), facts(table)];
    lines.extend(progress(table));
    lines.push(String::new());
    lines.extend(grid(table, &page, emphasis));
    if !page.legend.is_empty() {
        lines.push(String::new());
    }
    let width = page.legend.iter().map(|note| note.sign().width()).max().unwrap_or_default();
    lines.extend(page.legend.iter().map(|note| format!("{}{GAP}{}", padded(&note.sign(), width), note.meaning())));
    if let Some((by, places)) = choices(table) {
        lines.extend([String::new(), by]);
        lines.extend(places.iter().map(|place| format!("{GAP}{place}")));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Headers, a rule and the rows.
fn grid(table: &Table, page: &Page, emphasis: Emphasis<'_>) -> Vec<String> {
    let columns: Vec<Vec<String>> = (0..page.columns.len()).map(|column| contents(page, column)).collect();
    let widths = widths(page, &columns);
    let stubs = stub_widths(table);
    let stub = |text: &dyn Fn(usize) -> String| -> String {
        stubs.iter().enumerate().map(|(level, width)| padded(&text(level), *width) + GAP).collect()
    };

    let mut lines = Vec::new();
    let last = page.columns.paths.len() - 1;
    for level in 0..=last {
        let spans = page.columns.spans(level);
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
        // An outer label is said once for all the rows that share it.
        let label = |level: usize| if table.rows.begins(row, level) { labels[level].clone() } else { String::new() };
        let cells = page.cells[row].iter().enumerate().map(|(column, shown)| {
            let text = &columns[column][row];
            let padding = " ".repeat(widths[column] - text.width());
            if shown.bold {
                format!("{}{text}{}{padding}", emphasis.start, emphasis.end)
            } else {
                text.clone() + &padding
            }
        });
        lines.push(stub(&label) + &cells.collect::<Vec<_>>().join(GAP));
    }
    lines
}

/// The cells of a column, with their means and deviations under one another.
fn contents(page: &Page, column: usize) -> Vec<String> {
    let cells = || page.cells.iter().map(move |row| &row[column]);
    let widest = |of: fn(&Shown) -> usize| cells().map(of).max().unwrap_or_default();
    let mean_width = widest(|shown| if let Content::Number { mean, .. } = &shown.content { mean.width() } else { 0 });
    let std_width = widest(|shown| match &shown.content {
        Content::Number { std: Some(std), .. } => std.width(),
        _ => 0,
    });
    let content = |shown: &Shown| {
        let body = match &shown.content {
            Content::Number { mean, std: Some(std) } => format!("{mean:>mean_width$} ± {std:>std_width$}"),
            Content::Number { mean, std: None } => format!("{mean:>mean_width$}"),
            Content::Word(word) => (*word).to_owned(),
            Content::Nothing => String::new(),
        };
        shown.remarked(body)
    };
    cells().map(content).collect()
}

/// The width of each column: its widest cell or header; where a header over several is wider than they, the last gives way.
fn widths(page: &Page, columns: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> =
        columns.iter().map(|cells| cells.iter().map(|cell| cell.width()).max().unwrap_or_default()).collect();
    for (label, range) in (0..page.columns.paths.len()).rev().flat_map(|level| page.columns.spans(level)) {
        let have = widths[range.clone()].iter().sum::<usize>() + GAP.len() * (range.len() - 1);
        widths[range.end - 1] += label.width().saturating_sub(have);
    }
    widths
}

/// The width of each level of the rows' headers.
fn stub_widths(table: &Table) -> Vec<usize> {
    let level = |(level, path): (usize, &String)| {
        table.rows.labels.iter().map(|labels| labels[level].width()).chain([path.width()]).max().unwrap_or_default()
    };
    table.rows.paths.iter().enumerate().map(level).collect()
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
