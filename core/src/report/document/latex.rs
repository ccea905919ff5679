//! A document as a LaTeX `table` environment with booktabs.

use super::content::Document;
use crate::report::latex::{escaped, row};

pub(super) fn render(document: &Document) -> String {
    let columns: String = document.columns.iter().map(|column| if column.is_number { 'r' } else { 'l' }).collect();
    let mut lines = vec!["% needs \\usepackage{booktabs,graphicx}".to_owned()];
    lines.extend(["\\begin{table}[t]", "  \\centering", "  \\setlength{\\belowcaptionskip}{6pt}"].map(str::to_owned));
    let sentences = [&document.title].into_iter().chain(&document.summary).map(|text| sentence(text));
    lines.push(format!("  \\caption{{{}}}", sentences.collect::<Vec<_>>().join(" ")));
    lines.push(format!("  \\label{{tab:{}}}", document.label));
    lines.push("  \\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%".to_owned());
    lines.push(format!("  \\begin{{tabular}}{{{columns}}}"));
    lines.push("    \\toprule".to_owned());
    lines.push(format!("    {}", row(document.columns.iter().map(|column| escaped(&column.name)))));
    lines.push("    \\midrule".to_owned());
    for (i, section) in document.sections.iter().enumerate() {
        if let Some(heading) = &section.heading {
            lines.extend((i > 0).then(|| "    \\addlinespace".to_owned()));
            let width = document.columns.len();
            lines.push(format!("    \\multicolumn{{{width}}}{{l}}{{\\emph{{{}}}}} \\\\", escaped(heading)));
        }
        for cells in &section.rows {
            let cells = cells.iter().zip(&document.columns);
            lines.push(format!("    {}", row(cells.map(|(text, column)| cell(text, column.is_number)))));
        }
    }
    lines.push("    \\bottomrule".to_owned());
    lines.push("  \\end{tabular}}".to_owned());
    if !document.notes.is_empty() {
        let remark = |sign: &str, meaning: &str| match sign {
            "" => sentence(meaning),
            sign => format!("{}: {}", escaped(sign), sentence(meaning)),
        };
        let notes: Vec<_> = document.notes.iter().map(|note| remark(&note.sign, &note.meaning)).collect();
        lines.push(format!("  \\par\\smallskip\n  {{\\footnotesize {}\\par}}", notes.join("\n  ")));
    }
    lines.push("\\end{table}\n".to_owned());
    lines.join("\n")
}

/// A number in math mode, so that minus signs are printed as such; words are escaped.
fn cell(text: &str, number: bool) -> String {
    if number && text.starts_with(|first: char| first.is_ascii_digit() || "+-<[".contains(first)) {
        format!("${}$", text.replace('±', "\\pm"))
    } else {
        escaped(text)
    }
}

/// Adds a full stop. The first letter stays as it is, since many sentences begin with a name.
fn sentence(text: &str) -> String {
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    escaped(text) + stop
}
