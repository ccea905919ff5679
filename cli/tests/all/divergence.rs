//! Diverged jobs in tables and exit codes.

use crate::common::Place;
use serde_json::Value;

/// Three optimisers under two seeds: one that learns, one whose weights double with every step and overflow after some epochs, and one
/// that diverges at once.
const DIVERGING: &str = "\
sweep: diverging
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  loss: cce
  epochs: 12
  batch_size: 50
  train_size: 400
  test_size: 200
  validation: 0.25
grid:
  optimizer:
    - {name: sgd, lr: 0.01, weight_decay: 0.0}
    - {name: sgd, lr: 0.01, weight_decay: 300.0, momentum: 0.0}
    - {name: sgd, lr: 1e6}
table: {rows: [optimizer], columns: [loss]}
";

fn with_policy(policy: &str) -> String {
    DIVERGING.replace("columns: [loss]", &format!("columns: [loss], diverged: {policy}"))
}

/// Returns the table's cells, in the order of the optimisers.
fn cells(place: &Place, file: &str, code: i32) -> Vec<Value> {
    let answer = place.run(&["table", file, "--format", "json"]);
    assert_eq!(answer.code, Some(code), "{}", answer.stderr);
    let table: Value = serde_json::from_str(&answer.stdout).unwrap();
    table["cells"].as_array().unwrap().iter().map(|row| row[0].clone()).collect()
}

#[test]
fn diverged_jobs_are_left_out_counted_or_fail_the_sweep() {
    let place = Place::new();
    for policy in ["exclude", "count", "fail"] {
        place.file(&format!("{policy}.yaml"), with_policy(policy));
    }
    let ran = place.run(&["run", "exclude.yaml"]);
    assert!(
        ran.stderr.contains("note: 4 jobs diverged (table.diverged is exclude: left out of means), such as: "),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    let table = ran.good();
    assert_eq!(table.matches("diverged").count(), 2, "{table}");
    assert!(!table.contains("partial"), "{table}");

    // The other policies need no training.
    let excluded = cells(&place, "exclude.yaml", 0);
    assert_eq!((&excluded[1]["mean"], &excluded[1]["counts"]["diverged"]), (&Value::Null, &2.into()));
    assert_eq!(excluded[1]["seeds"][0]["value"], Value::Null);

    let counted = cells(&place, "count.yaml", 0);
    // Only emphasis may differ: a cell with a mean takes part in the comparison.
    assert_eq!(counted[0]["seeds"], excluded[0]["seeds"]);
    assert_eq!(counted[2], excluded[2], "a job that diverged in its first epoch has no value");
    assert_eq!((&counted[1]["counts"]["n"], &counted[1]["counts"]["counted"]), (&2.into(), &2.into()));
    let store = place.store();
    let last = "SELECT seed, max(epoch), value FROM metrics
                WHERE metric = 'test_accuracy' AND job IN (SELECT id FROM jobs WHERE failure_kind = 'diverged')
                GROUP BY job ORDER BY seed";
    let mut last = store.prepare(last).unwrap();
    let last = last.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let last: Vec<(i64, i64, f64)> = last.map(Result::unwrap).collect();
    assert_eq!(last.len(), 2, "the others finished no epoch: {last:?}");
    for (seed, epoch, value) in last {
        assert!((1..12).contains(&epoch), "it finished some epochs, and not all: {epoch}");
        let shown = &counted[1]["seeds"][seed as usize];
        assert_eq!((&shown["status"], &shown["failure"]), (&"failed".into(), &"diverged".into()));
        assert_eq!(shown["value"], value);
    }
    let text = place.run(&["table", "count.yaml"]).good();
    assert!(text.contains("‖2"), "{text}");
    let ran = place.run(&["run", "count.yaml"]);
    assert!(
        ran.stderr.contains("note: 4 jobs diverged (table.diverged is count: epochs finished before count)"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.good(), text);
    let pairs = place.run(&["significance", "count.yaml", "--format", "csv"]);
    assert_eq!(pairs.code, Some(0), "{}", pairs.stderr);

    let failed = cells(&place, "fail.yaml", 1);
    assert_eq!((&failed[0], &failed[1]["mean"]), (&excluded[0], &Value::Null));
    let ran = place.run(&["run", "fail.yaml"]);
    assert_eq!((ran.code, ran.stdout.matches("diverged").count()), (Some(1), 2), "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr.contains("error: 4 jobs diverged (table.diverged is fail: no mean in their cells), such as: "),
        "{}",
        ran.stderr
    );
    let (_coordinator, _url) = place.coordinator();
    assert_eq!(place.run(&["watch", "fail.yaml"]).code, Some(1));
    assert_eq!(place.run(&["watch", "exclude.yaml"]).code, Some(0));
    let status = place.run(&["status", "diverging"]).good();
    assert!(status.contains("6 jobs: 2 finished, 4 diverged"), "{status}");
}

#[test]
fn a_diverged_candidate_loses_and_fails_only_a_strict_sweep() {
    let place = Place::new();
    let choosing = DIVERGING.split("grid:").next().unwrap().replace("loss: cce", "loss: cce\n  optimizer: {name: sgd}")
        + "grid:\n  optimizer.lr: [1e6, 0.05]\nselect: {over: [optimizer.lr], by: validation_loss}\n";
    place.file("choosing.yaml", &choosing);
    place.file("failing.yaml", choosing + "table: {diverged: fail}\n");
    let ran = place.run(&["run", "choosing.yaml"]);
    assert!(ran.stderr.contains("note: 1 job diverged (table.diverged is exclude"), "{}", ran.stderr);
    let table = ran.good();
    assert!(table.contains("optimizer.lr 0.05, best of 2 candidates"), "{table}");
    let failing = place.run(&["table", "failing.yaml"]);
    assert_eq!((failing.code, failing.stdout), (Some(1), table));
    assert!(failing.stderr.contains("error: 1 job diverged"), "{}", failing.stderr);
}
