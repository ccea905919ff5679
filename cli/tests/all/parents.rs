//! Sweeps with parent jobs and child jobs.

use crate::common::{Place, eventually};
use serde_json::Value;
use std::fs;

/// Two losses that need a parent job, for weights or for an estimate, and two seeds: four parent jobs and four child jobs.
const FAMILY: &str = "\
sweep: family
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  noise: {kind: uniform, rate: 0.4}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 2
  batch_size: 64
  train_size: 600
  validation: 0.5
grid:
  loss: [mae, {name: forward, transition: estimated}]
overrides:
  - {when: {loss: mae}, set: {parent: {set: {loss: cce, epochs: 1}, at: best-validation}}}
";

#[test]
fn two_workers_one_of_them_killed_give_the_table_of_run() {
    let alone = Place::new();
    alone.file("family.yaml", FAMILY);
    let output = alone.run(&["run", "family.yaml", "--slots", "1", "--format", "json"]);
    assert!(output.stderr.contains("8 jobs (8 new)"), "{}", output.stderr);
    let table = output.good();
    let parsed: Value = serde_json::from_str(&table).unwrap();
    assert_eq!(parsed["jobs"]["n"], 4, "parent jobs are not in the table");
    assert!(alone.run(&["run", "family.yaml"]).stderr.contains("8 jobs (8 finished before)"));

    let spread = Place::new();
    let (_coordinator, url) = spread.coordinator();
    spread.submit("family", FAMILY);
    let [first, _second] =
        ["first", "second"].map(|name| spread.worker(&url, name, &["--cache", &format!("{name}-cache")]));
    eventually("a parent job is finished", || spread.jobs("family", "finished") >= 1);
    first.kill();
    spread.run(&["watch", "family"]).good();
    assert_eq!(spread.table_json("family"), table);
    // The coordinator keeps each weights file once. A cache holds copies of some.
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(spread.path().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let kept = names(".plusminus/weights");
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|name| name.len() == "0".repeat(64).len() + ".safetensors".len()), "{kept:?}");
    assert!(names("second-cache").iter().all(|name| kept.contains(name)));
}

#[test]
fn damaged_weights_are_trained_again_for_a_later_child_job() {
    let place = Place::new();
    let small =
        FAMILY.replace("seeds: 2", "seeds: 1").replace("[mae, {name: forward, transition: estimated}]", "[mae]");
    place.file("later.yaml", small.replace("family", "later").replace("mae", "gce"));
    let (_coordinator, url) = place.coordinator();
    let first = place.worker(&url, "first", &[]);
    place.submit("family", &small);
    place.run(&["watch", "family"]).good();
    first.kill();
    let weights = place.path().join(".plusminus/weights");
    let file = || fs::read_dir(&weights).unwrap().next().unwrap().unwrap().path();
    let before = (file(), fs::read(file()).unwrap());
    fs::write(&before.0, "damaged").unwrap();
    let output = place.run(&["submit", "later.yaml"]);
    assert!(output.stderr.contains("2 jobs (1 new, 1 finished before)"), "{}", output.stderr);
    let _second = place.worker(&url, "second", &[]);
    place.run(&["watch", "later"]).good();
    assert_eq!((place.jobs("later", "finished"), place.jobs("family", "finished")), (2, 2));
    assert_eq!((file(), fs::read(file()).unwrap()), before, "the same bytes");
}

#[test]
fn a_child_job_whose_parent_job_fails_reports_the_reason() {
    let place = Place::new();
    place.file("family.yaml", FAMILY.replace("fashion-mnist-10k", "cifar-10").replace("seeds: 2", "seeds: 1"));
    let answer = place.run(&["run", "family.yaml", "--datasets", "."]);
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(answer.stderr.contains("failed: user-error"), "{}", answer.stderr);
    assert_eq!(place.jobs("family", "failed"), 4);
}

#[test]
fn a_profile_trains_as_a_sweep_of_its_own() {
    let place = Place::new();
    let smoke = "profiles:\n  smoke: {seeds: 1, set: {epochs: 1, train_size: 300}}\n";
    place.file("family.yaml", format!("{FAMILY}{smoke}"));
    let checked = place.run(&["check", "family.yaml"]).good();
    assert!(checked.contains("family: 8 jobs = (2 cells + 2 parents) × 2 seeds"), "{checked}");
    assert!(checked.contains("profiles  smoke (3 jobs)"), "{checked}");
    let ran = place.run(&["run", "family.yaml", "--profile", "smoke"]).good();
    assert_eq!(place.run(&["table", "family-smoke"]).good(), ran, "by its name, from the submitted file");
    assert_eq!(place.run(&["table", "family.yaml", "--profile", "smoke"]).good(), ran);
    let again = place.run(&["run", "family-smoke"]);
    assert!(again.stderr.contains("3 jobs (3 finished before)"), "{}", again.stderr);
    assert_eq!(place.run(&["status", "family"]).code, Some(7), "the sweep without the profile was not submitted");
    let wrong = place.run(&["run", "family.yaml", "--profile", "smok"]);
    assert_eq!(wrong.code, Some(7));
    assert_eq!(wrong.stderr, "error: family.yaml has no profile `smok`\nhint: its profiles: smoke\n");
}
