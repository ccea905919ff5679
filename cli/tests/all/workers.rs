//! Workers whose processes are killed, frozen and asked to leave.

use crate::common::{Daemon, Place, children, eventually, signal};
use plusminus_proto::v1::{self, report::Body};
use prost::Message;
use rusqlite::Connection;
use std::path::Path;
use std::process::Stdio;

/// One job that takes some seconds.
const ONE: &str = "\
sweep: one
seeds: 1
base:
  dataset: fashion-mnist-10k
  model: cnn
  noise: {kind: uniform, rate: 0.4}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 10
  batch_size: 64
  train_size: 1500
  test_size: 400
  loss: cce
";

/// Submits the sweep and waits until its job trains.
fn start_training(place: &Place) {
    place.submit("one", ONE);
    place.wait_for_an_epoch();
}

/// Returns whether an outbox contains the result of a job.
fn contains_a_result(outbox: &Path) -> bool {
    let Ok(outbox) = Connection::open(outbox) else { return false };
    let Ok(mut reports) = outbox.prepare("SELECT report FROM reports") else { return false };
    let reports: Vec<Vec<u8>> = reports.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let finished = |bytes: &Vec<u8>| {
        let body = v1::Report::decode(bytes.as_slice()).unwrap().body;
        matches!(body, Some(Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(_)) })))
    };
    reports.iter().any(finished)
}

#[test]
fn a_restarted_worker_delivers_the_result_of_its_killed_predecessor() {
    let place = Place::new();
    let (first, url) = place.coordinator_with_lease(120);
    let killed = place.worker(&url, "w", &[]);
    start_training(&place);
    first.kill();
    assert_eq!(place.query("SELECT state FROM jobs"), "running", "the coordinator was killed before the job ended");
    eventually("the worker finishes the job without a coordinator", || {
        contains_a_result(&place.path().join("w/outbox.sqlite"))
    });
    killed.kill();
    // Meanwhile it works for another coordinator, which must not get the result.
    let elsewhere = Place::new();
    let (_other, others) = elsewhere.coordinator_with_lease(120);
    let astray = place.worker(&others, "w", &[]);
    let connected = || elsewhere.run(&["status"]).good().contains("worker w ");
    eventually("the worker is connected to the other coordinator", connected);
    astray.signal("TERM");
    let (code, log) = astray.wait();
    assert!(code == Some(0) && log.contains("withholding reports for another store"), "{log}");
    assert!(contains_a_result(&place.path().join("w/outbox.sqlite")), "the result for its own coordinator is kept");
    let (_second, url) = place.coordinator_with_lease(120);
    let again = place.worker(&url, "w", &[]);
    place.run(&["watch", "one"]).good();
    assert_eq!(place.query("SELECT attempts FROM jobs"), "1", "no job trained twice");
    assert_eq!(place.query("SELECT count(*) FROM epochs"), "10", "the store has every epoch");
    let checkpoints = || place.path().join("w/checkpoints").read_dir().is_ok_and(|mut jobs| jobs.next().is_some());
    eventually("its checkpoints are deleted", || !checkpoints());
    again.signal("TERM");
    assert_eq!(again.wait().0, Some(0));
    assert!(!contains_a_result(&place.path().join("w/outbox.sqlite")), "acknowledged reports are deleted");
}

#[test]
fn a_leaving_worker_writes_a_checkpoint_and_another_resumes_there() {
    let undisturbed = Place::new();
    undisturbed.file("one.yaml", ONE);
    undisturbed.run(&["run", "one.yaml"]).good();
    let weights = "SELECT json_extract(facts, '$.weights') FROM jobs";

    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(30);
    // The interval is so long that only leaving writes a checkpoint.
    let checkpoints = ["--checkpoints", "checkpoints", "--checkpoint-every", "1h"];
    let first = place.worker(&url, "first", &checkpoints);
    start_training(&place);
    first.signal("TERM");
    let (code, log) = first.wait();
    assert_eq!(code, Some(0), "{log}");
    let done: u32 = place.query("SELECT max(epoch) FROM epochs").parse().unwrap();
    let ending = "SELECT ending || ': ' || message FROM attempts WHERE attempt = 1";
    assert!(place.query(ending).starts_with("preempted: stopped"), "{}", place.query(ending));
    let _second = place.worker(&url, "second", &checkpoints);
    place.run(&["watch", "one"]).good();
    assert_eq!(place.query("SELECT attempts FROM jobs"), "2");
    // If the epochs had trained again, the measured speeds would differ.
    let until = format!("SELECT group_concat(measurements) FROM epochs WHERE epoch <= {done} AND attempt");
    let [first, second] = [1, 2].map(|attempt| place.query(&format!("{until} = {attempt}")));
    assert_eq!(first, second, "it resumes where the first one left");
    assert_eq!(place.query("SELECT count(*) FROM epochs WHERE attempt = 2"), "10");
    assert_eq!(place.query(weights), undisturbed.query(weights), "the same bytes");
}

