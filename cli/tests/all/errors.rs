//! Errors of the command line: a clear text, a hint and a fixed exit code.

use crate::common::disk::{Filler, Mount};
use crate::common::{Daemon, Place, SMALL};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// Runs a command that fails with `code`, and returns its error, without the path of the temporary directory.
fn error_of(place: &Place, arguments: &[&str], code: i32) -> String {
    let answer = place.run(arguments);
    assert_eq!(answer.code, Some(code), "{}{}", answer.stdout, answer.stderr);
    answer.stderr.replace(place.path().to_str().unwrap(), "HERE")
}

/// Removes the log lines of a daemon before its error.
fn without_log(text: &str) -> &str {
    &text[text.find("error: ").unwrap()..]
}

#[test]
fn a_worker_without_a_coordinator_fails_after_its_patience() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let text = error_of(&place, &["worker", "--device", "cpu", "--coordinator", &url, "--patience", "0.3"], 4);
    insta::assert_snapshot!(text.replace(&url, "URL"));
}

#[test]
fn a_worker_whose_name_is_taken_is_refused() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator();
    let mut first = place.start(&["worker", "--coordinator", &url, "--name", "w"]);
    first.wait_for("connected");
    let other = ["--state", "other", "--patience", "1"];
    let text = error_of(&place, &[&["worker", "--coordinator", &url, "--name", "w"], &other[..]].concat(), 4);
    insta::assert_snapshot!(without_log(&text).replace(&url, "URL"));
}

#[test]
fn a_malformed_url_is_answered_with_an_example() {
    insta::assert_snapshot!(error_of(&Place::new(), &["worker", "--device", "cpu", "--coordinator", "not a url"], 4));
}

#[test]
fn slots_and_threads_must_be_numbers_in_range() {
    let place = Place::new();
    for (option, expected) in
        [("--slots", "expected `auto` or a number from 1 to 1024"), ("--threads", "expected a number from 1 to 1024")]
    {
        for wrong in ["0", "all", "2000", "1.5"] {
            let text = error_of(&place, &["worker", option, wrong], 2);
            assert!(text.contains(expected) && text.contains(wrong), "{text}");
        }
    }
}

#[test]
fn a_port_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = error_of(&Place::new(), &["coordinator", "--listen", &address], 5).replace(&address, "ADDRESS");
    insta::assert_snapshot!(text);
}

#[test]
fn listening_beyond_the_loopback_interface_is_refused() {
    insta::assert_snapshot!(error_of(&Place::new(), &["coordinator", "--listen", "0.0.0.0:0"], 5));
}

#[test]
fn a_second_coordinator_cannot_use_the_same_state_directory() {
    let place = Place::new();
    let _first = place.coordinator();
    insta::assert_snapshot!(error_of(&place, &["coordinator", "--listen", "127.0.0.1:0"], 6));
}

#[test]
fn commands_that_need_a_coordinator_explain_how_to_start_one() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    insta::assert_snapshot!(error_of(&place, &["submit", "small.yaml"], 4));
    insta::assert_snapshot!(error_of(&place, &["status"], 6));
    insta::assert_snapshot!(error_of(&place, &["submit", "small.yaml", "--coordinator", "http://127.0.0.1:9"], 4));
}

#[test]
fn the_error_for_an_unknown_sweep_lists_the_known_ones() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let _coordinator = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    for command in ["table", "status", "watch", "cancel"] {
        let text = error_of(&place, &[command, "smal"], 7);
        assert!(text.starts_with("error: sweep `smal` not found\nhint: ") && text.ends_with(" small\n"), "{text}");
    }
    insta::assert_snapshot!(error_of(&place, &["table", "small", "--metric", "accuracy"], 7));
}

#[test]
fn a_missing_sweep_file_is_reported() {
    insta::assert_snapshot!(error_of(&Place::new(), &["run", "absent.yaml"], 3));
}

#[test]
fn a_state_directory_that_cannot_be_created_is_reported() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.file("state", "a file");
    insta::assert_snapshot!(error_of(&place, &["run", "small.yaml", "--state", "state"], 6));
}

