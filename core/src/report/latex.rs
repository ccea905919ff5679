//! A table as a LaTeX `table` environment with booktabs, ready for a paper.

use super::label::ABSENT;
use super::printed::{Body, LegendEntry, Mark, PrintedCell, PrintedTable, one_line, progress, selections};
use super::table::Table;
use crate::metric::{EpochSelection, Unit};
use crate::sweep_file::Std;
use std::ops::Range;

/// A table with more columns may be wider than the text, so it is scaled down.
const MAX_UNSCALED_COLUMNS: usize = 3;

pub(super) fn render(table: &Table) -> String {
    let printed = PrintedTable::new(table);
    let wide = printed.columns.len() > MAX_UNSCALED_COLUMNS;
    let packages = if wide { "booktabs,graphicx" } else { "booktabs" };
    let mut lines = vec![format!("% needs \\usepackage{{{packages}}}")];
    lines.extend(progress(table).map(|progress| format!("% {progress}")));
    lines.push("\\begin{table}[t]".to_owned());
    lines.push("  \\centering".to_owned());
    lines.push("  \\setlength{\\belowcaptionskip}{6pt}".to_owned());
    lines.push(format!("  \\caption{{{}}}", caption(table)));
    lines.push(format!("  \\label{{tab:{}}}", table.title));
    if wide {
        lines.push("  \\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%".to_owned());
    }
    lines.push(format!(
        "  \\begin{{tabular}}{{{}{}}}",
        "l".repeat(table.rows.paths.len()),
        "c".repeat(printed.columns.len())
    ));
    lines.push("    \\toprule".to_owned());
    lines.extend(headers(table, &printed).into_iter().map(|line| format!("    {line}")));
    lines.push("    \\midrule".to_owned());
    lines.extend(rows(table, &printed).into_iter().map(|line| format!("    {line}")));
    lines.push("    \\bottomrule".to_owned());
    lines.push(if wide { "  \\end{tabular}}" } else { "  \\end{tabular}" }.to_owned());
    let notes = notes(table, &printed);
    if !notes.is_empty() {
        lines.push(format!("  \\par\\smallskip\n  {{\\footnotesize {}\\par}}", notes.join("\n  ")));
    }
    lines.push("\\end{table}\n".to_owned());
    lines.join("\n")
}

fn caption(table: &Table) -> String {
    let name = table.description.clone().unwrap_or_else(|| table.title.to_string());
    let name = one_line(&name);
    let stop = if name.ends_with(['.', '!', '?']) { "" } else { "." };
    let metric = words(table.metric.name());
    let unit = match table.metric.unit() {
        Unit::Share => " (\\%)",
        Unit::Plain => "",
    };
    let at = match table.at {
        EpochSelection::Final => "in the last epoch".to_owned(),
        EpochSelection::Best => "in the epoch where it is best".to_owned(),
        EpochSelection::BestValidation => "in the epoch of the highest validation accuracy".to_owned(),
        EpochSelection::BestValidationLoss => "in the epoch of the lowest validation loss".to_owned(),
        EpochSelection::LastMean(epochs) if epochs.get() == 1 => "in the last epoch".to_owned(),
        EpochSelection::LastMean(epochs) => format!("as the mean over the last {epochs} epochs"),
    };
    let std = match table.std {
        Std::Sample => "sample",
        Std::Population => "population",
    };
    let numbers = match table.seeds.len() {
        1 => "one seed".to_owned(),
        seeds => format!("mean~$\\pm$ {std} standard deviation over {seeds} seeds"),
    };
    let bold = if table.summaries().any(|cell| cell.bold) { "; the best in bold" } else { "" };
    let by = match table.columns.paths.iter().map(|path| words(path)).collect::<Vec<_>>() {
        paths if paths.is_empty() => String::new(),
        paths => format!(" by {}", paths.join(" and ")),
    };
    format!("{}{stop} {}{unit}{by} {at}: {numbers}{bold}.", escaped(&name), capital(&metric))
}

