//! A table in GitHub's Markdown.

use super::label::ABSENT;
use super::printed::{Body, PrintedCell, PrintedTable, progress, selections, subtitle, title};
use super::table::Table;

pub(super) fn render(table: &Table) -> String {
    let printed = PrintedTable::new(table);
    let mut text = format!("**{}**\\\n{}\n\n", escaped(&title(table)), escaped(&subtitle(table)));
    if let Some(progress) = progress(table) {
        text += &format!("*{progress}*\n\n");
    }
    let levels = table.rows.paths.len();
    let header = table
        .rows
        .paths
        .iter()
        .map(|path| escaped(path))
        .chain(printed.columns.labels.iter().map(|labels| flat(labels)));
    text += &line(header);
    text += &line((0..levels + printed.columns.len()).map(|i| if i < levels { ":--" } else { "--:" }.to_owned()));
    for (labels, cells) in table.rows.labels.iter().zip(&printed.cells) {
        text += &line(labels.iter().map(|label| escaped(label)).chain(cells.iter().map(cell)));
    }
    if !printed.legend.is_empty() {
        text.push('\n');
    }
    for entry in &printed.legend {
        text += &format!("- {}: {}\n", entry.sign(), entry.meaning());
    }
    if let Some((rule, cells)) = selections(table) {
        text += &format!("\n{}:\n\n", escaped(&rule));
        cells.iter().for_each(|cell| text += &format!("- {}\n", escaped(cell)));
    }
    text
}

/// All levels of a column header joined: `uniform 0.2`.
fn flat(labels: &[String]) -> String {
    let present: Vec<_> = labels.iter().filter(|label| *label != ABSENT).map(|label| escaped(label)).collect();
    if present.is_empty() { ABSENT.to_owned() } else { present.join(" ") }
}

fn cell(cell: &PrintedCell) -> String {
    let number = match &cell.body {
        Body::Number { mean, std: Some(std) } => format!("{mean} ± {std}"),
        Body::Number { mean, std: None } => mean.clone(),
        Body::Word(word) => (*word).to_owned(),
        Body::Empty => String::new(),
    };
    cell.with_marks(if cell.bold { format!("**{number}**") } else { number })
}

/// One row of a table.
pub(super) fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// `text` with Markdown's special characters escaped. An underscore inside a word is not special.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped_where_they_are_special() {
        assert_eq!(escaped("a|b*c`d"), r"a\|b\*c\`d");
        assert_eq!(escaped("test_accuracy _x_"), r"test_accuracy \_x\_");
    }
}
