//! Whole sweeps with real training.

use crate::common::{Place, SMALL, eventually};
#[cfg(target_os = "linux")]
use crate::common::{children, signal};
use serde_json::Value;

fn finished(place: &Place) -> u64 {
    place.jobs("small", "finished")
}

#[test]
fn separate_processes_give_the_table_of_run_and_train_nothing_twice() {
    let alone = Place::new();
    alone.file("small.yaml", SMALL);
    let table = alone.run(&["run", "small.yaml", "--slots", "1", "--format", "json"]).good();
    let parsed: Value = serde_json::from_str(&table).unwrap();
    assert_eq!(parsed["jobs"]["n"], 4);
    let again = alone.run(&["run", "small.yaml", "--format", "json"]);
    assert!(again.stderr.contains("4 jobs (4 finished before)"), "{}", again.stderr);
    assert_eq!(again.good(), table);
    assert_eq!(alone.table_json("small"), table, "without a coordinator");

    let spread = Place::new();
    let (_coordinator, url) = spread.coordinator();
    // Neither slots nor threads change a result.
    let _workers = [["one", "1", "3"], ["two", "auto", "2"]]
        .map(|[name, slots, threads]| spread.worker(&url, name, &["--slots", slots, "--threads", threads]));
    spread.submit("small", SMALL);
    spread.run(&["watch", "small"]).good();
    assert_eq!(spread.table_json("small.yaml"), table);
}

#[test]
fn a_replaced_sweep_is_reported_and_its_results_are_still_shown() {
    let place = Place::new();
    let tiny = SMALL.replace("seeds: 2", "seeds: 2\ntable: {decimals: 4}");
    let tiny = tiny
        .replace("epochs: 2", "epochs: 1")
        .replace("1500", "256")
        .replace("1000", "256")
        .replace("0.4\ngrid", "0.5\ngrid");
    place.file("tiny.yaml", &tiny);
    place.file("other.yaml", tiny.replace("lr: 1e-3", "lr: 1e-2").replace("[cce, gce]", "[mae]"));
    let table = place.run(&["run", "tiny.yaml"]).good();
    let replaced = place.run(&["run", "other.yaml"]);
    let note = "`small` was submitted before from another file, with 4 other jobs, 4 of them finished";
    assert!(replaced.stderr.contains(note) && !replaced.stderr.contains("dropped"), "{}", replaced.stderr);
    replaced.good();
    assert_eq!(place.run(&["table", "tiny.yaml"]).good(), table);
    let renamed = place.file("renamed.yaml", tiny.replace("sweep: small", "sweep: renamed"));
    assert_eq!(place.run(&["table", renamed.to_str().unwrap()]).good(), table.replace("small", "renamed"));

    let mean = |arguments: &[&str]| {
        let text = place.run(&[&["table", "tiny.yaml"], arguments].concat()).good();
        let row = text.lines().find(|line| line.starts_with("gce")).unwrap().to_owned();
        let mean = row.split(" ±").next().unwrap().rsplit(' ').next().unwrap();
        mean.split_once('.').unwrap().1.len()
    };
    assert_eq!((mean(&[]), mean(&["--decimals", "1"]), mean(&["--decimals", "10"])), (4, 1, 10));
    assert_eq!(place.run(&["table", "tiny.yaml", "--decimals", "11"]).code, Some(2));
    // A text of another encoding is named.
    place.file("utf16.yaml", [0xff, 0xfe, b's', 0]);
    let utf16 = place.run(&["check", "utf16.yaml"]);
    assert!(
        utf16.code == Some(3) && utf16.stderr.contains("UTF-16; ") | utf16.stderr.contains("save the file as UTF-8"),
        "{}",
        utf16.stderr
    );
}

