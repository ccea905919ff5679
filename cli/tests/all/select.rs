//! A sweep that selects its learning rate.

use crate::common::Place;
use serde_json::Value;

/// Two learning rates under two seeds. The first learns nothing.
const SELECTING: &str = "\
sweep: choosing
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  loss: cce
  optimizer: {name: sgd}
  epochs: 1
  batch_size: 50
  train_size: 400
  test_size: 200
  validation: 0.25
grid:
  optimizer.lr: [1e-9, 0.05]
select: {over: [optimizer.lr], by: validation_loss}
";

#[test]
fn only_the_better_learning_rate_trains_under_every_seed() {
    let place = Place::new();
    place.file("choosing.yaml", SELECTING);
    let checked = place.run(&["check", "choosing.yaml", "--jobs"]).good();
    assert!(checked.contains("2 jobs for the selection, then 1; 2 cells, 2 of them candidates"), "{checked}");
    assert!(checked.contains("cce · none · optimizer.lr=0.05 · seed 0"), "{checked}");

    let ran = place.run(&["run", "choosing.yaml", "--slots", "1"]);
    assert!(ran.stderr.contains("choosing: 2 jobs (2 new)"), "{}", ran.stderr);
    let table = ran.good();
    assert!(!table.contains("partial"), "{table}");
    assert!(table.contains("cce · none: optimizer.lr 0.05, best of 2 candidates"), "{table}");
    let json = place.run(&["table", "choosing", "--format", "json"]).good();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["jobs"]["n"], &json["cells"][0][0]["counts"]["n"]), (&2.into(), &2.into()));
    let jobs = "SELECT group_concat(seed || ' ' || attempts, ', ') FROM (SELECT * FROM jobs ORDER BY number)";
    assert_eq!(place.query(jobs), "0 1, 0 1, 1 1", "each trained once, and only one under the second seed");

    let again = place.run(&["run", "choosing.yaml"]);
    assert!(again.stderr.contains("choosing: 3 jobs (3 finished before)"), "{}", again.stderr);
    assert_eq!(again.good(), table);
    assert_eq!(place.run(&["table", "choosing.yaml"]).good(), table, "from its file, without a coordinator");
}
