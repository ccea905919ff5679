//! A GitHub table for every section.

use super::Listing;
use crate::report::markdown::{escaped, line};

pub(super) fn render(listing: &Listing) -> String {
    let mut text = format!("**{}**", escaped(&listing.title));
    text.extend(listing.facts.iter().map(|fact| format!("\\\n{}", escaped(fact))));
    text += "\n\n";
    for (i, section) in listing.sections.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        if let Some(heading) = &section.heading {
            text += &format!("*{}*\n\n", escaped(heading));
        }
        text += &line(listing.columns.iter().map(|column| escaped(&column.name)));
        text += &line(listing.columns.iter().map(|column| if column.number { "--:" } else { ":--" }.to_owned()));
        section.rows.iter().for_each(|row| text += &line(row.iter().map(|cell| escaped(cell))));
    }
    if !listing.notes.is_empty() {
        text.push('\n');
    }
    for note in &listing.notes {
        let colon = if note.sign.is_empty() { "" } else { ": " };
        text += &format!("- {}{colon}{}\n", escaped(&note.sign), escaped(&note.meaning));
    }
    text
}
