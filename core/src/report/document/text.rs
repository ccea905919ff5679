//! A document as aligned columns for a terminal.

use super::content::Document;
use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

pub(super) fn render(document: &Document) -> String {
    let widths = widths(document);
    let line = |cells: &[String]| -> String {
        let cells = cells.iter().zip(&document.columns).zip(&widths).map(|((text, column), width)| {
            let padding = " ".repeat(width - text.width());
            if column.is_number { padding + text } else { text.clone() + &padding }
        });
        cells.collect::<Vec<_>>().join(GAP)
    };
    let names: Vec<String> = document.columns.iter().map(|column| column.name.clone()).collect();
    let whole = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    let mut lines = vec![document.title.clone()];
    lines.extend(document.summary.clone());
    lines.extend([String::new(), line(&names), "─".repeat(whole)]);
    for (i, section) in document.sections.iter().enumerate() {
        if let Some(heading) = &section.heading {
            lines.extend((i > 0).then(String::new));
            lines.push(heading.clone());
        }
        lines.extend(section.rows.iter().map(|row| line(row)));
    }
    if !document.notes.is_empty() {
        lines.push(String::new());
    }
    let signs = document.notes.iter().map(|note| note.sign.width()).max().unwrap_or_default();
    for note in &document.notes {
        let padding = " ".repeat(signs - note.sign.width());
        lines.push(match note.sign.as_str() {
            "" => note.meaning.clone(),
            sign => format!("{sign}{padding}{GAP}{}", note.meaning),
        });
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn widths(document: &Document) -> Vec<usize> {
    let rows = || document.sections.iter().flat_map(|section| &section.rows);
    let width = |(i, name): (usize, &str)| rows().map(|row| row[i].width()).chain([name.width()]).max();
    let names = document.columns.iter().map(|column| column.name.as_str()).enumerate();
    names.map(|column| width(column).unwrap_or_default()).collect()
}
