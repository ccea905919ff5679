//! A document in GitHub's Markdown: one table per section.

use super::content::Document;
use crate::report::markdown::{escaped, line};

pub(super) fn render(document: &Document) -> String {
    let mut text = format!("**{}**", escaped(&document.title));
    text.extend(document.summary.iter().map(|line| format!("\\\n{}", escaped(line))));
    text += "\n\n";
    for (i, section) in document.sections.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        if let Some(heading) = &section.heading {
            text += &format!("*{}*\n\n", escaped(heading));
        }
        text += &line(document.columns.iter().map(|column| escaped(&column.name)));
        text += &line(document.columns.iter().map(|column| if column.is_number { "--:" } else { ":--" }.to_owned()));
        section.rows.iter().for_each(|row| text += &line(row.iter().map(|cell| escaped(cell))));
    }
    if !document.notes.is_empty() {
        text.push('\n');
    }
    for note in &document.notes {
        let colon = if note.sign.is_empty() { "" } else { ": " };
        text += &format!("- {}{colon}{}\n", escaped(&note.sign), escaped(&note.meaning));
    }
    text
}
