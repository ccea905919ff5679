//! `table`: rows, columns, and whether each of its places holds one cell.

use super::configuration::{Route, Schema};
use super::grid::Axis;
use super::select::{Select, overlap, remove};
use super::{Divergence, Path, Std, TableSpec};
use crate::diagnostics::Diagnostic;
use crate::id::CellId;
use crate::input::fields::{Fields, Subject, items};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::metric::{EpochSelection, Metric};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// The layout of the table and where its parts were written.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) spec: TableSpec,
    /// Where to point when places hold several cells.
    layout: Range<usize>,
    pub(super) metric: Range<usize>,
    pub(super) at: Range<usize>,
    /// Whether rows and columns are what was meant.
    pub(super) sound: bool,
}

/// Reads `table`, or makes one that shows every axis.
pub(super) fn read(fields: &mut Fields<'_>, axes: &[Axis], select: Option<&Select>, schema: &Schema) -> Table {
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
    let rows = paths(&mut table, "rows", schema);
    let columns = paths(&mut table, "columns", schema);
    let layout = table.key_place("rows").or_else(|| table.key_place("columns")).unwrap_or_else(|| place.clone());
    if let (Some(rows), Some(columns)) = (&rows, &columns) {
        refuse_both(rows, columns, table.problems());
    }
    let (always, asked): (Vec<&str>, Vec<&str>) = {
        let (always, asked): (Vec<Metric>, _) =
            Metric::ALL.iter().partition(|metric| Diagnostic::of(**metric).is_none());
        let names = |metrics: Vec<Metric>| metrics.into_iter().map(Metric::name).collect();
        (names(always), names(asked))
    };
    let others = ("or a metric of `diagnostics`, such as `softmax_auroc` or `class_accuracy_0`", &*asked);
    let metric = table.named("metric", &always, others, Metric::TestAccuracy);
    let metric_place = table.value_place("metric").unwrap_or_else(|| place.clone());
    let (mean, one) = EpochSelection::NAMES.split_last().unwrap_or((&"", &[]));
    let others = format!("or a mean over any number of epochs, such as `{mean}`");
    let at = table.named("at", one, (&others, &[mean]), EpochSelection::Final);
    let at_place = table.value_place("at").unwrap_or(place);
    let std = table.choice("std", &[("sample", Std::Sample), ("population", Std::Population)]).or(Std::Sample);
    let bold = table.integer("bold").at_most(1000).or(1) as usize;
    let policies: Vec<_> = Divergence::ALL.iter().map(|policy| (policy.name(), *policy)).collect();
    let diverged = table.choice("diverged", &policies).or(Divergence::default());
    // Which published results there are is not known here: only what could be a name is asked for.
    let reference = table.text("reference").optional();
    if let (Some(name), Some(place)) = (reference, table.value_place("reference")) {
        super::published::check_name(name, place, table.problems());
    }
    let reference = reference.map(str::to_owned);
    table.finish();

    let sound = fields.problems().reports() == before;
    // What is chosen has one value in each place.
    let chosen = select.map(Select::paths).unwrap_or_default();
    let is_chosen = |axis: &&Axis| chosen.iter().any(|path| to_path(&axis.route.name).0.starts_with(&path.0));
    let axes: Vec<&Axis> = axes.iter().filter(|axis| !is_chosen(axis)).collect();
    let (rows, columns) = filled(rows, columns, &axes);
    Table {
        spec: TableSpec { rows, columns, metric, at, std, bold, diverged, reference },
        layout,
        metric: metric_place,
        at: at_place,
        sound,
    }
}

fn paths(table: &mut Fields<'_>, key: &'static str, schema: &Schema) -> Option<Vec<Route>> {
    const EXPECTED: &str = "a list of paths, such as `[loss]` or `[noise.kind, noise.rate]`";
    let node = table.list(key)?;
    let mut routes: Vec<Route> = Vec::new();
    for item in items(table, key, node, EXPECTED)? {
        let Some(name) = item.text() else {
            table.unexpected(key, item, "a path, such as `loss`", None);
            continue;
        };
        let Some(route) = schema.check(name, &item.span, table.problems()) else { continue };
        if routes.iter().any(|earlier| earlier.name == route.name) {
            twice(&route, table.problems());
        }
        routes.push(route);
    }
    Some(routes)
}

fn refuse_both(rows: &[Route], columns: &[Route], problems: &mut Problems) {
    let both = columns.iter().filter(|column| rows.iter().any(|row| row.name == column.name));
    both.for_each(|route| twice(route, problems));
}

fn twice(route: &Route, problems: &mut Problems) {
    let label = "the table has this path already".to_owned();
    problems.report(route.span(), format!("`{}` is given twice", route.name), label, Some("remove it here".to_owned()));
}

/// Rows and columns; those that the file leaves out show the axes that the others do not: noise across, the rest down.
fn filled(rows: Option<Vec<Route>>, columns: Option<Vec<Route>>, axes: &[&Axis]) -> (Vec<Path>, Vec<Path>) {
    let is_noise = |name: &str| name.starts_with("noise");
    let names = |routes: &Option<Vec<Route>>| routes.iter().flatten().map(|route| route.name.clone()).collect();
    let (mut down, mut across): (Vec<String>, Vec<String>) = (names(&rows), names(&columns));
    if columns.is_none() {
        across = not_shown(axes, |name| rows.is_some() || is_noise(name), &down, "noise");
    }
    if rows.is_none() {
        down = not_shown(axes, |name| columns.is_some() || !is_noise(name), &across, "loss");
    }
    let paths = |names: Vec<String>| names.iter().map(|name| to_path(name)).collect();
    (paths(down), paths(across))
}

