//! A comparison as a document.

use super::matching::Obstacle;
use super::model::{ComparedCell, Comparison, PublishedValue, Verdict};
use crate::metric::Unit;
use crate::report::document::{
    Column, Document, Footnotes, Note, Section, counted_divergences, interval, p_value, per_cent, signed, unit,
};
use crate::report::label::ABSENT;
use crate::report::precision::Precision;

pub(super) fn document(comparison: &Comparison) -> Document {
    let mut footnotes = Footnotes::default();
    let precision = precision(comparison);
    let rows = comparison.cells.iter().map(|cell| row(comparison, cell, precision, &mut footnotes)).collect();
    let (level, confidence) = (per_cent(comparison.alpha), per_cent(1.0 - comparison.alpha));
    let labels = comparison.paths.iter().map(Column::text);
    let numbers =
        ["ours", "published", "difference", &format!("{confidence} % interval"), "p", "p (Holm)"].map(Column::number);
    let seeds = match comparison.seeds {
        1 => "one seed".to_owned(),
        seeds => format!("mean ± sample std over {seeds} seeds"),
    };
    let tested = comparison.cells.iter().filter(|cell| cell.test.is_some()).count();
    let tests = match tested {
        1 => "one cell".to_owned(),
        cells => format!("{cells} cells"),
    };
    Document {
        label: format!("{}-beside-{}", comparison.title, comparison.reference.name),
        title: format!("{} beside {}: {}", comparison.title, comparison.reference.name, comparison.reference.title),
        summary: vec![
            format!("{}{} at {}: ours {seeds}", comparison.metric, unit(comparison.metric.unit()), comparison.at),
            format!("Welch's t-test of the difference at {level} %, with Holm's correction over {tests}"),
        ],
        columns: labels.chain(numbers).chain([Column::text("verdict")]).collect(),
        sections: vec![Section { heading: None, rows }],
        notes: notes(comparison, footnotes),
    }
}

fn precision(comparison: &Comparison) -> Precision {
    let ours = comparison.cells.iter().filter_map(|cell| Some((cell.ours.mean?, cell.ours.std)));
    Precision::of(comparison.metric.unit(), comparison.decimals, &ours.collect::<Vec<_>>())
}

fn row(comparison: &Comparison, cell: &ComparedCell, precision: Precision, footnotes: &mut Footnotes) -> Vec<String> {
    let absent = || ABSENT.to_owned();
    let ours = match (cell.ours.mean, cell.ours.std) {
        (Some(mean), Some(std)) => format!("{} ± {}", precision.print(mean), precision.print(std)),
        (Some(mean), None) => precision.print(mean),
        (None, _) if cell.ours.diverged => "diverged".to_owned(),
        (None, _) => "…".to_owned(),
    };
    let short = cell.ours.mean.is_some() && cell.ours.n < cell.ours.asked;
    let ours = if short { format!("{ours} (n={})", cell.ours.n) } else { ours };
    let numbers = [
        ours,
        cell.published.as_ref().map_or_else(absent, |value| published(comparison, value, precision)),
        cell.difference.map_or_else(absent, |difference| signed(difference, precision)),
        cell.interval.map_or_else(absent, |range| interval(range, precision)),
        cell.test.map_or_else(absent, |test| p_value(test.p)),
        cell.p_holm.map_or_else(absent, p_value),
    ];
    cell.labels.iter().cloned().chain(numbers).chain([verdict(cell, footnotes)]).collect()
}

/// The published value: as printed if its unit is that of this document, otherwise converted.
fn published(comparison: &Comparison, value: &PublishedValue, precision: Precision) -> String {
    let same_unit = match comparison.metric.unit() {
        Unit::Share => comparison.divisor == 100.0,
        Unit::Plain => comparison.divisor == 1.0,
    };
    match value.std {
        _ if same_unit => value.printed.clone(),
        Some(std) => format!("{} ± {}", precision.print(value.mean), precision.print(std)),
        None => precision.print(value.mean),
    }
}

/// The verdict, or the reason why there is none, with the signs of its footnotes.
fn verdict(cell: &ComparedCell, footnotes: &mut Footnotes) -> String {
    let mut text = match (cell.verdict, &cell.obstacle) {
        (Verdict::Agree, _) => "agree".to_owned(),
        (Verdict::Differ, _) => "differ".to_owned(),
        (Verdict::DifferAlone, _) => "differ alone".to_owned(),
        (Verdict::NotCompared, Some(obstacle)) => reason(obstacle).to_owned(),
        (Verdict::NotCompared, None) => ABSENT.to_owned(),
    };
    let list = |parts: Vec<String>| parts.join("; ");
    let details = match &cell.obstacle {
        Some(Obstacle::OtherConfiguration { differences }) => {
            Some(list(differences.iter().map(ToString::to_string).collect()))
        }
        Some(Obstacle::OtherSelection { published }) => Some(format!("published: {}", list(published.clone()))),
        _ => None,
    };
    let differences = (!cell.differences.is_empty())
        .then(|| format!("not as published: {}", list(cell.differences.iter().map(ToString::to_string).collect())));
    let doubt = cell.published.as_ref().and_then(|value| value.doubt.as_ref()).map(|doubt| format!("doubt: {doubt}"));
    for remark in details.into_iter().chain(differences).chain(doubt) {
        text = format!("{text} {}", footnotes.sign(remark));
    }
    text
}

fn reason(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::NotPublished => "not published",
        Obstacle::OtherConfiguration { .. } => "other configuration",
        Obstacle::OtherSelection { .. } => "other metric or epoch",
        Obstacle::NoValue => "no value yet",
        Obstacle::Diverged => "a seed diverged",
        Obstacle::Incomplete { .. } => "incomplete",
        Obstacle::OneSeed => "one seed of ours",
        Obstacle::UnknownRuns => "published n unknown",
        Obstacle::OneRun => "one published run",
        Obstacle::NoStd => "no published std",
        Obstacle::NoSpread => "no spread to test with",
    }
}

fn notes(comparison: &Comparison, footnotes: Footnotes) -> Vec<Note> {
    let counts = [
        (Verdict::Agree, "agree", "no difference is shown, which is no proof that there is none"),
        (Verdict::Differ, "differ", "also with Holm's correction"),
        (Verdict::DifferAlone, "differ alone", "by itself, and not with Holm's correction for the number of cells"),
        (Verdict::NotCompared, "not compared", "the last column says why"),
    ];
    let counted = counts.map(|(verdict, sign, meaning)| (comparison.count(verdict), sign, meaning));
    let counted = counted.into_iter().filter(|(count, ..)| *count > 0).map(|(count, sign, meaning)| {
        let cells = if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
        Note { sign: sign.to_owned(), meaning: format!("{cells}: {meaning}") }
    });
    let divergences = counted_divergences(comparison.counted);
    let about = comparison.reference.source.iter().map(|source| format!("published in {source}"));
    let about = about.chain(comparison.reference.notes.iter().cloned());
    let about = about.map(Note::remark);
    counted.chain(footnotes.into_notes()).chain(divergences).chain(about).collect()
}
