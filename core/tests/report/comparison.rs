//! Comparisons with published results: their contents, and their text in every format.

use crate::sample::{
    CCE, GCE, MAE, UNIFORM, around, cell, configuration, diverging, paths, sweep, table, three_by_two,
};
use plusminus_core::report::comparison::{ComparedCell, Comparison, Obstacle, Verdict};
use plusminus_core::report::{Format, Status};
use plusminus_core::sweep_file::{Divergence, Published, Std, read_published};

/// A published table for the sample's data set: values with and without deviation, with a doubt, and for other parameters.
const PUBLISHED: &str = r#"
reference: some-table
title: Somebody 2018, Table 1
source: Proceedings of Something
n: 5
metric: test_accuracy
at: final
notes: [each run had new noise]
base: {model: resnet18, epochs: 10, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}, augment: [flip], train_size: ~}
overrides:
  - {when: {loss: mae}, set: {epochs: 120}}
columns:
  - when: {dataset: fashion-mnist, noise: {kind: uniform, rate: 0.6}}
  - {when: {dataset: fashion-mnist, noise: {kind: class-dependent, rate: 0.3}}, at: best}
rows:
  - {when: {loss: cce}, values: [78.50 ± 0.60, 81 ± 1]}
  - {when: {loss: mae}, values: [{value: 70.00 ± 2.00, doubt: "a number that looks wrong"}, ~]}
  - {when: {loss: {name: gce, q: 0.5}}, values: [85.00 ± 0.40, ~]}
"#;

fn published(text: &str) -> Published {
    read_published(text).unwrap()
}

/// The sample's six cells compared with the published table.
fn sample_comparison() -> Comparison {
    let mut sweep = three_by_two();
    sweep.table.rows = paths(&["loss"]);
    let cells = [(78.24, 0.52), (83.67, 4.1), (85.27, 0.41), (81.33, 1.22), (65.4, 9.87), (84.92, 0.08)];
    let table = table(&sweep, &cells.map(|(mean, std)| around(mean, std)));
    Comparison::new(&sweep, &table, &published(PUBLISHED), 0.05)
}

/// CCE under uniform noise with these values, compared with one published value.
fn compared(statuses: Vec<Status>, value: &str) -> ComparedCell {
    let sweep = sweep(&[CCE], &[UNIFORM]);
    let text = format!(
        "{{reference: a, title: A, metric: test_accuracy, at: final, columns: [{{n: 5}}], rows: [{{when: {{loss: cce}}, values: [{value}]}}]}}"
    );
    let table = table(&sweep, &[statuses]);
    Comparison::new(&sweep, &table, &published(&text), 0.05).cells.remove(0)
}

#[test]
fn every_format_prints_the_comparison() {
    let comparison = sample_comparison();
    for format in Format::ALL {
        insta::assert_snapshot!(format!("comparison_{format}"), comparison.render(*format));
    }
}

#[test]
fn the_test_is_welchs_t_test() {
    // scipy.stats.ttest_ind_from_stats(93.24, .12, 5, 93.41, .21, 5, equal_var=False): t = -1.57165, p = 0.164297
    let cell = compared(around(93.24, 0.12), "93.41 ± 0.21");
    let test = cell.test.unwrap();
    assert!((test.t + 1.5716505559714984).abs() < 1e-9 && (test.p - 0.1642971798328478).abs() < 1e-9, "{test:?}");
    assert_eq!(cell.verdict, Verdict::Agree);
    assert!((cell.difference.unwrap() + 0.0017).abs() < 1e-12);
}

#[test]
fn two_cells_of_the_sample_are_tested() {
    let verdicts: Vec<_> = sample_comparison().cells.iter().map(|cell| cell.verdict).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict != Verdict::NotCompared).count(), 2, "{verdicts:?}");
}

#[test]
fn a_cell_that_cannot_be_tested_gives_the_reason() {
    let five = || around(90.0, 0.5);
    let obstacle = |statuses, value: &str| compared(statuses, value).obstacle;
    assert_eq!(obstacle(five(), "90.0"), Some(Obstacle::NoStd));
    assert_eq!(obstacle(five(), "{value: 90 ± 1, n: 1}"), Some(Obstacle::OneRun));
    assert_eq!(obstacle(five(), "{value: 90 ± 1, n: ~}"), Some(Obstacle::UnknownRuns));
    assert_eq!(obstacle(five()[..3].to_vec(), "90 ± 1"), Some(Obstacle::Incomplete { n: 3, asked: 5 }));
    assert_eq!(obstacle(vec![], "90 ± 1"), Some(Obstacle::NoValue));
    assert_eq!(obstacle(around(90.0, 0.0), "91.00 ± 0.00"), Some(Obstacle::NoSpread));
    assert_eq!(obstacle(five(), "~"), Some(Obstacle::NotPublished));
    assert_eq!(obstacle(five(), "90 ± 1"), None);
}