/// A metric or a path as words.
fn words(name: &str) -> String {
    escaped(&name.replace(['_', '.', '-'], " "))
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// One line per level of column headers, with a rule below each outer level.
fn headers(table: &Table, printed: &PrintedTable) -> Vec<String> {
    let stubs = table.rows.paths.len();
    let last = printed.columns.paths.len() - 1;
    let mut lines = Vec::new();
    for level in 0..=last {
        let spans = printed.columns.spans(level);
        let stub = table.rows.paths.iter().map(|path| if level == last { words(path) } else { String::new() });
        let labels = spans.iter().map(|(label, range)| match range.len() {
            1 => escaped(label),
            columns => format!("\\multicolumn{{{columns}}}{{c}}{{{}}}", escaped(label)),
        });
        lines.push(row(stub.chain(labels)));
        if level < last {
            let rule =
                |range: &Range<usize>| format!("\\cmidrule(lr){{{}-{}}}", stubs + range.start + 1, stubs + range.end);
            lines.push(spans.iter().map(|(_, range)| rule(range)).collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

fn rows(table: &Table, printed: &PrintedTable) -> Vec<String> {
    let mut lines = Vec::new();
    for (i, (labels, cells)) in table.rows.labels.iter().zip(&printed.cells).enumerate() {
        if i > 0 && labels.len() > 1 && table.rows.starts_header(i, 0) {
            lines.push("\\addlinespace".to_owned());
        }
        // An outer label is printed once for all rows that share it.
        let stub = (0..labels.len())
            .map(|level| if table.rows.starts_header(i, level) { escaped(&labels[level]) } else { String::new() });
        lines.push(row(stub.chain(cells.iter().map(cell))));
    }
    lines
}

/// One row of a tabular.
pub(super) fn row(cells: impl Iterator<Item = String>) -> String {
    format!("{} \\\\", cells.collect::<Vec<_>>().join(" & "))
}

fn cell(cell: &PrintedCell) -> String {
    let body = match &cell.body {
        Body::Number { mean, std } => {
            let number = match std {
                Some(std) => format!("{mean} \\pm {std}"),
                None => mean.clone(),
            };
            if cell.bold { format!("$\\mathbf{{{number}}}$") } else { format!("${number}$") }
        }
        Body::Word(word) => escaped(word),
        Body::Empty => String::new(),
    };
    let n = cell.n.map(|n| format!(" ($n={n}$)")).unwrap_or_default();
    let marks: Vec<_> = cell.marks.iter().map(|(mark, count)| format!("{}{count}", mark_command(*mark))).collect();
    let marks = if marks.is_empty() { String::new() } else { format!("$^{{{}}}$", marks.join("\\,")) };
    body + &n + &marks
}

fn mark_command(mark: Mark) -> &'static str {
    match mark {
        Mark::Failed => "\\dagger",
        Mark::Diverged => "\\ddagger",
        Mark::Counted => "\\parallel",
        Mark::Cancelled => "\\S",
        Mark::Absent => "\\P",
    }
}

/// The notes below the table: progress, legend and selected hyper-parameters.
fn notes(table: &Table, printed: &PrintedTable) -> Vec<String> {
    let sign = |entry: LegendEntry| match entry {
        LegendEntry::Short => "($n=k$)".to_owned(),
        LegendEntry::Marked(mark) => format!("$^{{{} k}}$", mark_command(mark)),
        LegendEntry::Pending | LegendEntry::NotApplicable | LegendEntry::NoCell => escaped(&entry.sign()),
    };
    let word = |word: &str| if word == "k" { "$k$".to_owned() } else { escaped(word) };
    let meaning = |entry: LegendEntry| entry.meaning().split(' ').map(word).collect::<Vec<_>>().join(" ");
    let progress = progress(table).map(|progress| format!("{}.", capital(&escaped(&progress))));
    let legend = printed.legend.iter().map(|entry| format!("{}: {}.", sign(*entry), meaning(*entry)));
    let selections = selections(table).map(|(rule, cells)| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("{}: {}.", capital(&escaped(&rule)), cells.join("; "))
    });
    progress.into_iter().chain(legend).chain(selections).collect()
}

/// `text` with LaTeX's special characters escaped.
pub(super) fn escaped(text: &str) -> String {
    if text == ABSENT {
        return "--".to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |escaped, sign| match sign {
        '_' | '%' | '&' | '#' | '$' | '{' | '}' => escaped + "\\" + sign.encode_utf8(&mut [0; 4]),
        // At the start of a row, the line break before would read these as its arguments.
        '[' | '*' => escaped + "{" + sign.encode_utf8(&mut [0; 4]) + "}",
        '\\' => escaped + "\\textbackslash{}",
        '~' => escaped + "\\textasciitilde{}",
        '^' => escaped + "\\textasciicircum{}",
        '<' => escaped + "\\textless{}",
        '>' => escaped + "\\textgreater{}",
        '|' => escaped + "\\textbar{}",
        '…' => escaped + "\\ldots{}",
        '–' => escaped + "--",
        '→' => escaped + "$\\to$",
        '±' => escaped + "$\\pm$",
        _ => escaped + sign.encode_utf8(&mut [0; 4]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        let escaped_text = escaped(r"a_b%c&d#e$f{g}h~i^j\k<l>m|n");
        let expected = concat!(
            r"a\_b\%c\&d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k",
            r"\textless{}l\textgreater{}m\textbar{}n"
        );
        assert_eq!(escaped_text, expected);
        assert_eq!(escaped("–"), "--");
        assert_eq!(escaped("[flip]*"), "{[}flip]{*}", "not arguments of the line break before");
    }
}
