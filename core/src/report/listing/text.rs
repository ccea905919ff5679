//! Aligned columns for a terminal.

use super::Listing;
use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

pub(super) fn render(listing: &Listing) -> String {
    let widths = widths(listing);
    let line = |cells: &[String]| -> String {
        let cells = cells.iter().zip(&listing.columns).zip(&widths).map(|((text, column), width)| {
            let padding = " ".repeat(width - text.width());
            if column.number { padding + text } else { text.clone() + &padding }
        });
        cells.collect::<Vec<_>>().join(GAP)
    };
    let names: Vec<String> = listing.columns.iter().map(|column| column.name.clone()).collect();
    let whole = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    let mut lines = vec![listing.title.clone()];
    lines.extend(listing.facts.clone());
    lines.extend([String::new(), line(&names), "─".repeat(whole)]);
    for (i, section) in listing.sections.iter().enumerate() {
        if let Some(heading) = &section.heading {
            lines.extend((i > 0).then(String::new));
            lines.push(heading.clone());
        }
        lines.extend(section.rows.iter().map(|row| line(row)));
    }
    if !listing.notes.is_empty() {
        lines.push(String::new());
    }
    let signs = listing.notes.iter().map(|note| note.sign.width()).max().unwrap_or_default();
    for note in &listing.notes {
        let padding = " ".repeat(signs - note.sign.width());
        lines.push(match note.sign.as_str() {
            "" => note.meaning.clone(),
            sign => format!("{sign}{padding}{GAP}{}", note.meaning),
        });
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn widths(listing: &Listing) -> Vec<usize> {
    let rows = || listing.sections.iter().flat_map(|section| &section.rows);
    let width = |(i, name): (usize, &str)| rows().map(|row| row[i].width()).chain([name.width()]).max();
    let names = listing.columns.iter().map(|column| column.name.as_str()).enumerate();
    names.map(|column| width(column).unwrap_or_default()).collect()
}
