//! `plusminus compare` and `plusminus significance`.

use crate::common::{Place, SMALL};

/// Published results for the small sweep: CCE with its standard deviation, GCE without.
const PUBLISHED: &str = "\
reference: small-table
title: Nobody 2020, Table 1
metric: test_accuracy
at: final
n: 5
base: {model: cnn, epochs: 200, batch_size: 64}
columns:
  - when: {dataset: fashion-mnist-10k, noise: {kind: uniform, rate: 0.4}}
rows:
  - {when: {loss: cce}, values: [99.90 ± 0.01]}
  - {when: {loss: gce}, values: [90.1]}
";

/// Runs a command that fails with `code`, and returns its error.
fn error_of(place: &Place, arguments: &[&str], code: i32) -> String {
    let answer = place.run(arguments);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(code), ""), "{}", answer.stderr);
    answer.stderr
}

#[test]
fn a_trained_sweep_is_compared_with_published_results_and_tested() {
    let place = Place::new();
    let file = SMALL.to_owned() + "table: {reference: gce-table1}\n";
    place.file("small.yaml", &file);
    place.file("own.yaml", PUBLISHED);
    place.run(&["run", "small.yaml"]).good();

    let output = place.run(&["compare", "small.yaml"]).good();
    assert!(output.contains("small beside gce-table1: Zhang & Sabuncu 2018, Table 1"), "{output}");
    assert_eq!(output.matches("not published").count(), 2, "{output}");
    assert!(!place.run(&["table", "small.yaml"]).good().contains("Zhang"), "a table shows our own numbers only");

    // A sweep may be given by its name or its file, and so may published results.
    let output = place.run(&["compare", "small", "--reference", "own.yaml", "--format", "csv"]).good();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert!(!lines[1].contains("not-compared") && lines[1].contains("epochs is 2, published 200"), "{output}");
    assert!(lines[2].contains("no-std"), "{output}");
    let output = place.run(&["compare", "small", "--reference", "own.yaml", "--at", "best-validation"]).good();
    assert!(output.contains("published: test_accuracy at final"), "{output}");

    let output = place.run(&["significance", "small", "--alpha", "0.01"]).good();
    assert!(output.contains("cce - gce  2 ") && output.contains("99 % interval"), "{output}");
    assert!(output.contains("with n = 2 no signed-rank test can reach 0.01"), "{output}");
    let json = place.run(&["significance", "small.yaml", "--metric", "validation_loss", "--format", "json"]).good();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["contests"][0]["pairs"][0]["seeds"], serde_json::json!([0, 1]));

    let output = error_of(&place, &["compare", "small", "--reference", "gce-table9"], 7);
    assert!(
        output.contains("no published results are called `gce-table9`\nhint: give one of `dmi-table1`, `gce-table1`"),
        "{output}"
    );
}

#[test]
fn errors_in_the_reference_are_reported_before_results_are_read() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.file("wrong.yaml", PUBLISHED.replace("rows:", "row:"));
    let output = error_of(&place, &["compare", "small.yaml", "--reference", "wrong.yaml"], 3);
    assert!(output.contains("unknown key `row`") && output.contains("wrong.yaml:9:1"), "{output}");
    assert!(output.contains("the published results in wrong.yaml cannot be used"), "{output}");
    let output = error_of(&place, &["compare", "small.yaml", "--reference", "absent.yaml"], 3);
    assert!(output.contains("cannot read the published results absent.yaml"), "{output}");
    for alpha in ["0", "1", "5%", "nan"] {
        let output = error_of(&place, &["significance", "small.yaml", "--alpha", alpha], 2);
        assert!(output.contains("expected a number above 0 and below 1"), "{output}");
    }
}

#[test]
fn check_notes_a_reference_that_does_not_ship() {
    let place = Place::new();
    place.file("small.yaml", SMALL.to_owned() + "table: {reference: my-table}\n");
    let answer = place.run(&["check", "small.yaml"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.contains("no published results called `my-table` ship"), "{}", answer.stderr);
}

#[test]
fn a_sweep_without_a_reference_gets_a_list_of_published_results() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 1"));
    place.run(&["run", "small.yaml"]).good();
    let output = error_of(&place, &["compare", "small"], 7);
    assert!(output.contains("the sweep small names no published results to compare with"), "{output}");
    assert!(output.contains("`imae-table`"), "{output}");
}
