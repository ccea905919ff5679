//! Commands whose reader goes away, watches across restarts, and lists of jobs.

use crate::common::{Daemon, PATIENCE, Place, SMALL};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// Waits for the end of a process, which must come by itself.
fn ended(mut child: Child) -> (ExitStatus, String) {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the process does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (status, stderr)
}

fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A coordinator on `.plusminus` with the submitted sweep `small`, whose jobs wait.
fn waiting(place: &Place) -> Daemon {
    let (coordinator, _) = place.coordinator();
    place.submit("small", SMALL);
    coordinator
}

#[test]
fn a_watch_ends_when_its_reader_has_gone_also_while_nothing_happens() {
    let place = Place::new();
    let _coordinator = waiting(&place);
    let mut watch = piped(&mut place.plusminus(&["watch", "small", "--output", "json"]));
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with('{') && line.contains("\"queued\":4"), "{line}");
    drop(reader);
    let (status, stderr) = ended(watch);
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn every_command_ends_quietly_without_a_reader() {
    let place = Place::new();
    let _coordinator = waiting(&place);
    let job = place.query("SELECT min(id) FROM jobs");
    for arguments in [
        &["status"][..],
        &["status", "--output", "json"],
        &["table", "small"],
        &["table", "small", "--format", "json"],
        &["jobs", "small"],
        &["jobs", "small", "--output", "json"],
        &["watch", "small"],
        &["watch", "small", "--output", "json"],
        &["explain", &job],
        &["check", "small.yaml", "--jobs"],
        &["schema"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let command = &mut place.plusminus(arguments);
        let (status, stderr) = ended(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!(status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_watch_continues_after_its_coordinator_has_restarted() {
    let place = Place::new();
    let coordinator = waiting(&place);
    let mut watch = piped(&mut place.plusminus(&["watch", "small", "--output", "json"]));
    let (mut lines, mut notes) =
        (BufReader::new(watch.stdout.take().unwrap()), BufReader::new(watch.stderr.take().unwrap()));
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    coordinator.kill();
    let mut note = String::new();
    notes.read_line(&mut note).unwrap();
    assert!(note.contains("note: the coordinator does not answer; the watch continues"), "{note}");
    // It takes another port.
    let (coordinator, _) = place.coordinator();
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"queued\":4"), "{line}");
    place.run(&["cancel", "small"]).good();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().last().unwrap().contains("\"cancelled\":true"), "{rest}");
    assert_eq!(watch.wait().unwrap().code(), Some(1));
    let mut rest = String::new();
    notes.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("does not answer"), "{rest}");
    drop(coordinator);
}

#[test]
fn jobs_are_listed_with_and_without_a_coordinator() {
    let place = Place::new();
    let coordinator = waiting(&place);
    let list = || place.run(&["jobs", "small", "--state", "queued", "--where", "loss=gce"]).good();
    let live = list();
    assert_eq!(live.lines().count(), 3, "{live}");
    assert!(live.lines().skip(1).all(|line| line.contains("  queued  gce")), "{live}");
    coordinator.kill();
    assert_eq!(list(), live);
    let csv = place.run(&["jobs", "small", "--state", ".plusminus", "--output", "csv"]).good();
    assert_eq!(csv.lines().count(), 5, "{csv}");
    let json = place.run(&["jobs", "small", "--state", "failed", "--output", "json"]).good();
    assert_eq!(json, "[]\n");
    for (arguments, message) in [
        (["--state", "broken"], "`broken` is neither a state of jobs nor a state directory"),
        (["--where", "los=gce"], "no configuration of `small` has a setting `los`"),
        (["--where", "loss=gcee"], "its values are cce, gce"),
    ] {
        let answer = place.run(&[&["jobs", "small"], &arguments[..]].concat());
        assert_eq!(answer.code, Some(7), "{}", answer.stderr);
        assert!(answer.stderr.contains(message), "{}", answer.stderr);
    }
}
