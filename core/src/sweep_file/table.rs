//! `table`: rows, columns, and whether each of its places holds one cell.

use super::grid::Axis;
use super::path::{Path, remove};
use super::paths::{Paths, WrittenPath};
use super::published::check_name;
use super::select::{SelectKey, epoch_names};
use super::sweep::{Divergence, Std, TableSpec};
use crate::diagnostics::Diagnostic;
use crate::id::CellId;
use crate::input::fields::{Fields, NamesAndPattern, Subject, items};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::metric::{EpochSelection, Metric};
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// The layout of the table, with the places of its parts.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) spec: TableSpec,
    /// Where places that hold several cells are reported.
    layout: Range<usize>,
    pub(super) metric: Range<usize>,
    pub(super) at: Range<usize>,
    /// Whether rows and columns are as the user meant them.
    pub(super) valid: bool,
}

/// The keys of `table`.
pub(super) struct Keys {
    rows: Option<Vec<WrittenPath>>,
    columns: Option<Vec<WrittenPath>>,
    metric: Metric,
    at: EpochSelection,
    std: Std,
    bold: usize,
    diverged: Divergence,
    decimals: Option<u8>,
    reference: Option<String>,
}

/// Reads `table`; if it is absent, returns a table that shows every axis.
pub(super) fn read(fields: &mut Fields<'_>, axes: &[Axis], select: Option<&SelectKey>, paths: &Paths) -> Table {
    let elsewhere = fields.place();
    let before = fields.problems().reports();
    let entries = match fields.node("table") {
        None => &[][..],
        Some(node) => node.entries().unwrap_or_else(|| {
            fields.unexpected("table", node, "a map with `rows` and `columns`", None);
            &[]
        }),
    };
    let place = fields.key_place("table").or_else(|| fields.key_place("grid")).unwrap_or(elsewhere);
    let mut table = Fields::new(entries, Subject("the table", None), place.clone(), fields.problems());
    let Keys { rows, columns, metric, at, std, bold, diverged, decimals, reference } = read_keys(&mut table, paths);
    let layout = table.key_place("rows").or_else(|| table.key_place("columns")).unwrap_or_else(|| place.clone());
    let metric_place = table.value_place("metric").unwrap_or_else(|| place.clone());
    let at_place = table.value_place("at").unwrap_or(place);
    if let (Some(rows), Some(columns)) = (&rows, &columns) {
        reject_shared(rows, columns, table.problems());
    }
    // Which published results exist is not known here, only whether the name is valid.
    if let (Some(name), Some(place)) = (&reference, table.value_place("reference")) {
        check_name(name, place, table.problems());
    }
    table.finish();

    let valid = fields.problems().reports() == before;
    // A chosen parameter has one value in each place.
    let chosen = select.map(SelectKey::paths).unwrap_or_default();
    let is_chosen = |axis: &&Axis| chosen.iter().any(|path| Path::dotted(&axis.path.name).0.starts_with(&path.0));
    let axes: Vec<&Axis> = axes.iter().filter(|axis| !is_chosen(axis)).collect();
    let (rows, columns) = with_defaults(rows, columns, &axes);
    let spec = TableSpec { rows, columns, metric, at, std, bold, diverged, decimals, reference };
    Table { spec, layout, metric: metric_place, at: at_place, valid }
}

/// Reads the keys of `table`.
pub(super) fn read_keys(table: &mut Fields<'_>, paths: &Paths) -> Keys {
    let names = |of_diagnostics: bool| -> Vec<&'static str> {
        let kept = |metric: &&Metric| Diagnostic::of(**metric).is_some() == of_diagnostics;
        Metric::ALL.iter().filter(kept).map(|metric| metric.name()).collect()
    };
    table.about("paths whose values name the rows; default: all axes except noise");
    let rows = path_list(table, "rows", paths);
    table.about("paths whose values name the columns; default: noise axes");
    let columns = path_list(table, "columns", paths);
    table.about("the metric shown");
    let examples = "or a metric of `diagnostics`, such as `softmax_auroc` or `class_accuracy_0`";
    let metrics = NamesAndPattern {
        names: &names(false),
        others: &names(true),
        examples,
        pattern: "^class_accuracy_(0|[1-9][0-9]{0,2})$",
    };
    let metric = table.named("metric", metrics, ("test_accuracy", Metric::TestAccuracy));
    table.about("the epoch shown");
    let at = epoch_names(|names| table.named("at", names, ("final", EpochSelection::Final)));
    table.about("standard deviation: `sample` divides by n − 1, `population` by n");
    let std = table.choice("std", &[("sample", Std::Sample), ("population", Std::Population)]).or(Std::Sample);
    let bold =
        table.about("how many of the best cells of each column are bold").integer("bold").at_most(1000).or(1) as usize;
    let policies: Vec<_> = Divergence::ALL.iter().map(|policy| (policy.name(), *policy)).collect();
    table.about("how seeds that diverge count: left out, with the epochs before, or as a failure of the sweep");
    let diverged = table.choice("diverged", &policies).or(Divergence::default());
    table
        .about("decimals of printed means and deviations; absent: 2 for per cent, else as many as the deviations need");
    let most = u64::from(TableSpec::MOST_DECIMALS);
    let decimals = table.integer("decimals").at_most(most).optional().map(|decimals| decimals as u8);
    table.about("name of published results to compare with");
    let reference = table.text("reference").optional().map(str::to_owned);
    Keys { rows, columns, metric, at, std, bold, diverged, decimals, reference }
}