#[test]
fn a_worker_that_wakes_after_its_lease_changes_nothing() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(2);
    let frozen = place.worker(&url, "frozen", &[]);
    start_training(&place);
    let all = [&[frozen.id()][..], &children(frozen.id())].concat();
    all.iter().for_each(|process| signal(*process, "STOP"));
    let _second = place.worker(&url, "second", &[]);
    eventually("the other worker trains the job", || place.query("SELECT max(attempt) FROM epochs") == "2");
    let first_attempt = "SELECT count(*) || ' ' || max(at) FROM epochs WHERE attempt = 1";
    let (before, ending) = (place.query(first_attempt), place.query("SELECT ending FROM attempts WHERE attempt = 1"));
    assert_eq!(ending, "preempted");
    all.iter().for_each(|process| signal(*process, "CONT"));
    place.run(&["watch", "one"]).good();
    assert_eq!(place.query("SELECT attempts FROM jobs"), "2");
    assert_eq!(place.query(first_attempt), before, "late reports of the first attempt are fenced");
    assert_eq!(place.query("SELECT group_concat(attempt) FROM attempts WHERE ending = 'finished'"), "2");
    let rows = "SELECT count(*) FROM metrics WHERE metric = 'test_accuracy' AND NOT superseded AND attempt = 2";
    assert_eq!(place.query(rows), "10", "each epoch once, from one attempt");
}

#[test]
fn a_runner_that_hangs_is_killed_and_its_job_retried() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(30);
    let worker = place.worker(&url, "w", &["--stall", "1s", "--checkpoint-every", "1epochs"]);
    start_training(&place);
    let runner = children(worker.id())[0];
    signal(runner, "STOP");
    place.run(&["watch", "one"]).good();
    let message = place.query("SELECT message FROM attempts WHERE attempt = 1");
    assert!(message.starts_with("the runner process made no progress for 1 s; "), "{message}");
    assert_eq!(place.query("SELECT attempts FROM jobs"), "2");
    assert_ne!(children(worker.id()), [runner]);
}

#[test]
fn a_runner_that_gets_sigterm_writes_a_checkpoint_and_is_replaced() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(30);
    let worker = place.worker(&url, "w", &["--checkpoint-every", "1h"]);
    start_training(&place);
    signal(children(worker.id())[0], "TERM");
    place.run(&["watch", "one"]).good();
    assert_eq!(place.query("SELECT ending FROM attempts WHERE attempt = 1"), "preempted");
    assert_eq!(place.query("SELECT failures FROM jobs"), "0", "preemption is not a failure");
    // The next attempt may have reached the runner while it was exiting. Then there is a third.
    let last = "SELECT count(*) FROM epochs WHERE attempt = (SELECT max(attempt) FROM attempts)";
    assert_eq!(place.query(last), "10");
}

#[test]
fn a_signal_ends_a_worker_at_once_that_is_leaving_already() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(30);
    let name = ["--name", "w", "--slots", "1", "--threads", "1"];
    let mut command = place.plusminus(&[&["worker", "--attached", "--coordinator", &url], &name[..]].concat());
    let mut worker = Daemon::start(command.stdin(Stdio::piped()));
    start_training(&place);
    // The worker waits for its frozen runner.
    let runner = children(worker.id())[0];
    signal(runner, "STOP");
    drop(worker.child.stdin.take());
    worker.wait_for("leaving");
    worker.signal("TERM");
    let (code, log) = worker.wait();
    // A frozen runner does not notice that its worker has exited.
    signal(runner, "KILL");
    assert_eq!(code, Some(130), "{log}");
}

#[test]
fn a_state_directory_belongs_to_one_worker_and_keeps_its_name() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator_with_lease(30);
    let mut first = place.worker(&url, "w", &["-v"]);
    first.wait_for("connected to");
    let arguments = ["worker", "--coordinator", &url, "--patience", "0", "--state", "w"];
    let second = place.run(&arguments);
    assert_eq!(second.code, Some(6), "{}", second.stderr);
    assert!(second.stderr.contains("in use by another worker"), "{}", second.stderr);
    first.signal("TERM");
    assert_eq!(first.wait().0, Some(0));
    let other = place.run(&[&arguments[..], &["--name", "other"]].concat());
    assert_eq!(other.code, Some(6));
    assert!(other.stderr.contains("belongs to worker `w`, but --name is `other`"), "{}", other.stderr);
}
