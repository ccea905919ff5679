//! Whole sweeps of real training, through the binary.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Place, SMALL, children, eventually, signal};
use serde_json::Value;

fn finished(place: &Place) -> u64 {
    let status: Value = serde_json::from_str(&place.run(&["status", "small", "--output", "json"]).good()).unwrap();
    status["sweeps"][0]["jobs"]["finished"].as_u64().unwrap()
}

#[test]
fn separate_processes_give_the_same_table_as_run_and_running_again_trains_nothing() {
    let alone = Place::new();
    alone.file("small.yaml", SMALL);
    let table = alone.run(&["run", "small.yaml", "--slots", "1", "--format", "json"]).good();
    let parsed: Value = serde_json::from_str(&table).unwrap();
    assert_eq!(parsed["jobs"]["n"], 4);
    let again = alone.run(&["run", "small.yaml", "--format", "json"]);
    assert!(again.stderr.contains("4 jobs (4 finished before)"), "{}", again.stderr);
    assert_eq!(again.good(), table);
    assert_eq!(alone.run(&["table", "small", "--format", "json"]).good(), table, "with no coordinator running");

    let spread = Place::new();
    spread.file("small.yaml", SMALL);
    let (_coordinator, url) = spread.coordinator();
    // Other slots and other threads, on any number of cores.
    let _workers = [["one", "1", "3"], ["two", "auto", "2"]].map(|[name, slots, threads]| {
        let means = ["--slots", slots, "--threads", threads, "--name", name];
        spread.start(&[&["worker", "--coordinator", &url], &means[..]].concat())
    });
    spread.run(&["submit", "small.yaml"]).good();
    spread.run(&["watch", "small"]).good();
    assert_eq!(spread.run(&["table", "small.yaml", "--format", "json"]).good(), table);
}

#[test]
fn an_interrupted_run_stops_cleanly_and_carries_on() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("seeds: 2", "seeds: 3"));
    let mut run = place.start(&["run", "small.yaml", "--slots", "1"]);
    run.wait_for("1 of 6 jobs finished");
    run.signal("INT");
    let (code, log) = run.wait();
    assert_eq!(code, Some(130), "{log}");
    assert!(log.contains("run it again to carry on"), "{log}");
    let before = finished(&place);
    assert!((1..6).contains(&before));
    let again = place.run(&["run", "small.yaml"]);
    assert!(again.stderr.contains(&format!("{before} finished before")), "{}", again.stderr);
    // As many jobs at once as this machine has cores, with what is left of them as threads.
    let division = again.stderr.lines().find(|line| line.ends_with(" each")).unwrap();
    assert!(division.contains(" jobs at once, ") || division.contains("one job at a time, "), "{division}");
    again.good();
    assert_eq!(finished(&place), 6);
}

#[test]
fn a_killed_worker_costs_no_result_and_another_takes_over() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let (_coordinator, url) = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    let first = place.start(&["worker", "--coordinator", &url, "--slots", "1", "--name", "first"]);
    eventually("one job is finished", || finished(&place) >= 1);
    first.signal("KILL");
    let _second = place.start(&["worker", "--coordinator", &url, "--slots", "2", "--name", "second"]);
    place.run(&["watch", "small"]).good();
    assert_eq!(finished(&place), 4);
}

#[test]
fn results_survive_a_killed_coordinator_and_the_worker_comes_back_to_a_new_one() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let (coordinator, url) = place.coordinator();
    let address = url.trim_start_matches("http://").to_owned();
    let _worker = place.start(&["worker", "--coordinator", &url, "--slots", "1"]);
    place.run(&["submit", "small.yaml"]).good();
    eventually("one job is finished", || finished(&place) >= 1);
    let before = finished(&place);
    coordinator.signal("KILL");
    drop(coordinator);
    assert!(finished(&place) >= before, "read from the store, with nobody to ask");
    let _coordinator = place.start(&["coordinator", "--listen", &address]);
    eventually("the coordinator answers", || place.run(&["watch", "small"]).code == Some(0));
    assert_eq!(finished(&place), 4);
}

#[test]
fn ten_results_that_were_reported_are_there_when_the_coordinator_is_killed_at_once() {
    let place = Place::new();
    let tiny = SMALL.replace("seeds: 2", "seeds: 5").replace("epochs: 2", "epochs: 1\n  train_size: 200");
    place.file("small.yaml", tiny.replace("validation: 0.9", "test_size: 100"));
    let (coordinator, url) = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    let _worker = place.start(&["worker", "--coordinator", &url, "--slots", "2"]);
    eventually("ten jobs are reported finished", || finished(&place) == 10);
    coordinator.signal("KILL");
    drop(coordinator);
    assert_eq!(finished(&place), 10, "read from the store, with nobody to ask");
    let (_again, _) = place.coordinator();
    assert_eq!(finished(&place), 10, "and told by the next coordinator");
    let status = place.run(&["status"]).good();
    assert!(status.contains("small") && status.contains("10 finished"), "{status}");
}

#[test]
fn a_cancelled_sweep_keeps_its_results_and_says_that_it_is_partial() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let (_coordinator, url) = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    place.run(&["cancel", "small"]).good();
    assert_eq!(place.run(&["watch", "small"]).code, Some(1), "it is over, and not as was asked");
    let _worker = place.start(&["worker", "--coordinator", &url, "--slots", "1"]);
    let table = place.run(&["table", "small"]).good();
    assert!(table.contains("partial: 0 of 4 jobs finished, 4 cancelled"), "{table}");
    place.run(&["submit", "small.yaml"]).good();
    place.run(&["watch", "small"]).good();
    assert!(!place.run(&["table", "small"]).good().contains("partial"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_runner_costs_its_attempt_alone_and_the_worker_goes_on() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let (_coordinator, url) = place.coordinator();
    let worker = place.start(&["worker", "--coordinator", &url, "--slots", "1"]);
    place.run(&["submit", "small.yaml"]).good();
    eventually("a runner has begun", || !children(worker.child.id()).is_empty());
    let runner = children(worker.child.id())[0];
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(runner, "KILL");
    place.run(&["watch", "small"]).good();
    assert_eq!(finished(&place), 4);
    assert_ne!(children(worker.child.id()), [runner]);
    let store = place.path().join(".plusminus/plusminus.sqlite");
    let ended = "SELECT group_concat(ending) FROM attempts WHERE ending <> 'finished'";
    let store = rusqlite::Connection::open(store).unwrap();
    let endings: String = store.query_row(ended, [], |row| row.get(0)).unwrap();
    assert_eq!(endings, "infrastructure", "it was no want of memory");
}