#[test]
fn a_difference_is_shown_without_a_test() {
    let cell = compared(around(90.0, 0.5), "89.0");
    assert!((cell.difference.unwrap() - 0.01).abs() < 1e-12);
    assert_eq!((cell.test, cell.verdict), (None, Verdict::NotCompared));
    let short = compared(around(90.0, 0.5)[..3].to_vec(), "89.0 ± 1");
    assert_eq!(short.difference, None, "an incomplete mean is not compared");
}

#[test]
fn other_parameters_and_epochs_differ_from_unpublished_values() {
    let cells = sample_comparison().cells;
    let of = |labels: [&str; 2]| cells.iter().find(|cell| cell.labels == labels).unwrap().obstacle.clone();
    let Some(Obstacle::OtherConfiguration { differences }) = of(["gce", "uniform 0.6"]) else { panic!("{cells:?}") };
    assert_eq!(differences.iter().map(ToString::to_string).collect::<Vec<_>>(), ["loss.q is 0.7, published 0.5"]);
    let published = vec!["test_accuracy at best".to_owned()];
    assert_eq!(of(["cce", "class-dependent 0.3"]), Some(Obstacle::OtherSelection { published }));
    assert_eq!(of(["mae", "class-dependent 0.3"]), Some(Obstacle::NotPublished));
}

#[test]
fn differences_from_the_published_protocol_are_listed() {
    let comparison = sample_comparison();
    let differences = |i: usize| comparison.cells[i].differences.iter().map(ToString::to_string).collect::<Vec<_>>();
    let common =
        ["model is cnn, published resnet18", "optimizer.lr is 0.01, published 0.1", "augment is [], published [flip]"];
    assert_eq!(differences(0), common);
    let mae = comparison.cells.iter().find(|cell| cell.labels == ["mae", "uniform 0.6"]).unwrap();
    assert!(mae.differences.iter().any(|difference| difference.to_string() == "epochs is 10, published 120"));
}

#[test]
fn the_most_specific_published_value_is_compared() {
    let sweep = sweep(&[GCE], &[UNIFORM]);
    let table = table(&sweep, &[around(85.0, 0.4)]);
    let text = "{reference: a, title: A, n: 5, metric: test_accuracy, at: final, columns: [{}], rows: [
        {when: {loss: gce}, values: [80 ± 1]}, {when: {loss: {name: gce, q: 0.7}}, values: [85 ± 1]}, {values: [70 ± 1]}]}";
    let comparison = Comparison::new(&sweep, &table, &published(text), 0.05);
    assert_eq!(comparison.cells[0].published.as_ref().unwrap().printed, "85 ± 1");
}

#[test]
fn the_test_uses_the_sample_deviation_whatever_the_table_shows() {
    let mut sweep = sweep(&[MAE], &[UNIFORM]);
    sweep.table.std = Std::Population;
    sweep.cells = vec![cell(configuration(MAE, UNIFORM))];
    let table = table(&sweep, &[around(85.0, 0.4)]);
    let text =
        "{reference: a, title: A, n: 5, metric: test_accuracy, at: final, columns: [{}], rows: [{values: [85 ± 1]}]}";
    let comparison = Comparison::new(&sweep, &table, &published(text), 0.05);
    assert!((comparison.cells[0].ours.std.unwrap() - 0.004).abs() < 1e-12);
}

#[test]
fn diverged_seeds_are_compared_as_the_table_shows_them() {
    for policy in Divergence::ALL {
        let (sweep, table) = diverging(*policy);
        let comparison = Comparison::new(&sweep, &table, &published(PUBLISHED), 0.05);
        for cell in &comparison.cells {
            let shown = table.summaries().find(|summary| summary.id == cell.id).unwrap();
            assert_eq!((cell.ours.mean, cell.ours.std), (shown.mean, shown.std), "{policy:?} {:?}", cell.labels);
        }
        let mae = comparison.cells.iter().find(|cell| cell.labels == ["mae", "uniform 0.6"]).unwrap();
        let text = comparison.render(Format::Text);
        match policy {
            Divergence::Exclude => assert_eq!(mae.obstacle, Some(Obstacle::Incomplete { n: 4, asked: 5 })),
            Divergence::Count => {
                assert!(mae.test.is_some(), "{mae:?}");
                assert!(text.contains("5 jobs diverged, and count with the epochs"), "{text}");
            }
            Divergence::Fail => {
                assert_eq!((&mae.obstacle, mae.difference), (&Some(Obstacle::Diverged), None));
                assert!(text.contains("diverged") && text.contains("a seed diverged"), "{text}");
            }
        }
    }
}
