//! Workers whose processes are killed, frozen and told to leave.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Daemon, Place, children, eventually, signal};
use plusminus_proto::v1::{self, report::Body};
use prost::Message;
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// One job of some seconds.
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

/// Starts a coordinator with leases of so many seconds, on the state that it had before if there was one.
fn coordinator(place: &Place, lease: &str) -> (Daemon, String) {
    let address = place.path().join(".plusminus/address");
    let _ = fs::remove_file(&address);
    let daemon = place.start(&["coordinator", "--listen", "127.0.0.1:0", "--lease", lease]);
    let read = || fs::read_to_string(&address).unwrap_or_default();
    eventually("the coordinator has written its address", || read().ends_with('\n') || read().starts_with("http"));
    (daemon, read().trim().to_owned())
}

fn worker(place: &Place, url: &str, name: &str, more: &[&str]) -> Daemon {
    let arguments = ["worker", "--coordinator", url, "--slots", "1", "--threads", "1", "--name", name, "--state", name];
    place.start(&[&arguments[..], more].concat())
}

/// Submits the sweep of one job and waits until it is being trained.
fn begin(place: &Place) {
    place.file("one.yaml", ONE);
    place.run(&["submit", "one.yaml"]).good();
    eventually("an epoch is done", || ask(place, "SELECT count(*) FROM epochs") != "0");
}

/// What the coordinator's store says.
fn ask(place: &Place, question: &str) -> String {
    let store = Connection::open(place.path().join(".plusminus/plusminus.sqlite")).unwrap();
    store
        .query_row(question, [], |row| {
            let value: rusqlite::types::Value = row.get(0)?;
            Ok(match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
        })
        .unwrap()
}

/// Whether an outbox holds the result of a job.
fn holds_a_result(outbox: &Path) -> bool {
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
fn a_result_that_a_killed_worker_could_not_deliver_is_delivered_when_it_starts_again() {
    let place = Place::new();
    let (first, url) = coordinator(&place, "120");
    let killed = worker(&place, &url, "w", &[]);
    begin(&place);
    first.signal("KILL");
    drop(first);
    assert_eq!(ask(&place, "SELECT state FROM jobs"), "running", "it was killed before the job had ended");
    eventually("cut off, the job is trained to its end", || holds_a_result(&place.path().join("w/outbox.sqlite")));
    killed.signal("KILL");
    drop(killed);
    // In between it works for another coordinator, whom none of that concerns.
    let elsewhere = Place::new();
    let (_other, others) = coordinator(&elsewhere, "120");
    let astray = worker(&place, &others, "w", &[]);
    let is_there = || elsewhere.run(&["status"]).good().contains("worker w ");
    eventually("the other coordinator has the worker", is_there);
    astray.signal("TERM");
    let (code, log) = astray.wait();
    assert!(code == Some(0) && log.contains("for another store"), "{log}");
    assert!(holds_a_result(&place.path().join("w/outbox.sqlite")), "what is for its own is kept");
    let (_second, url) = coordinator(&place, "120");
    let again = worker(&place, &url, "w", &[]);
    place.run(&["watch", "one"]).good();
    assert_eq!(ask(&place, "SELECT attempts FROM jobs"), "1", "nothing was trained twice");
    assert_eq!(ask(&place, "SELECT count(*) FROM epochs"), "10", "every epoch is there");
    let checkpoints = || place.path().join("w/checkpoints").read_dir().is_ok_and(|mut jobs| jobs.next().is_some());
    eventually("its checkpoints are gone", || !checkpoints());
    again.signal("TERM");
    assert_eq!(again.wait().0, Some(0));
    assert!(!holds_a_result(&place.path().join("w/outbox.sqlite")), "what was acknowledged is gone");
}

#[test]
fn a_worker_that_is_told_to_leave_keeps_its_job_and_another_goes_on_from_there() {
    let undisturbed = Place::new();
    undisturbed.file("one.yaml", ONE);
    undisturbed.run(&["run", "one.yaml"]).good();
    let weights = "SELECT json_extract(facts, '$.weights') FROM jobs";

    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "30");
    // So rarely that only leaving makes one.
    let kept = ["--checkpoints", "kept", "--checkpoint-every", "1h"];
    let first = worker(&place, &url, "first", &kept);
    begin(&place);
    first.signal("TERM");
    let (code, log) = first.wait();
    assert_eq!(code, Some(0), "{log}");
    let done: u32 = ask(&place, "SELECT max(epoch) FROM epochs").parse().unwrap();
    let ending = "SELECT ending || ': ' || message FROM attempts WHERE attempt = 1";
    assert!(ask(&place, ending).starts_with("preempted: stopped"), "{}", ask(&place, ending));
    let _second = worker(&place, &url, "second", &kept);
    place.run(&["watch", "one"]).good();
    assert_eq!(ask(&place, "SELECT attempts FROM jobs"), "2");
    // Were they trained again, the speeds among the measurements would be others.
    let until = format!("SELECT group_concat(measurements) FROM epochs WHERE epoch <= {done} AND attempt");
    let [first, second] = [1, 2].map(|attempt| ask(&place, &format!("{until} = {attempt}")));
    assert_eq!(first, second, "it goes on from where the first one left");
    assert_eq!(ask(&place, "SELECT count(*) FROM epochs WHERE attempt = 2"), "10");
    assert_eq!(ask(&place, weights), ask(&undisturbed, weights), "the same bytes");
}

#[test]
fn a_worker_that_is_frozen_past_its_lease_and_woken_changes_nothing() {
    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "2");
    let frozen = worker(&place, &url, "frozen", &[]);
    begin(&place);
    let all = [&[frozen.child.id()][..], &children(frozen.child.id())].concat();
    all.iter().for_each(|process| signal(*process, "STOP"));
    let _second = worker(&place, &url, "second", &[]);
    eventually("the job is another's", || ask(&place, "SELECT max(attempt) FROM epochs") == "2");
    let of_the_first = "SELECT count(*) || ' ' || max(at) FROM epochs WHERE attempt = 1";
    let (before, ending) = (ask(&place, of_the_first), ask(&place, "SELECT ending FROM attempts WHERE attempt = 1"));
    assert_eq!(ending, "infrastructure");
    all.iter().for_each(|process| signal(*process, "CONT"));
    place.run(&["watch", "one"]).good();
    assert_eq!(ask(&place, "SELECT attempts FROM jobs"), "2");
    assert_eq!(ask(&place, of_the_first), before, "whatever it had yet to say");
    assert_eq!(ask(&place, "SELECT group_concat(attempt) FROM attempts WHERE ending = 'finished'"), "2");
    let told = "SELECT count(*) FROM metrics WHERE metric = 'test_accuracy' AND NOT superseded AND attempt = 2";
    assert_eq!(ask(&place, told), "10", "each epoch once, of one attempt");
}