/// Creates a directory as plusminus does, which would report that it closes one that others can read.
fn private_directory(path: &Path) {
    fs::create_dir(path).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_that_is_not_a_store_is_reported() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    private_directory(&place.state());
    place.file(".plusminus/plusminus.sqlite", "this is not a database, but a line of plain text ".repeat(50));
    insta::assert_snapshot!(error_of(&place, &["run", "small.yaml"], 6));
}

#[test]
fn a_truncated_data_file_is_named_in_the_failure() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("fashion-mnist-10k", "fashion-mnist"));
    // The header of 60,000 images, and a few of their bytes.
    let header = [0, 0, 8, 3, 0, 0, 0xea, 0x60, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2, 3];
    place.file("data/fashion-mnist/train-images-idx3-ubyte", header);
    place.file("data/fashion-mnist/train-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0xea, 0x60]);
    place.file("data/fashion-mnist/t10k-images-idx3-ubyte", header);
    place.file("data/fashion-mnist/t10k-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0x27, 0x10]);
    let text = error_of(&place, &["run", "small.yaml", "--datasets", "data"], 1);
    insta::assert_snapshot!(text.lines().find(|line| line.starts_with("error: ")).unwrap());
}

#[test]
fn a_missing_part_of_a_data_set_is_named_in_the_failure() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("fashion-mnist-10k", "fashion-mnist"));
    place.file("data/fashion-mnist/train-labels-idx1-ubyte", "");
    let text = error_of(&place, &["run", "small.yaml", "--datasets", "data"], 1);
    insta::assert_snapshot!(text.lines().find(|line| line.starts_with("error: ")).unwrap());
}

/// Returns the number of finished jobs in the last progress line of a log.
fn reported(log: &str) -> u64 {
    let count =
        |line: &str| line.split_once(": small: ")?.1.split_once(" jobs finished")?.0.split(' ').next()?.parse().ok();
    log.lines().rev().find_map(count).unwrap_or(0)
}

/// Waits until a run reports a finished job, and returns the log up to that line.
fn first_result(run: &mut Daemon) -> String {
    let mut log = String::new();
    while reported(&log) == 0 {
        log += &run.wait_for(" jobs finished");
    }
    log
}

#[test]
fn a_full_disk_stalls_a_run_and_keeps_every_reported_result() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 20"));
    let Some(mount) = Mount::new(&place, "size=1m") else { return };
    let mut run = place.start(&["run", "small.yaml", "--slots", "2"]);
    let mut log = first_result(&mut run);
    let filler = Filler::start(&mount.0);
    log += &run.wait_for("no space is left for the store");
    run.kill();
    drop(filler);
    let status = place.run(&["status", "--output", "json"]).good();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let kept = status["sweeps"][0]["jobs"]["finished"].as_u64().unwrap();
    let reported = reported(&log);
    assert!((1..=kept).contains(&reported), "{reported} reported, {kept} kept");
    place.run(&["run", "small.yaml"]).good();
}

#[test]
fn a_run_continues_when_its_disk_has_room_again() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 10"));
    let Some(mount) = Mount::new(&place, "size=1m") else { return };
    let mut run = place.start(&["run", "small.yaml", "--slots", "1"]);
    first_result(&mut run);
    let filler = Filler::start(&mount.0);
    run.wait_for("no space is left for the store");
    let refused = place.run(&["submit", "small.yaml"]);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("no space is left for the store"), "{}", refused.stderr);
    drop(filler);
    let (code, log) = run.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_read_only_state_directory_can_be_read_but_not_run_on() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 1"));
    let Some(mount) = Mount::new(&place, "size=8m") else { return };
    let table = place.run(&["run", "small.yaml"]).good();
    mount.remount("ro");
    insta::assert_snapshot!(error_of(&place, &["run", "small.yaml"], 6));
    assert_eq!(place.run(&["table", "small"]).good(), table);
}
