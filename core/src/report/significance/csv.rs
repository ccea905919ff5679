//! The pairs of losses as CSV: one record per pair.

use super::model::Significance;

pub(super) fn render(significance: &Significance) -> String {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: Vec<String>| {
        lines.write_record(fields).expect("records of equal length are written to memory without errors")
    };
    let header = [
        "metric",
        "at",
        "a",
        "b",
        "cell_a",
        "cell_b",
        "n",
        "seeds",
        "difference",
        "low",
        "high",
        "t",
        "df",
        "p_t",
        "p_t_holm",
        "signed_ranks",
        "p_signed_rank",
        "p_signed_rank_holm",
        "verdict",
        "unshared",
    ];
    write(significance.paths.problems.iter().cloned().chain(header.map(str::to_owned)).collect());
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    for problem in &significance.problems {
        for pair in &problem.pairs {
            let seeds: Vec<_> = pair.seeds.iter().map(u64::to_string).collect();
            let fields = [
                significance.metric.name().to_owned(),
                significance.at.to_string(),
                pair.a.name.clone(),
                pair.b.name.clone(),
                pair.a.cell.to_string(),
                pair.b.cell.to_string(),
                pair.seeds.len().to_string(),
                seeds.join(" "),
                number(pair.difference),
                number(pair.interval.map(|interval| interval.low)),
                number(pair.interval.map(|interval| interval.high)),
                number(pair.t.map(|test| test.t)),
                number(pair.t.map(|test| test.df)),
                number(pair.t.map(|test| test.p)),
                number(pair.t_holm),
                number(pair.signed_rank.map(|test| test.v)),
                number(pair.signed_rank.map(|test| test.p)),
                number(pair.signed_rank_holm),
                pair.verdict.name().to_owned(),
                pair.unshared.join(" "),
            ];
            write(problem.labels.iter().cloned().chain(fields).collect());
        }
    }
    String::from_utf8(lines.into_inner().expect("memory is flushed without errors")).expect("all fields are UTF-8")
}
