//! What every printed format says of a comparison.

use super::{Compared, Comparison, Obstacle, Theirs, Verdict};
use crate::metric::Unit;
use crate::report::label::ABSENT;
use crate::report::listing::{
    self, Column, Footnotes, Listing, Remark, Section, interval, per_cent, probability, signed, unit,
};
use crate::report::precision::Precision;

pub(super) fn listing(comparison: &Comparison) -> Listing {
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
    Listing {
        label: format!("{}-beside-{}", comparison.title, comparison.reference.name),
        title: format!("{} beside {}: {}", comparison.title, comparison.reference.name, comparison.reference.title),
        facts: vec![
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
    Precision::of(comparison.metric.unit(), &ours.collect::<Vec<_>>())
}

fn row(comparison: &Comparison, cell: &Compared, precision: Precision, footnotes: &mut Footnotes) -> Vec<String> {
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
        cell.published.as_ref().map_or_else(absent, |theirs| published(comparison, theirs, precision)),
        cell.difference.map_or_else(absent, |difference| signed(difference, precision)),
        cell.interval.map_or_else(absent, |range| interval(range, precision)),
        cell.test.map_or_else(absent, |test| probability(test.p)),
        cell.p_holm.map_or_else(absent, probability),
    ];
    cell.labels.iter().cloned().chain(numbers).chain([verdict(cell, footnotes)]).collect()
}

/// As printed, where that is in the unit that ours are printed in.
fn published(comparison: &Comparison, theirs: &Theirs, precision: Precision) -> String {
    let same_unit = match comparison.metric.unit() {
        Unit::Share => comparison.divisor == 100.0,
        Unit::Plain => comparison.divisor == 1.0,
    };
    match theirs.std {
        _ if same_unit => theirs.printed.clone(),
        Some(std) => format!("{} ± {}", precision.print(theirs.mean), precision.print(std)),
        None => precision.print(theirs.mean),
    }
}

/// The verdict, or why there is none, with the numbers of the remarks on it.
fn verdict(cell: &Compared, footnotes: &mut Footnotes) -> String {
    let mut said = match (cell.verdict, &cell.obstacle) {
        (Verdict::Agree, _) => "agree".to_owned(),
        (Verdict::Differ, _) => "differ".to_owned(),
        (Verdict::DifferAlone, _) => "differ alone".to_owned(),
        (Verdict::NotCompared, Some(obstacle)) => words(obstacle).to_owned(),
        (Verdict::NotCompared, None) => ABSENT.to_owned(),
    };
    let list = |parts: Vec<String>| parts.join("; ");
    let because = match &cell.obstacle {
        Some(Obstacle::OtherConfiguration { differences }) => {
            Some(list(differences.iter().map(ToString::to_string).collect()))
        }
        Some(Obstacle::OtherSelection { published }) => Some(format!("published: {}", list(published.clone()))),
        _ => None,
    };
    let differences = (!cell.differences.is_empty())
        .then(|| format!("not as published: {}", list(cell.differences.iter().map(ToString::to_string).collect())));
    let doubt = cell.published.as_ref().and_then(|theirs| theirs.doubt.as_ref()).map(|doubt| format!("doubt: {doubt}"));
    for remark in because.into_iter().chain(differences).chain(doubt) {
        said = format!("{said} {}", footnotes.sign(remark));
    }
    said
}

fn words(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::NotPublished => "not published",
        Obstacle::OtherConfiguration { .. } => "other configuration",
        Obstacle::OtherSelection { .. } => "other metric or epoch",
        Obstacle::NoValue => "no value yet",
        Obstacle::Diverged => "a seed diverged",
        Obstacle::Incomplete { .. } => "incomplete",
        Obstacle::OneSeed => "one seed of ours",
        Obstacle::NotSaidHowMany => "published n unknown",
        Obstacle::OneRun => "one published run",
        Obstacle::NoStd => "no published std",
        Obstacle::NoSpread => "no spread to test with",
    }
}

fn notes(comparison: &Comparison, footnotes: Footnotes) -> Vec<Remark> {
    let counts = [
        (Verdict::Agree, "agree", "no difference is shown, which is no proof that there is none"),
        (Verdict::Differ, "differ", "also with Holm's correction"),
        (Verdict::DifferAlone, "differ alone", "by itself, and not with Holm's correction for the number of cells"),
        (Verdict::NotCompared, "not compared", "the last column says why"),
    ];
    let counted = counts.map(|(verdict, sign, meaning)| (comparison.count(verdict), sign, meaning));
    let counted = counted.into_iter().filter(|(count, ..)| *count > 0).map(|(count, sign, meaning)| {
        let cells = if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
        Remark { sign: sign.to_owned(), meaning: format!("{cells}: {meaning}") }
    });
    let counted_seeds = listing::counted(comparison.counted);
    let about = comparison.reference.source.iter().map(|source| format!("published in {source}"));
    let about = about.chain(comparison.reference.notes.iter().cloned());
    let about = about.map(|meaning| Remark { sign: String::new(), meaning });
    counted.chain(footnotes.into_remarks()).chain(counted_seeds).chain(about).collect()
}
