//! A `table` environment with booktabs, to be pasted into a paper as it stands.

use super::label::ABSENT;
use super::shown::{Content, Mark, Note, Page, Shown, choices, one_line, progress};
use super::table::Table;
use crate::metric::{EpochSelection, Unit};
use crate::sweep_file::Std;
use std::ops::Range;

/// The most columns that fit a line of text as they are.
const NARROW: usize = 3;

pub(super) fn render(table: &Table) -> String {
    let page = Page::of(table);
    // A table of many columns shrinks to the line where it is wider; a narrow one keeps the size of the text around it.
    let wide = page.columns.len() > NARROW;
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
        "c".repeat(page.columns.len())
    ));
    lines.push("    \\toprule".to_owned());
    lines.extend(headers(table, &page).into_iter().map(|line| format!("    {line}")));
    lines.push("    \\midrule".to_owned());
    lines.extend(rows(table, &page).into_iter().map(|line| format!("    {line}")));
    lines.push("    \\bottomrule".to_owned());
    lines.push(if wide { "  \\end{tabular}}" } else { "  \\end{tabular}" }.to_owned());
    let notes = notes(table, &page);
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

/// A name of ours in words.
fn words(name: &str) -> String {
    escaped(&name.replace(['_', '.', '-'], " "))
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// A line for each level of the columns' headers, with a rule under what spans several columns.
fn headers(table: &Table, page: &Page) -> Vec<String> {
    let stubs = table.rows.paths.len();
    let last = page.columns.paths.len() - 1;
    let mut lines = Vec::new();
    for level in 0..=last {
        let spans = page.columns.spans(level);
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

fn rows(table: &Table, page: &Page) -> Vec<String> {
    let mut lines = Vec::new();
    for (i, (labels, cells)) in table.rows.labels.iter().zip(&page.cells).enumerate() {
        if i > 0 && labels.len() > 1 && table.rows.begins(i, 0) {
            lines.push("\\addlinespace".to_owned());
        }
        // An outer label is said once for all the rows that share it.
        let stub = (0..labels.len())
            .map(|level| if table.rows.begins(i, level) { escaped(&labels[level]) } else { String::new() });
        lines.push(row(stub.chain(cells.iter().map(cell))));
    }
    lines
}

pub(super) fn row(cells: impl Iterator<Item = String>) -> String {
    format!("{} \\\\", cells.collect::<Vec<_>>().join(" & "))
}

fn cell(shown: &Shown) -> String {
    let body = match &shown.content {
        Content::Number { mean, std } => {
            let number = match std {
                Some(std) => format!("{mean} \\pm {std}"),
                None => mean.clone(),
            };
            if shown.bold { format!("$\\mathbf{{{number}}}$") } else { format!("${number}$") }
        }
        Content::Word(word) => escaped(word),
        Content::Nothing => String::new(),
    };
    let n = shown.n.map(|n| format!(" ($n={n}$)")).unwrap_or_default();
    let marks: Vec<_> = shown.marks.iter().map(|(mark, count)| format!("{}{count}", sign(*mark))).collect();
    let marks = if marks.is_empty() { String::new() } else { format!("$^{{{}}}$", marks.join("\\,")) };
    body + &n + &marks
}

fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Failed => "\\dagger",
        Mark::Diverged => "\\ddagger",
        Mark::Counted => "\\parallel",
        Mark::Cancelled => "\\S",
        Mark::Absent => "\\P",
    }
}

/// What stands below the table: how far the sweep has come, the signs that occur, and what was chosen.
fn notes(table: &Table, page: &Page) -> Vec<String> {
    let explained = |note: Note| match note {
        Note::Short => "($n=k$)".to_owned(),
        Note::Marked(mark) => format!("$^{{{} k}}$", sign(mark)),
        Note::Pending | Note::NotApplicable | Note::NoCell => escaped(&note.sign()),
    };
    let word = |word: &str| if word == "k" { "$k$".to_owned() } else { escaped(word) };
    let meaning = |note: Note| note.meaning().split(' ').map(word).collect::<Vec<_>>().join(" ");
    let progress = progress(table).map(|progress| format!("{}.", capital(&escaped(&progress))));
    let legend = page.legend.iter().map(|note| format!("{}: {}.", explained(*note), meaning(*note)));
    let choices = choices(table).map(|(by, places)| {
        let places: Vec<String> = places.iter().map(|place| escaped(place)).collect();
        format!("{}: {}.", capital(&escaped(&by)), places.join("; "))
    });
    progress.into_iter().chain(legend).chain(choices).collect()
}

/// `text` with what LaTeX reads as commands escaped.
pub(super) fn escaped(text: &str) -> String {
    if text == ABSENT {
        return "--".to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |escaped, sign| match sign {
        '_' | '%' | '&' | '#' | '$' | '{' | '}' => escaped + "\\" + sign.encode_utf8(&mut [0; 4]),
        // At the start of a row these two would be the line break's own arguments.
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
