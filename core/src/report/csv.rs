//! A table as CSV: one record per seed of every cell, for further computations.

use super::table::Table;

pub(super) fn render(table: &Table) -> String {
    let paths: Vec<&str> = table.rows.paths.iter().chain(&table.columns.paths).map(String::as_str).collect();
    // Selected hyper-parameters follow the labels.
    let over: Vec<&str> = table.selection.iter().flat_map(|rule| &rule.over).map(String::as_str).collect();
    let mut lines = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: &[&str]| {
        lines.write_record(fields).expect("records of equal length are written to memory without errors")
    };
    write(&[paths.as_slice(), &over, &["cell", "seed", "status", "failure", "metric", "at", "value"]].concat());
    let (metric, at) = (table.metric.name(), &*table.at.name());
    for cell in table.summaries() {
        let labels = paths.iter().map(|path| cell.labels.get(*path).map(String::as_str).unwrap_or_default());
        let selected = |path: &&str| cell.selection.as_ref()?.values.get(*path).map(String::as_str);
        let labels: Vec<&str> = labels.chain(over.iter().map(|path| selected(path).unwrap_or_default())).collect();
        let id = cell.id.to_string();
        for result in &cell.seeds {
            let seed = result.seed.to_string();
            let failure = result.status.failure().map(|kind| kind.name()).unwrap_or_default();
            let value = result.status.value().map(|value| value.to_string()).unwrap_or_default();
            write(&[labels.as_slice(), &[&id, &seed, result.status.name(), failure, metric, at, &value]].concat());
        }
    }
    String::from_utf8(lines.into_inner().expect("memory is flushed without errors")).expect("all fields are UTF-8")
}