/// The wanted axes that `shown` has no part of, or else `fallback`: no table is without rows or columns.
fn not_shown(axes: &[&Axis], wanted: impl Fn(&str) -> bool, shown: &[String], fallback: &str) -> Vec<String> {
    let is_shown = |name: &str| shown.iter().any(|shown| overlap(&to_path(shown), &to_path(name)));
    let names = axes.iter().map(|axis| axis.route.name.as_str());
    let names: Vec<_> = names.filter(|name| wanted(name) && !is_shown(name)).map(str::to_owned).collect();
    if names.is_empty() {
        [fallback, "dataset"].into_iter().filter(|name| !is_shown(name)).take(1).map(str::to_owned).collect()
    } else {
        names
    }
}

pub(super) fn to_path(name: &str) -> Path {
    Path(name.split('.').map(str::to_owned).collect())
}

/// Which cell each place of the table has.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<CellId, usize>);

impl Places {
    /// Puts the cell `index` into its place. If another is there already, returns that one's index.
    pub(super) fn take(&mut self, spec: &TableSpec, configuration: &Configuration, index: usize) -> Option<usize> {
        let mut text = String::new();
        for path in spec.rows.iter().chain(&spec.columns) {
            let value = value_at(path, configuration).unwrap_or(Value::Null);
            text.push_str(&value.to_string());
            text.push('\n');
        }
        // The hash is shorter than the text, of which there is one for each of perhaps a million cells.
        match self.0.entry(CellId::of(&[text.as_bytes()])) {
            Entry::Vacant(place) => {
                place.insert(index);
                None
            }
            Entry::Occupied(place) => Some(*place.get()),
        }
    }
}

/// Reports two cells in one place of the table, and the path that would part them, which is not one of those that are chosen.
pub(super) fn report_mixing(
    table: &Table,
    chosen: &[Path],
    a: &Configuration,
    b: &Configuration,
    schema: &Schema,
    problems: &mut Problems,
) {
    let unchosen = |path: &Path, configuration| {
        let mut value = value_at(path, configuration)?;
        let below = chosen.iter().filter_map(|chosen| chosen.0.strip_prefix(&*path.0));
        below.for_each(|rest| remove(&mut value, rest));
        Some(value)
    };
    let differs = |path: Path| {
        let chosen = chosen.iter().any(|chosen| path.0.starts_with(&chosen.0));
        !chosen && unchosen(&path, a) != unchosen(&path, b)
    };
    let differing: Vec<_> = schema.paths().iter().filter(|name| differs(to_path(name))).collect();
    // The name of a method tells less than the whole, its one parameter more.
    let tops: Vec<_> = differing.iter().filter(|name| !name.contains('.')).collect();
    let Some(top) = tops.first() else { return };
    let below: Vec<_> =
        differing.iter().filter(|name| name.strip_prefix(top.as_str()).is_some_and(|r| r.starts_with('.'))).collect();
    let path = match below.as_slice() {
        [one] => one,
        _ => top,
    };
    let value = |c| value_at(&to_path(path), c).map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    let title = "a place in the table holds several cells".to_owned();
    let label = format!("two of them differ in `{path}`: {} and {}", value(a), value(b));
    let help = match chosen {
        [] => format!("add `{path}` to `rows` or `columns`"),
        _ => format!("add `{path}` to `rows` or `columns`, or to `over` of `select`"),
    };
    problems.report(table.layout.clone(), title, label, Some(help));
}

/// The value that `path` leads to in the configuration's canonical form, only the part in question made into one.
pub(super) fn value_at(path: &Path, configuration: &Configuration) -> Option<Value> {
    fn json(part: &impl Serialize) -> Value {
        serde_json::to_value(part).unwrap_or_default()
    }
    let Configuration { dataset, model, initial_weights, .. } = configuration;
    let Configuration { loss, noise, noise_seed, optimizer, schedule, .. } = configuration;
    let Configuration { epochs, batch_size, train_size, test_size, validation, split, augment, normalize, .. } =
        configuration;
    let Configuration { precision, diagnostics, .. } = configuration;
    let (head, rest) = path.0.split_first()?;
    let part = match head.as_str() {
        "dataset" => json(dataset),
        "model" => json(model),
        "initial_weights" => json(initial_weights.as_ref()?),
        "loss" => json(loss),
        "noise" => json(noise),
        "noise_seed" => json(noise_seed),
        "optimizer" => json(optimizer),
        "schedule" => json(schedule),
        "epochs" => json(epochs),
        "batch_size" => json(batch_size),
        "train_size" => json(train_size.as_ref()?),
        "test_size" => json(test_size.as_ref()?),
        "validation" => json(validation),
        "split" if !split.is_default() => json(split),
        "augment" => json(augment),
        "normalize" => json(normalize),
        "precision" if !precision.is_default() => json(precision),
        "diagnostics" => json(diagnostics),
        "parent" => json(configuration.parent.as_ref()?),
        _ => return None,
    };
    rest.iter().try_fold(&part, |node, key| node.get(key)).cloned()
}