#[test]
fn a_runner_that_hangs_is_killed_and_its_job_tried_again() {
    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "30");
    let worker = worker(&place, &url, "w", &["--stall", "1s", "--checkpoint-every", "1epochs"]);
    begin(&place);
    let runner = children(worker.child.id())[0];
    signal(runner, "STOP");
    place.run(&["watch", "one"]).good();
    let message = ask(&place, "SELECT message FROM attempts WHERE attempt = 1");
    assert!(message.starts_with("the runner process made no progress for 1 s; "), "{message}");
    assert_eq!(ask(&place, "SELECT attempts FROM jobs"), "2");
    assert_ne!(children(worker.child.id()), [runner]);
}

#[test]
fn a_runner_that_is_told_to_end_keeps_its_job_and_the_worker_goes_on() {
    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "30");
    let worker = worker(&place, &url, "w", &["--checkpoint-every", "1h"]);
    begin(&place);
    signal(children(worker.child.id())[0], "TERM");
    place.run(&["watch", "one"]).good();
    assert_eq!(ask(&place, "SELECT ending FROM attempts WHERE attempt = 1"), "preempted");
    assert_eq!(ask(&place, "SELECT failures FROM jobs"), "0", "no fault of the job's");
    // The next attempt may have been handed to the runner while it ended.
    let last = "SELECT count(*) FROM epochs WHERE attempt = (SELECT max(attempt) FROM attempts)";
    assert_eq!(ask(&place, last), "10");
}

#[test]
fn a_signal_ends_a_worker_at_once_that_is_leaving_because_its_standard_input_was_closed() {
    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "30");
    let name = ["--name", "w", "--slots", "1", "--threads", "1"];
    let mut command = place.plusminus(&[&["worker", "--attached", "--coordinator", &url], &name[..]].concat());
    let mut worker = Daemon::of(command.stdin(Stdio::piped()));
    begin(&place);
    // It does not stop, so the worker waits for it.
    let runner = children(worker.child.id())[0];
    signal(runner, "STOP");
    drop(worker.child.stdin.take());
    worker.wait_for("leaving");
    worker.signal("TERM");
    let (code, log) = worker.wait();
    // Frozen, it does not hear that its worker is gone.
    signal(runner, "KILL");
    assert_eq!(code, Some(130), "{log}");
}

#[test]
fn two_workers_cannot_have_one_state_directory_and_its_name_stays() {
    let place = Place::new();
    let (_coordinator, url) = coordinator(&place, "30");
    let mut first = worker(&place, &url, "w", &["-v"]);
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
