//! Whole sweeps of jobs that build on others, through the binary.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Place, eventually};
use serde_json::Value;
use std::fs;

/// Two losses that build on other jobs, each in its way, and two seeds: four parents and four children.
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

/// How many jobs of the sweep stand so.
fn count(place: &Place, sweep: &str, how: &str) -> u64 {
    let status: Value = serde_json::from_str(&place.run(&["status", sweep, "--output", "json"]).good()).unwrap();
    status["sweeps"][0]["jobs"][how].as_u64().unwrap()
}

#[test]
fn two_workers_of_which_one_is_killed_give_the_same_table_as_run() {
    let alone = Place::new();
    alone.file("family.yaml", FAMILY);
    let said = alone.run(&["run", "family.yaml", "--slots", "1", "--format", "json"]);
    assert!(said.stderr.contains("8 jobs (8 new)"), "{}", said.stderr);
    let table = said.good();
    let parsed: Value = serde_json::from_str(&table).unwrap();
    assert_eq!(parsed["jobs"]["n"], 4, "parents are in no place of the table");
    assert!(alone.run(&["run", "family.yaml"]).stderr.contains("8 jobs (8 finished before)"));

    let spread = Place::new();
    spread.file("family.yaml", FAMILY);
    let (_coordinator, url) = spread.coordinator();
    let start = |name: &str| {
        let means = ["--slots", "1", "--threads", "1", "--name", name, "--cache", name];
        spread.start(&[&["worker", "--coordinator", &url], &means[..]].concat())
    };
    spread.run(&["submit", "family.yaml"]).good();
    let (first, _second) = (start("first"), start("second"));
    eventually("a parent is finished", || count(&spread, "family", "finished") >= 1);
    first.signal("KILL");
    spread.run(&["watch", "family"]).good();
    assert_eq!(spread.run(&["table", "family", "--format", "json"]).good(), table);
    // What a job builds on is with the coordinator, in the cache that it went through, and nowhere twice.
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(spread.path().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let kept = names(".plusminus/weights");
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|name| name.len() == "0".repeat(64).len() + ".safetensors".len()), "{kept:?}");
    assert!(names("second").iter().all(|name| kept.contains(name)));
}

#[test]
fn weights_that_were_deleted_are_made_again_for_a_child_that_comes_later() {
    let place = Place::new();
    let small =
        FAMILY.replace("seeds: 2", "seeds: 1").replace("[mae, {name: forward, transition: estimated}]", "[mae]");
    place.file("family.yaml", &small);
    place.file("later.yaml", small.replace("family", "later").replace("mae", "gce"));
    let (_coordinator, url) = place.coordinator();
    let worker =
        |name: &str| place.start(&["worker", "--coordinator", &url, "--slots", "1", "--name", name, "--cache", name]);
    let first = worker("first");
    place.run(&["submit", "family.yaml"]).good();
    place.run(&["watch", "family"]).good();
    drop(first);
    let weights = place.path().join(".plusminus/weights");
    let file = || fs::read_dir(&weights).unwrap().next().unwrap().unwrap().path();
    let before = (file(), fs::read(file()).unwrap());
    fs::write(&before.0, "damaged").unwrap();
    let said = place.run(&["submit", "later.yaml"]);
    assert!(said.stderr.contains("2 jobs (1 new, 1 finished before)"), "{}", said.stderr);
    let _second = worker("second");
    place.run(&["watch", "later"]).good();
    assert_eq!((count(&place, "later", "finished"), count(&place, "family", "finished")), (2, 2));
    assert_eq!((file(), fs::read(file()).unwrap()), before, "the same bytes");
}

#[test]
fn a_child_whose_parent_cannot_be_trained_fails_with_it_and_says_why() {
    let place = Place::new();
    place.file("family.yaml", FAMILY.replace("fashion-mnist-10k", "cifar-10").replace("seeds: 2", "seeds: 1"));
    let answer = place.run(&["run", "family.yaml", "--datasets", "."]);
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(answer.stderr.contains("failed: user-error"), "{}", answer.stderr);
    assert_eq!(count(&place, "family", "failed"), 4);
}

#[test]
fn a_profile_is_a_sweep_of_its_own_name_and_leaves_the_file_s_own_alone() {
    let place = Place::new();
    let smoke = "profiles:\n  smoke: {seeds: 1, set: {epochs: 1, train_size: 300}}\n";
    place.file("family.yaml", format!("{FAMILY}{smoke}"));
    let checked = place.run(&["check", "family.yaml"]).good();
    assert!(checked.contains("family: 8 jobs = (2 cells + 2 that they build on) × 2 seeds"), "{checked}");
    assert!(checked.contains("profiles  smoke (3 jobs)"), "{checked}");
    let ran = place.run(&["run", "family.yaml", "--profile", "smoke"]).good();
    assert_eq!(place.run(&["table", "family-smoke"]).good(), ran, "by its name, from the file as it was submitted");
    assert_eq!(place.run(&["table", "family.yaml", "--profile", "smoke"]).good(), ran);
    let again = place.run(&["run", "family-smoke"]);
    assert!(again.stderr.contains("3 jobs (3 finished before)"), "{}", again.stderr);
    assert_eq!(place.run(&["status", "family"]).code, Some(7), "it was never asked for");
    let wrong = place.run(&["run", "family.yaml", "--profile", "smok"]);
    assert_eq!(wrong.code, Some(7));
    assert_eq!(wrong.stderr, "error: family.yaml has no profile `smok`; there are smoke\n");
}
