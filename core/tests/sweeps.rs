//! Valid sweep files: their cells, order and ids.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::diagnostics::Diagnostic;
use plusminus_core::job::Configuration;
use plusminus_core::methods::augment::{Augment, Normalize};
use plusminus_core::methods::schedule::Schedule;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::sweep_file::{self, Divergence, Std, Sweep};
use serde_json::{Value, json};

const BASE: &str = "
sweep: gce-fashion
seeds: 2
base:
  dataset: fashion-mnist
  model: resnet18
  loss: cce
  optimizer: {name: sgd, lr: 0.01}
  epochs: 120
";

/// [`BASE`] with `more` after it.
fn sweep(more: &str) -> Sweep {
    read(&format!("{BASE}{more}"))
}

fn read(text: &str) -> Sweep {
    sweep_file::read(text, sweep_file::MAX_JOBS).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The values of the cells at the top-level `key`, in order.
fn values(sweep: &Sweep, key: &str) -> Vec<Value> {
    let value = |configuration: &Configuration| serde_json::to_value(configuration).unwrap()[key].clone();
    sweep.cells.iter().map(|cell| value(&cell.configuration)).collect()
}

fn names(paths: &[sweep_file::Path]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

#[test]
fn absent_keys_have_their_defaults() {
    let sweep = sweep("");
    assert_eq!(sweep.name.as_str(), "gce-fashion");
    assert_eq!(sweep.description, None);
    assert_eq!(sweep.cells.len(), 1);
    let configuration = &*sweep.cells[0].configuration;
    assert_eq!(configuration.schedule, Schedule::Constant);
    assert_eq!((configuration.batch_size, configuration.validation, configuration.noise_seed), (128, 0.0, None));
    assert_eq!((&*configuration.augment, &configuration.normalize), (&[][..], &Normalize::Channel));
    let table = &sweep.table;
    assert_eq!((names(&table.rows), names(&table.columns)), (vec!["loss".to_owned()], vec!["noise".to_owned()]));
    assert_eq!(
        (table.metric, table.at, table.std, table.bold),
        (Metric::TestAccuracy, EpochSelection::Final, Std::Sample, 1)
    );
}

/// A change here makes every stored result unreachable: results are found by these ids.
#[test]
fn ids_do_not_change_from_version_to_version() {
    let sweep = sweep("");
    let cell = &sweep.cells[0];
    insta::assert_snapshot!(cell.configuration.canonical(), @r#"{"dataset":"fashion-mnist","model":{"name":"resnet18"},"loss":{"name":"cce"},"noise":{"kind":"none"},"noise_seed":null,"optimizer":{"name":"sgd","lr":0.01,"momentum":0.0,"weight_decay":0.0,"nesterov":false},"schedule":{"name":"constant"},"epochs":120,"batch_size":128,"validation":0.0,"augment":[],"normalize":"channel"}"#);
    insta::assert_snapshot!(cell.id, @"5124c60719d9beedbda34703ae1a8b46");
    let jobs: Vec<_> = sweep.jobs().map(|job| job.id().to_string()).collect();
    insta::assert_snapshot!(jobs.join("\n"), @"
    80f9f7c29a9f80a9af83d6a0f38ed2d4
    27d089fd6f4df4121249dad84c3b61a8
    ");
}

#[test]
fn train_size_is_in_the_canonical_form_only_if_set() {
    let sized = sweep("grid: {train_size: [500, 60000]}");
    assert_eq!(sized.cells[1], sweep("").cells[0], "the size of the data set equals no size");
    let canonical = sized.cells[0].configuration.canonical();
    assert!(canonical.contains(r#""batch_size":128,"train_size":500,"validation":0.0"#), "{canonical}");
    assert_eq!(serde_json::from_str::<Configuration>(&canonical).unwrap(), *sized.cells[0].configuration);
}

#[test]
fn diagnostics_are_in_the_canonical_form_in_one_order_if_set() {
    let diagnosed = sweep("grid: {diagnostics: [[rank, softmax], [], all]}\ntable: {rows: [diagnostics]}");
    assert_eq!(diagnosed.cells.len(), 3);
    assert_eq!(diagnosed.cells[1], sweep("").cells[0]);
    let canonical = diagnosed.cells[0].configuration.canonical();
    assert!(canonical.ends_with(r#""normalize":"channel","diagnostics":["softmax","rank"]}"#), "{canonical}");
    assert_eq!(serde_json::from_str::<Configuration>(&canonical).unwrap(), *diagnosed.cells[0].configuration);
    assert_eq!(sweep("grid: {diagnostics: [[softmax, rank]]}").cells[0].id, diagnosed.cells[0].id);
    let all: Vec<_> = Diagnostic::ALL.iter().map(|(_, diagnostic)| *diagnostic).collect();
    assert_eq!(diagnosed.cells[2].configuration.diagnostics, all);
}

#[test]
fn a_table_may_show_metrics_of_diagnostics_and_classes() {
    let table = |text: &str| sweep(&format!("grid: {{diagnostics: [[classes]]}}\ntable: {text}")).table;
    let ninth = table("{metric: class_accuracy_9, at: last-5-mean}");
    assert_eq!((ninth.metric.name(), &*ninth.at.name()), ("class_accuracy_9", "last-5-mean"));
    assert_eq!(table("{metric: class_accuracy_spread}").metric, Metric::ClassAccuracySpread);
}

#[test]
fn initial_weights_are_in_the_canonical_form_only_if_set() {
    let digest = "0af9".repeat(16);
    let named = sweep(&format!(
        "grid: {{initial_weights: [a.safetensors, {{file: a.safetensors, blake3: '{digest}'}}, null]}}"
    ));
    let long = sweep("grid: {initial_weights: [{file: a.safetensors}]}");
    assert_eq!(named.cells[0], long.cells[0], "a name alone is short for a map");
    assert_eq!(named.cells[2], sweep("").cells[0], "null equals an absent key");
    let canonical = named.cells[1].configuration.canonical();
    let expected = format!(
        r#""model":{{"name":"resnet18"}},"initial_weights":{{"file":"a.safetensors","blake3":"{digest}"}},"loss""#
    );
    assert!(canonical.contains(&expected), "{canonical}");
    assert_eq!(serde_json::from_str::<Configuration>(&canonical).unwrap(), *named.cells[1].configuration);
    let below = sweep("grid: {initial_weights.file: [a.safetensors, b.safetensors]}");
    assert_eq!(below.cells[0], named.cells[0]);
    assert_eq!(names(&below.table.rows), ["initial_weights.file"]);
}

#[test]
fn an_explicit_default_makes_no_other_cell() {
    let long =
        BASE.replace("loss: cce", "loss: {name: cce}\n  noise: none\n  schedule: {name: constant}\n  batch_size: 128");
    let long = long.replace("lr: 0.01", "momentum: 0, lr: 1e-2, weight_decay: -0.0");
    assert_eq!(read(&long).cells, sweep("").cells);
}

#[test]
fn the_last_path_of_the_grid_varies_fastest() {
    let sweep = sweep("grid: {optimizer.lr: [0.1, 0.2], loss: [mae, cce], batch_size: [32, 64]}");
    let rates: Vec<_> = values(&sweep, "optimizer").iter().map(|optimizer| optimizer["lr"].as_f64().unwrap()).collect();
    assert_eq!(rates, [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2]);
    let losses: Vec<_> = values(&sweep, "loss").iter().map(|loss| loss["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(losses, ["mae", "mae", "cce", "cce", "mae", "mae", "cce", "cce"]);
    assert_eq!(values(&sweep, "batch_size"), [32, 64, 32, 64, 32, 64, 32, 64]);
}

#[test]
fn lists_inside_a_map_multiply() {
    let sweep = sweep("grid: {noise: [none, {kind: uniform, rate: [0.2, 0.4], include_true_class: [false, true]}]}");
    let uniform = |rate: f64, all: bool| json!({"kind": "uniform", "rate": rate, "include_true_class": all});
    let expected =
        [json!({"kind": "none"}), uniform(0.2, false), uniform(0.2, true), uniform(0.4, false), uniform(0.4, true)];
    assert_eq!(values(&sweep, "noise"), expected);
}

#[test]
fn a_matrix_is_one_value_and_a_list_of_matrices_is_several() {
    let identity = |first: &str| {
        let row = |i: usize| (0..10).map(|j| if i == j { "1" } else { "0" }).collect::<Vec<_>>().join(", ");
        let rows = (1..10).map(|i| format!("[{}]", row(i))).collect::<Vec<_>>().join(", ");
        format!("[[{first}, 0, 0, 0, 0, 0, 0, 0, 0], {rows}]")
    };
    let (a, b) = (identity("0.9, 0.1"), identity("0.8, 0.2"));
    let grid = format!(
        "grid:
  noise:
    - {{kind: transition-matrix, matrix: {a}}}
    - {{kind: transition-matrix, matrix: [{a}, {b}], draw: exact}}
    - {{kind: class-dependent, rate: [0.1, 0.2], map: [[9, 1], [2, 0]]}}
    - {{kind: class-dependent, rate: 0.3, map: [[[9, 1]], [[2, 0], [4, 7]]]}}
"
    );
    let noises = values(&sweep(&grid), "noise");
    assert_eq!(noises.len(), 1 + 2 + 2 + 2);
    assert_eq!(noises[0]["matrix"][0], json!([0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!((&noises[2]["matrix"][0][1], &noises[2]["draw"]), (&json!(0.2), &json!("exact")));
    assert_eq!(noises[4], json!({"kind": "class-dependent", "rate": 0.2, "map": [[2, 0], [9, 1]]}));
    assert_eq!((&noises[5]["map"], &noises[6]["map"]), (&json!([[9, 1]]), &json!([[2, 0], [4, 7]])));
    // The same with a path.
    let noises = values(&sweep(&format!("grid: {{noise: [transition-matrix], noise.matrix: [{a}, {b}]}}")), "noise");
    assert_eq!(noises.len(), 2);
}

#[test]
fn combinations_that_only_overrides_make_equal_are_one_cell() {
    let merged = sweep(
        "grid: {loss: [cce, gce, mae], optimizer.lr: [0.1, 0.2]}
overrides:
  - {when: {loss: mae}, set: {optimizer.lr: 0.1}}
  - {when: {loss: gce}, set: {loss: cce, optimizer: {name: sgd, lr: 0.3}}}
table: {rows: [loss], columns: [optimizer.lr]}",
    );
    assert_eq!(merged.cells.len(), 2 + 1 + 1);
}

#[test]
fn an_override_does_not_excuse_a_value_that_is_given_twice() {
    let text = "grid: {loss: [gce, {name: gce, q: 0.7}, mae]}
overrides: [{when: {loss: gce}, set: {loss.q: 0.5}}, {when: {loss: mae}, set: {epochs: 3}}]";
    let problems = sweep_file::read(&format!("{BASE}{text}"), 100).unwrap_err();
    let labels: Vec<_> = problems.iter().map(|problem| problem.label.as_str()).collect();
    assert_eq!(labels, ["`loss` already has the value `gce` in line 10: both mean `{name: gce, q: 0.5}`"]);
}

/// Earlier versions accepted these files, and a store may hold them with their results.
#[test]
fn a_stored_sweep_file_keeps_the_meaning_that_it_had() {
    for (text, cells) in [
        ("grid: {loss: [gce, {name: gce, q: 0.7}]}", 1),
        ("grid: {optimizer.weight_decay: [0, -0.0]}", 1),
        ("grid: {validation: [1.0, 5000.0]}", 2),
    ] {
        let text = format!("{BASE}{text}");
        assert!(sweep_file::read_all(&text, 100).is_err(), "{text}");
        let stored = sweep_file::read_stored(&text, 100).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(stored.main.cells.len(), cells, "{text}");
    }
    assert!(sweep_file::read_stored(&format!("{BASE}grid: {{validation: [1.5]}}"), 100).is_err());
}

#[test]
fn every_kind_of_noise_is_read() {
    let grid = "grid:
  noise:
    - {kind: uniform, rate: 0.2, draw: per-sample}
    - {kind: uniform, rate: 0.2, draw: exact}
    - {kind: class-dependent, rate: 0.2, map: [[9, 7], [7, 5], [2, 6], [4, 3], [3, 4]]}
    - {kind: file, file: [human.txt, fashion/other.csv]}
";
    let expected = [
        json!({"kind": "uniform", "rate": 0.2, "include_true_class": false}),
        json!({"kind": "uniform", "rate": 0.2, "include_true_class": false, "draw": "exact"}),
        json!({"kind": "class-dependent", "rate": 0.2}),
        json!({"kind": "file", "file": "human.txt"}),
        json!({"kind": "file", "file": "fashion/other.csv"}),
    ];
    assert_eq!(values(&sweep(grid), "noise"), expected);
}

#[test]
fn a_list_that_is_one_value_does_not_multiply() {
    let grid = "grid:
  schedule: [{name: step, milestones: [40, 80]}, {name: step, milestones: [[20], [30, 60]]}]
  augment: [[], [flip], [{crop: 4}, flip]]
  normalize: [unit, {mean: [0.28], std: [0.35]}]
";
    let sweep = sweep(grid);
    assert_eq!(sweep.cells.len(), 3 * 3 * 2);
    let milestones: Vec<_> = values(&sweep, "schedule").iter().map(|schedule| schedule["milestones"].clone()).collect();
    assert_eq!((&milestones[0], &milestones[6], &milestones[12]), (&json!([40, 80]), &json!([20]), &json!([30, 60])));
    assert_eq!(sweep.cells[5].configuration.augment, [Augment::Crop(4), Augment::Flip]);
    let constants = Normalize::Constants { mean: vec![0.28], std: vec![0.35] };
    assert_eq!(sweep.cells[1].configuration.normalize, constants);
}

#[test]
fn a_parameter_can_be_set_beside_a_name_alone() {
    let sweep = sweep("grid: {loss: [gce], loss.q: [0.5, 0.9]}");
    assert_eq!(values(&sweep, "loss"), [json!({"name": "gce", "q": 0.5}), json!({"name": "gce", "q": 0.9})]);
}

#[test]
fn overrides_apply_in_order_if_they_match() {
    let more = "grid: {loss: [cce, mae, {name: gce, q: 0.80}]}
overrides:
  - {when: {loss: [mae, gce]}, set: {epochs: 150, optimizer.lr: 0.1}}
  - {when: {epochs: 150.0, loss.q: 0.8}, set: {epochs: 200}}
  - {when: {loss: cce}, set: {loss: {name: gce, q: 1}}}
";
    let sweep = sweep(more);
    assert_eq!(values(&sweep, "epochs"), [120, 150, 200]);
    let rates: Vec<_> = values(&sweep, "optimizer").iter().map(|optimizer| optimizer["lr"].clone()).collect();
    assert_eq!(rates, [0.01, 0.1, 0.1]);
    assert_eq!(values(&sweep, "loss")[0], json!({"name": "gce", "q": 1.0}));
}

#[test]
fn an_override_replaces_a_method_and_its_parameters() {
    let more = "grid: {noise: [none, {kind: uniform, rate: 0.4}], loss: [{name: gce, q: 0.5}, cce]}
overrides: [{when: {noise: none, loss.q: 0.5}, set: {loss: mae}}]
";
    let sweep = sweep(more);
    assert_eq!(values(&sweep, "loss")[0], json!({"name": "mae"}));
    assert_eq!(values(&sweep, "loss")[2], json!({"name": "gce", "q": 0.5}));
}

#[test]
fn excluded_combinations_are_not_cells() {
    let grid = "grid: {noise: [none, {kind: uniform, rate: [0.2, 0.8]}], loss: [cce, mae]}\n";
    let sweep = sweep(&format!("{grid}exclude: [{{loss: mae, noise.rate: 0.80}}, {{noise: none, loss: [cce, mae]}}]"));
    let cells: Vec<_> = values(&sweep, "noise").iter().map(|n| n["rate"].clone()).zip(values(&sweep, "loss")).collect();
    let (cce, mae) = (json!({"name": "cce"}), json!({"name": "mae"}));
    assert_eq!(cells, [(json!(0.2), cce.clone()), (json!(0.2), mae), (json!(0.8), cce)]);
}

#[test]
fn problems_of_excluded_combinations_are_not_reported() {
    let more = "grid: {epochs: [60, 120], schedule: [{name: step, milestones: [100]}, constant]}
exclude: [{epochs: 60, schedule: step}]
";
    assert_eq!(sweep(more).cells.len(), 3);
}

#[test]
fn combinations_that_overrides_make_equal_are_one_cell() {
    let more = "grid: {loss: [cce, mae], optimizer.lr: [0.1, 0.01]}
overrides: [{when: {loss: mae}, set: {optimizer.lr: 0.5}}]
";
    assert_eq!(sweep(more).cells.len(), 3);
}

#[test]
fn every_cell_has_its_first_seed_before_any_has_its_second() {
    let list = BASE.replace("seeds: 2", "seeds: [7, 0x10, 3]");
    let sweep = read(&format!("{list}grid: {{loss: [cce, mae]}}"));
    assert_eq!(sweep.seeds, [7, 16, 3]);
    assert_eq!(sweep.jobs().map(|job| job.seed).collect::<Vec<_>>(), [7, 7, 16, 16, 3, 3]);
    assert_eq!(read(BASE).seeds, [0, 1]);
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let text = BASE.replace("lr: 0.01", "lr: &rate 1e-4");
    let sweep = read(&format!("{text}grid: {{optimizer.lr: [0.1, *rate]}}"));
    let rates: Vec<_> = values(&sweep, "optimizer").iter().map(|optimizer| optimizer["lr"].clone()).collect();
    assert_eq!(rates, [0.1, 1e-4]);
}

#[test]
fn a_table_shows_every_axis_by_default() {
    let more =
        "grid: {dataset: [fashion-mnist], noise: [none, {kind: uniform, rate: 0.2}], optimizer.lr: [0.1, 0.01]}\n";
    let whole = sweep(more);
    assert_eq!(names(&whole.table.rows), ["dataset", "optimizer.lr"]);
    assert_eq!(names(&whole.table.columns), ["noise"]);
    let half = sweep(&format!("{more}table: {{rows: [noise.kind, noise.rate], at: best, std: population, bold: 0}}"));
    assert_eq!(names(&half.table.columns), ["dataset", "optimizer.lr"]);
    assert_eq!((half.table.at, half.table.std, half.table.bold), (EpochSelection::Best, Std::Population, 0));
}

#[test]
fn byte_order_marks_and_crlf_do_not_matter() {
    let windows = format!("\u{feff}{}", BASE.trim_start().replace('\n', "\r\n"));
    assert_eq!(read(&windows), read(BASE));
}

#[test]
fn the_limit_on_jobs_is_inclusive() {
    let text = BASE.replace("seeds: 2", "seeds: 100");
    assert!(sweep_file::read(&text, 100).is_ok());
    assert_eq!(sweep_file::read(&text, 99).unwrap_err()[0].title, "the sweep has too many jobs: 100");
}

#[test]
fn a_data_set_may_have_parameters_with_paths() {
    let sweep = sweep(
        "
grid:
  dataset: [cifar-100, {name: dogs-vs-cats, size: [32, 64]}, {name: folder, path: birds, classes: 5, size: 48, grey: true}]
overrides:
  - {when: {dataset: dogs-vs-cats, dataset.size: 64}, set: {batch_size: 64}}
  - {when: {dataset: cifar-100}, set: {epochs: 150}}
  - {when: {dataset.name: folder}, set: {dataset.path: bees, dataset.size: 24}}
table: {rows: [dataset], columns: [dataset.size]}
",
    );
    let dogs = |size| json!({"name": "dogs-vs-cats", "size": size});
    let folder = json!({"name": "folder", "path": "bees", "classes": 5, "size": 24, "grey": true});
    assert_eq!(values(&sweep, "dataset"), [json!("cifar-100"), dogs(32), dogs(64), folder]);
    assert_eq!(values(&sweep, "batch_size"), [128, 128, 64, 128]);
    assert_eq!(values(&sweep, "epochs"), [150, 120, 120, 120]);
}

#[test]
fn a_split_is_in_the_canonical_form_unless_random() {
    let cells = sweep("grid: {split: [random, last], validation: [0.1, 10000]}").cells;
    let canonical: Vec<String> = cells.iter().map(|cell| cell.configuration.canonical()).collect();
    assert!(canonical[0].contains(r#""validation":0.1,"augment":[]"#), "{}", canonical[0]);
    assert!(canonical[3].contains(r#""validation":10000.0,"split":"last","augment":[]"#), "{}", canonical[3]);
    assert_eq!(serde_json::from_str::<Configuration>(&canonical[3]).unwrap(), *cells[3].configuration);
    let held_out: Vec<usize> = cells.iter().map(|cell| cell.configuration.held_out(60_000)).collect();
    assert_eq!(held_out, [6_000, 10_000, 6_000, 10_000]);
}

#[test]
fn precision_is_in_the_canonical_form_unless_f32() {
    let sweep = sweep("grid: {precision: [f32, tf32, bf16]}\ntable: {rows: [precision]}");
    let canonical: Vec<String> = sweep.cells.iter().map(|cell| cell.configuration.canonical()).collect();
    assert!(!canonical[0].contains("precision"), "{}", canonical[0]);
    for (cell, name) in sweep.cells.iter().zip(["f32", "tf32", "bf16"]).skip(1) {
        let canonical = cell.configuration.canonical();
        assert!(canonical.contains(&format!(r#","precision":"{name}""#)), "{canonical}");
        assert_eq!(serde_json::from_str::<Configuration>(&canonical).unwrap(), *cell.configuration);
        assert!(plusminus_core::job::needs_gpu(&canonical));
    }
}

#[test]
fn official_validation_samples_suffice_for_selections() {
    let sweep = read(
        "
sweep: clothing
seeds: 1
base: {dataset: clothing1m, model: resnet50, loss: cce, optimizer: {name: sgd, lr: 0.01}, epochs: 10, split: official}
table: {at: best-validation}
",
    );
    let configuration = &sweep.cells[0].configuration;
    assert!(configuration.validates() && configuration.held_out(1_000_000) == 0);
    assert_eq!(values(&sweep, "dataset"), [json!({"name": "clothing1m", "size": 224})]);
}

#[test]
fn a_parent_differs_from_its_child_only_in_set() {
    let more = "grid: {loss: [mae, gce], optimizer.lr: [0.1, 0.2]}
overrides: [{when: {loss: gce}, set: {parent: {set: {loss: cce, epochs: 20, optimizer.momentum: 0.9}, at: final}}}]
";
    let sweep = sweep(more);
    let of = |cell: usize| sweep.cells[cell].configuration.parent.as_deref();
    assert_eq!((of(0), of(1)), (None, None));
    for cell in [2, 3] {
        let (own, parent) = (&sweep.cells[cell].configuration, of(cell).unwrap());
        let mut expected = Configuration { epochs: 20, parent: None, ..Configuration::clone(own) };
        expected.loss = sweep_of("loss: cce");
        expected.optimizer = parent.configuration.optimizer.clone();
        assert_eq!((&parent.configuration, parent.at), (&expected, EpochSelection::Final));
        assert_eq!(parent.configuration.optimizer.lr(), own.optimizer.lr());
        assert_eq!(sweep.parents[cell - 2].configuration.as_ref(), &parent.configuration);
        assert_eq!(serde_json::from_str::<Configuration>(&own.canonical()).unwrap(), **own);
    }
    assert_eq!((sweep.cells.len(), sweep.parents.len(), sweep.jobs().len()), (4, 2, 12));
}

/// The loss of a sweep with `line` in place of its loss.
fn sweep_of(line: &str) -> plusminus_core::methods::losses::Loss {
    read(&BASE.replace("loss: cce", line)).cells[0].configuration.loss.clone()
}

#[test]
fn parents_are_trained_once_and_before_their_children() {
    let more = "grid: {loss: [cce, mae, gce]}
overrides:
  - {when: {loss: [mae, gce]}, set: {parent: {set: {loss: cce, parent: {set: {epochs: 7}}}}}}
";
    let sweep = sweep(more);
    assert_eq!(sweep.parents.len(), 2, "both cells share a parent and its parent");
    let chain: Vec<_> = sweep.parents.iter().map(|cell| cell.configuration.epochs).collect();
    assert_eq!(chain, [7, 120]);
    assert_eq!(sweep.parents[1].configuration.origin().unwrap().0, sweep.parents[0].id);
    let jobs: Vec<_> = sweep.jobs().map(|job| (job.seed, job.configuration.epochs)).collect();
    assert_eq!(jobs, [0, 1].map(|seed| [7, 120, 120, 120, 120].map(|epochs| (seed, epochs))).concat());
    assert_ne!(sweep.cells[0].id, sweep.parents[1].id, "the cell has no parent");
}

#[test]
fn a_cell_that_is_also_a_parent_is_one_job() {
    let sweep = sweep("grid: {loss: [mae, cce]}\noverrides: [{when: {loss: mae}, set: {parent: {set: {loss: cce}}}}]");
    assert_eq!(sweep.parents, sweep.cells[1..]);
    assert_eq!(sweep.jobs().map(|job| job.cell).collect::<Vec<_>>()[..2], [sweep.cells[1].id, sweep.cells[0].id]);
}

#[test]
fn seeds_that_diverged_are_left_out_by_default() {
    let policy = |more: &str| sweep(more).table.diverged;
    assert_eq!(policy(""), Divergence::Exclude);
    for one in Divergence::ALL {
        assert_eq!(policy(&format!("table: {{diverged: {}}}\n", one.name())), *one);
    }
    let (plain, counting) = (sweep(""), sweep("table: {diverged: count}\n"));
    assert_eq!(plain.cells, counting.cells, "the policy does not change what is trained");
}