#[test]
fn an_interrupted_run_stops_cleanly_and_resumes() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("seeds: 2", "seeds: 3"));
    let mut run = place.start(&["run", "small.yaml", "--slots", "1"]);
    run.wait_for("1 of 6 jobs finished");
    run.signal("INT");
    let (code, log) = run.wait();
    assert_eq!(code, Some(130), "{log}");
    assert!(log.contains("run the same command again to resume"), "{log}");
    let before = finished(&place);
    assert!((1..6).contains(&before));
    let again = place.run(&["run", "small.yaml"]);
    assert!(again.stderr.contains(&format!("{before} finished before")), "{}", again.stderr);
    // Slots and threads follow from the number of cores.
    let division = again.stderr.lines().find(|line| line.ends_with(" each")).unwrap();
    assert!(division.contains(" jobs at once, ") || division.contains("one job at a time, "), "{division}");
    again.good();
    assert_eq!(finished(&place), 6);
}

#[test]
fn a_killed_worker_loses_no_result_and_another_takes_over() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator();
    place.submit("small", SMALL);
    let first = place.worker(&url, "first", &[]);
    eventually("one job is finished", || finished(&place) >= 1);
    first.kill();
    let _second = place.worker(&url, "second", &["--slots", "2"]);
    place.run(&["watch", "small"]).good();
    assert_eq!(finished(&place), 4);
}

#[test]
fn results_survive_a_killed_coordinator_and_the_worker_reconnects() {
    let place = Place::new();
    let (coordinator, url) = place.coordinator();
    let address = url.trim_start_matches("http://").to_owned();
    let _worker = place.worker(&url, "w", &[]);
    place.submit("small", SMALL);
    eventually("one job is finished", || finished(&place) >= 1);
    let before = finished(&place);
    coordinator.kill();
    assert!(finished(&place) >= before, "read from the store");
    let _coordinator = place.start(&["coordinator", "--listen", &address]);
    eventually("the coordinator answers", || place.run(&["watch", "small"]).code == Some(0));
    assert_eq!(finished(&place), 4);
}

#[test]
fn a_coordinator_killed_after_ten_results_has_lost_none() {
    let place = Place::new();
    let tiny = SMALL.replace("seeds: 2", "seeds: 5").replace("epochs: 2", "epochs: 1").replace("1500", "200");
    let (coordinator, url) = place.coordinator();
    place.submit("small", &tiny.replace("1000", "100"));
    let _worker = place.worker(&url, "w", &["--slots", "2"]);
    eventually("ten jobs are finished", || finished(&place) == 10);
    coordinator.kill();
    assert_eq!(finished(&place), 10, "read from the store");
    let (_again, _) = place.coordinator();
    assert_eq!(finished(&place), 10, "and served by the next coordinator");
    let status = place.run(&["status"]).good();
    assert!(status.contains("small") && status.contains("10 finished"), "{status}");
}

#[test]
fn a_cancelled_sweep_keeps_its_results_and_has_a_partial_table() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator();
    place.submit("small", SMALL);
    place.run(&["cancel", "small"]).good();
    assert_eq!(place.run(&["watch", "small"]).code, Some(1), "the sweep has ended without all results");
    let _worker = place.worker(&url, "w", &[]);
    let table = place.run(&["table", "small"]).good();
    assert!(table.contains("partial: 0 of 4 jobs finished, 4 cancelled"), "{table}");
    place.run(&["submit", "small.yaml"]).good();
    place.run(&["watch", "small"]).good();
    assert!(!place.run(&["table", "small"]).good().contains("partial"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_runner_loses_only_its_attempt() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator();
    let worker = place.worker(&url, "w", &[]);
    place.submit("small", &SMALL.replace("epochs: 2", "epochs: 12"));
    place.wait_for_an_epoch();
    let runner = children(worker.id())[0];
    signal(runner, "KILL");
    place.run(&["watch", "small"]).good();
    assert_eq!(finished(&place), 4);
    assert_ne!(children(worker.id()), [runner]);
    let endings = place.query("SELECT group_concat(ending) FROM attempts WHERE ending <> 'finished'");
    assert_eq!(endings, "infrastructure", "not out of memory");
}
