//! A comparison as CSV: one record per cell.

use super::model::Comparison;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: Vec<String>| {
        lines.write_record(fields).expect("records of equal length are written to memory without errors")
    };
    let header = [
        "cell",
        "metric",
        "at",
        "n",
        "asked",
        "mean",
        "std",
        "published_n",
        "published_mean",
        "published_std",
        "difference",
        "low",
        "high",
        "t",
        "df",
        "p",
        "p_holm",
        "verdict",
        "obstacle",
        "differences",
        "doubt",
    ];
    write(comparison.paths.iter().cloned().chain(header.map(str::to_owned)).collect());
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    for cell in &comparison.cells {
        let published = cell.published.as_ref();
        let differences: Vec<_> = cell.reported_differences().iter().map(ToString::to_string).collect();
        let fields = [
            cell.id.to_string(),
            comparison.metric.name().to_owned(),
            comparison.at.to_string(),
            cell.ours.n.to_string(),
            cell.ours.asked.to_string(),
            number(cell.ours.mean),
            number(cell.ours.std),
            published.and_then(|published| published.n).map(|n| n.to_string()).unwrap_or_default(),
            number(published.map(|published| published.mean)),
            number(published.and_then(|published| published.std)),
            number(cell.difference),
            number(cell.interval.map(|interval| interval.low)),
            number(cell.interval.map(|interval| interval.high)),
            number(cell.test.map(|test| test.t)),
            number(cell.test.map(|test| test.df)),
            number(cell.test.map(|test| test.p)),
            number(cell.p_holm),
            cell.verdict.name().to_owned(),
            cell.obstacle.as_ref().map(|obstacle| obstacle.name().to_owned()).unwrap_or_default(),
            differences.join("; "),
            published.and_then(|published| published.doubt.clone()).unwrap_or_default(),
        ];
        write(cell.labels.iter().cloned().chain(fields).collect());
    }
    String::from_utf8(lines.into_inner().expect("memory is flushed without errors")).expect("all fields are UTF-8")
}