fn path_list(table: &mut Fields<'_>, key: &'static str, paths: &Paths) -> Option<Vec<WrittenPath>> {
    const EXPECTED: &str = "a list of paths, such as `[loss]` or `[noise.kind, noise.rate]`";
    let node = table.node(key)?;
    let mut list: Vec<WrittenPath> = Vec::new();
    for item in items(table, key, node, EXPECTED)? {
        let Some(name) = item.text() else {
            table.unexpected(key, item, "a path, such as `loss`", None);
            continue;
        };
        let Some(path) = paths.check(name, &item.span, table.problems()) else { continue };
        if list.iter().any(|earlier| earlier.name == path.name) {
            report_repeated(&path, table.problems());
        }
        list.push(path);
    }
    Some(list)
}

fn reject_shared(rows: &[WrittenPath], columns: &[WrittenPath], problems: &mut Problems) {
    let shared = columns.iter().filter(|column| rows.iter().any(|row| row.name == column.name));
    shared.for_each(|path| report_repeated(path, problems));
}

fn report_repeated(path: &WrittenPath, problems: &mut Problems) {
    let label = "the table already shows this path".to_owned();
    problems.report(path.span(), format!("`{}` is given twice", path.name), label, Some("remove it here".to_owned()));
}

/// Rows and columns. Absent ones show the axes that the others do not: noise in columns, all other axes in rows.
fn with_defaults(
    rows: Option<Vec<WrittenPath>>,
    columns: Option<Vec<WrittenPath>>,
    axes: &[&Axis],
) -> (Vec<Path>, Vec<Path>) {
    let is_noise = |name: &str| name.starts_with("noise");
    let names = |paths: &Option<Vec<WrittenPath>>| paths.iter().flatten().map(|path| path.name.clone()).collect();
    let (mut down, mut across): (Vec<String>, Vec<String>) = (names(&rows), names(&columns));
    if columns.is_none() {
        across = not_shown(axes, |name| rows.is_some() || is_noise(name), &down, "noise");
    }
    if rows.is_none() {
        down = not_shown(axes, |name| columns.is_some() || !is_noise(name), &across, "loss");
    }
    let paths = |names: Vec<String>| names.iter().map(|name| Path::dotted(name)).collect();
    (paths(down), paths(across))
}

/// The wanted axes that `shown` does not overlap, or else `fallback`: every table has rows and columns.
fn not_shown(axes: &[&Axis], wanted: impl Fn(&str) -> bool, shown: &[String], fallback: &str) -> Vec<String> {
    let is_shown = |name: &str| shown.iter().any(|shown| Path::dotted(shown).overlaps(&Path::dotted(name)));
    let names = axes.iter().map(|axis| axis.path.name.as_str());
    let names: Vec<_> = names.filter(|name| wanted(name) && !is_shown(name)).map(str::to_owned).collect();
    if names.is_empty() {
        [fallback, "dataset"].into_iter().filter(|name| !is_shown(name)).take(1).map(str::to_owned).collect()
    } else {
        names
    }
}

/// The cell in each place of the table.
#[derive(Debug, Default)]
pub(super) struct CellsByPlace(BTreeMap<CellId, usize>);

impl CellsByPlace {
    /// Adds the cell `index`. Returns the index of another cell that already occupies the same place.
    pub(super) fn insert(&mut self, spec: &TableSpec, configuration: &Configuration, index: usize) -> Option<usize> {
        let mut text = String::new();
        for path in spec.rows.iter().chain(&spec.columns) {
            let value = path.value_in(configuration).unwrap_or(Value::Null);
            text.push_str(&value.to_string());
            text.push('\n');
        }
        // A hash is shorter than the text, and there may be a million cells.
        match self.0.entry(CellId::of(&[text.as_bytes()])) {
            Entry::Vacant(place) => {
                place.insert(index);
                None
            }
            Entry::Occupied(place) => Some(*place.get()),
        }
    }
}

/// Reports that the cells `a` and `b` share a place of the table, and names a path that distinguishes them and is not
/// among the `chosen` ones.
pub(super) fn report_shared_place(
    table: &Table,
    chosen: &[Path],
    [a, b]: [&Configuration; 2],
    paths: &Paths,
    problems: &mut Problems,
) {
    let unchosen = |path: &Path, configuration| {
        let mut value = path.value_in(configuration)?;
        let below = chosen.iter().filter_map(|chosen| chosen.0.strip_prefix(&*path.0));
        below.for_each(|rest| remove(&mut value, rest));
        Some(value)
    };
    let differs = |path: Path| {
        let chosen = chosen.iter().any(|chosen| path.0.starts_with(&chosen.0));
        !chosen && unchosen(&path, a) != unchosen(&path, b)
    };
    let differing: Vec<_> = paths.names().iter().filter(|name| differs(Path::dotted(name))).collect();
    // The only parameter that differs is more precise than the whole method.
    let Some(top) = differing.iter().find(|name| !name.contains('.')) else { return };
    let below: Vec<_> =
        differing.iter().filter(|name| name.strip_prefix(top.as_str()).is_some_and(|r| r.starts_with('.'))).collect();
    let path = match below.as_slice() {
        [one] => one,
        _ => top,
    };
    let value = |c| Path::dotted(path).value_in(c).map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    let title = "a place of the table holds several cells".to_owned();
    let label = format!("two of them differ in `{path}`: {} and {}", value(a), value(b));
    let help = match chosen {
        [] => format!("add `{path}` to `rows` or `columns`"),
        _ => format!("add `{path}` to `rows` or `columns`, or to `over` of `select`"),
    };
    problems.report(table.layout.clone(), title, label, Some(help));
}
