//! The pairs of losses as a document.

use super::model::{Pair, Problem, Significance, Verdict};
use crate::report::document::{
    Column, Document, Footnotes, Note, Section, counted_divergences, interval, p_value, per_cent, signed, unit,
};
use crate::report::inference::smallest_p;
use crate::report::label::ABSENT;
use crate::report::precision::Precision;

pub(super) fn document(significance: &Significance) -> Document {
    let mut footnotes = Footnotes::default();
    let deviations = significance.pairs().filter_map(|pair| {
        let difference = pair.difference?;
        Some((difference, pair.interval.map(|interval| (interval.high - interval.low) / 4.0)))
    });
    let precision = Precision::of(significance.metric.unit(), significance.decimals, &deviations.collect::<Vec<_>>());
    let (level, confidence) = (per_cent(significance.alpha), per_cent(1.0 - significance.alpha));
    let names = ["n", "difference", &format!("{confidence} % interval"), "p (t)", "Holm", "p (ranks)", "Holm"];
    let with_pairs = significance.problems.iter().filter(|problem| !problem.pairs.is_empty());
    let sections = with_pairs.map(|problem| Section {
        heading: (!problem.labels.is_empty()).then(|| heading(significance, problem)),
        rows: problem.pairs.iter().map(|pair| row(pair, precision, &mut footnotes)).collect(),
    });
    let sections: Vec<_> = sections.collect();
    Document {
        label: format!("{}-significance", significance.title),
        title: format!("{}: losses in pairs", significance.title),
        summary: vec![
            format!(
                "{}{} at {}: mean difference over shared seeds, first loss less second",
                significance.metric,
                unit(significance.metric.unit()),
                significance.at
            ),
            format!("verdict: paired t-test at {level} %, with Holm's correction over the pairs of each problem"),
            "one seed gives all losses the same split, corrupted labels and initial weights, so seeds are paired"
                .to_owned(),
        ],
        columns: [Column::text("losses")]
            .into_iter()
            .chain(names.map(Column::number))
            .chain([Column::text("better")])
            .collect(),
        notes: notes(significance, sections.is_empty(), footnotes),
        sections,
    }
}

/// The problem's labels with their paths, such as "noise uniform 0.6, epochs 10".
fn heading(significance: &Significance, problem: &Problem) -> String {
    let parts = significance.paths.problems.iter().zip(&problem.labels).filter(|(_, label)| *label != ABSENT);
    parts.map(|(path, label)| format!("{path} {label}")).collect::<Vec<_>>().join(", ")
}

fn row(pair: &Pair, precision: Precision, footnotes: &mut Footnotes) -> Vec<String> {
    let absent = || ABSENT.to_owned();
    let verdict = match pair.verdict {
        Verdict::A => pair.a.name.clone(),
        Verdict::B => pair.b.name.clone(),
        Verdict::NotShown => "not shown".to_owned(),
        Verdict::Equal => "equal on every seed".to_owned(),
        Verdict::Constant => "no test: the same difference on every seed".to_owned(),
        Verdict::TooFew => "no test: fewer than two shared seeds".to_owned(),
        Verdict::Diverged => "no test: a seed diverged".to_owned(),
    };
    let verdict = if pair.unshared.is_empty() {
        verdict
    } else {
        let settings = pair.unshared.join(" and ");
        format!(
            "{verdict} {}",
            footnotes.sign(format!("{settings} differs: the seeds do not give both the same labels"))
        )
    };
    vec![
        format!("{} - {}", pair.a.name, pair.b.name),
        pair.seeds.len().to_string(),
        pair.difference.map_or_else(absent, |difference| signed(difference, precision)),
        pair.interval.map_or_else(absent, |range| interval(range, precision)),
        pair.t.map_or_else(absent, |test| p_value(test.p)),
        pair.t_holm.map_or_else(absent, p_value),
        pair.signed_rank.map_or_else(absent, |test| p_value(test.p)),
        pair.signed_rank_holm.map_or_else(absent, p_value),
        verdict,
    ]
}

fn notes(significance: &Significance, is_empty: bool, footnotes: Footnotes) -> Vec<Note> {
    if is_empty {
        return vec![Note::remark("no two losses of this sweep meet on the same data set and noise".to_owned())];
    }
    let mut notes: Vec<Note> = footnotes.into_notes().collect();
    let explanation = |sign: &str, meaning: &str| Note { sign: sign.to_owned(), meaning: meaning.to_owned() };
    if significance.pairs().any(|pair| pair.verdict == Verdict::NotShown) {
        notes.push(explanation("not shown", "the test shows no difference, which is no proof that there is none"));
    }
    if significance.pairs().any(|pair| pair.signed_rank.is_some()) {
        notes.push(explanation(
            "p (ranks)",
            "Wilcoxon's signed-rank test, for contrast: it does not take differences for normal",
        ));
    }
    // The smallest n first, since it limits the test most.
    let mut short: Vec<usize> = significance.pairs().filter_map(|pair| pair.signed_rank.map(|test| test.n)).collect();
    short.sort_unstable();
    short.dedup();
    for n in short.into_iter().filter(|n| smallest_p(*n) >= significance.alpha) {
        let (level, least) = (significance.alpha, smallest_p(n));
        notes.push(Note::remark(format!(
            "with n = {n} no signed-rank test can reach {level}: its smallest possible p is {least}"
        )));
    }
    let few = significance.pairs().any(|pair| pair.t.is_some_and(|test| test.df < 5.0));
    if few {
        notes.push(Note::remark(
            "with fewer than six seeds the t-test rests on the differences being normal, which so few cannot show"
                .to_owned(),
        ));
    }
    notes.extend(counted_divergences(significance.counted));
    let lacking = significance.pairs().filter(|pair| pair.seeds.len() < significance.seeds.len()).count();
    if lacking > 0 {
        let pairs = if lacking == 1 { "1 pair lacks".to_owned() } else { format!("{lacking} pairs lack") };
        notes.push(Note::remark(format!(
            "{pairs} seeds that were asked for: only those that both losses have are compared"
        )));
    }
    notes
}
