//! A GitHub table.

use super::label::ABSENT;
use super::shown::{Content, Page, Shown, choices, facts, progress, title};
use super::table::Table;

pub(super) fn render(table: &Table) -> String {
    let page = Page::of(table);
    let mut text = format!("**{}**\\\n{}\n\n", escaped(&title(table)), escaped(&facts(table)));
    if let Some(progress) = progress(table) {
        text += &format!("*{progress}*\n\n");
    }
    let levels = table.rows.paths.len();
    let header =
        table.rows.paths.iter().map(|path| escaped(path)).chain(page.columns.labels.iter().map(|labels| flat(labels)));
    text += &line(header);
    text += &line((0..levels + page.columns.len()).map(|i| if i < levels { ":--" } else { "--:" }.to_owned()));
    for (labels, cells) in table.rows.labels.iter().zip(&page.cells) {
        text += &line(labels.iter().map(|label| escaped(label)).chain(cells.iter().map(cell)));
    }
    if !page.legend.is_empty() {
        text.push('\n');
    }
    for note in &page.legend {
        text += &format!("- {}: {}\n", note.sign(), note.meaning());
    }
    if let Some((by, places)) = choices(table) {
        text += &format!("\n{}:\n\n", escaped(&by));
        places.iter().for_each(|place| text += &format!("- {}\n", escaped(place)));
    }
    text
}

/// The levels of a column's header in one: `uniform 0.2`.
fn flat(labels: &[String]) -> String {
    let said: Vec<_> = labels.iter().filter(|label| *label != ABSENT).map(|label| escaped(label)).collect();
    if said.is_empty() { ABSENT.to_owned() } else { said.join(" ") }
}

fn cell(shown: &Shown) -> String {
    let number = match &shown.content {
        Content::Number { mean, std: Some(std) } => format!("{mean} ± {std}"),
        Content::Number { mean, std: None } => mean.clone(),
        Content::Word(word) => (*word).to_owned(),
        Content::Nothing => String::new(),
    };
    shown.remarked(if shown.bold { format!("**{number}**") } else { number })
}

pub(super) fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// `text` with what Markdown reads as signs escaped; an underscore inside a word is none.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(sign) = rest.next() {
        let inside = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        if matches!(sign, '\\' | '|' | '*' | '`' | '<' | '>' | '[' | ']' | '~' | '&') || (sign == '_' && !inside) {
            escaped.push('\\');
        }
        escaped.push(sign);
        before = sign;
    }
    escaped
}
