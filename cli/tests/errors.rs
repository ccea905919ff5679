//! What users see when the world is not as it should be: a clear error and a fixed exit code.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;
#[path = "common/disk.rs"]
mod disk;

use common::{Daemon, Place, SMALL};
use disk::{Filler, Mount};
use std::net::TcpListener;

/// The error, with what differs from run to run taken out.
fn told(place: &Place, arguments: &[&str], code: i32) -> String {
    let answer = place.run(arguments);
    assert_eq!(answer.code, Some(code), "{}{}", answer.stdout, answer.stderr);
    answer.stderr.replace(place.path().to_str().unwrap(), "HERE")
}

#[test]
fn a_worker_pointed_at_nothing_says_so() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let said = told(&place, &["worker", "--device", "cpu", "--coordinator", &url, "--patience", "0.3"], 4);
    let said = said.replace(&url, "URL");
    insta::assert_snapshot!(said);
}

#[test]
fn a_worker_whose_name_is_taken_says_so() {
    let place = Place::new();
    let (_coordinator, url) = place.coordinator();
    let mut first = place.start(&["worker", "--coordinator", &url, "--name", "w"]);
    first.wait_for("connected");
    let other = ["--state", "other", "--patience", "1"];
    let said = told(&place, &[&["worker", "--coordinator", &url, "--name", "w"], &other[..]].concat(), 4);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    insta::assert_snapshot!(error.replace(&url, "URL"));
}

#[test]
fn a_worker_given_no_url_says_what_one_looks_like() {
    insta::assert_snapshot!(told(&Place::new(), &["worker", "--device", "cpu", "--coordinator", "not a url"], 4));
}

#[test]
fn a_number_of_slots_or_threads_that_is_none_is_told() {
    let place = Place::new();
    for (option, expected) in
        [("--slots", "expected `auto` or a number from 1 to 1024"), ("--threads", "expected a number from 1 to 1024")]
    {
        for wrong in ["0", "all", "2000", "1.5"] {
            let said = told(&place, &["worker", option, wrong], 2);
            assert!(said.contains(expected) && said.contains(wrong), "{said}");
        }
    }
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = told(&Place::new(), &["coordinator", "--listen", &address], 5).replace(&address, "ADDRESS");
    insta::assert_snapshot!(said);
}

#[test]
fn listening_beyond_the_loopback_interface_is_refused() {
    insta::assert_snapshot!(told(&Place::new(), &["coordinator", "--listen", "0.0.0.0:0"], 5));
}

#[test]
fn two_coordinators_cannot_have_one_state_directory() {
    let place = Place::new();
    let _first = place.coordinator();
    insta::assert_snapshot!(told(&place, &["coordinator", "--listen", "127.0.0.1:0"], 6));
}

#[test]
fn commands_that_need_a_coordinator_say_how_to_start_one() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    insta::assert_snapshot!(told(&place, &["submit", "small.yaml"], 4));
    insta::assert_snapshot!(told(&place, &["status"], 6));
    insta::assert_snapshot!(told(&place, &["submit", "small.yaml", "--coordinator", "http://127.0.0.1:9"], 4));
}

#[test]
fn an_unknown_sweep_is_answered_with_the_known_ones() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let _coordinator = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    for command in ["table", "status", "watch", "cancel"] {
        let said = told(&place, &[command, "smal"], 7);
        assert_eq!(said, "error: sweep `smal` not found; known sweeps: small\n", "{command}");
    }
    insta::assert_snapshot!(told(&place, &["table", "small", "--metric", "accuracy"], 7));
}

#[test]
fn a_sweep_file_that_is_not_there_is_told() {
    insta::assert_snapshot!(told(&Place::new(), &["run", "absent.yaml"], 3));
}

#[test]
fn a_state_directory_that_cannot_be_made_is_told() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.file("state", "a file");
    insta::assert_snapshot!(told(&place, &["run", "small.yaml", "--state", "state"], 6));
}

#[test]
fn a_store_that_is_no_store_is_told() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.file(".plusminus/plusminus.sqlite", "this is no database, but text that goes on for a while ".repeat(50));
    insta::assert_snapshot!(told(&place, &["run", "small.yaml"], 6));
}

#[test]
fn a_truncated_data_file_fails_its_jobs_and_is_named() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("fashion-mnist-10k", "fashion-mnist"));
    // The header of 60,000 images, and a few of their bytes.
    let header = [0, 0, 8, 3, 0, 0, 0xea, 0x60, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2, 3];
    place.file("data/fashion-mnist/train-images-idx3-ubyte", header);
    place.file("data/fashion-mnist/train-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0xea, 0x60]);
    place.file("data/fashion-mnist/t10k-images-idx3-ubyte", header);
    place.file("data/fashion-mnist/t10k-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0x27, 0x10]);
    let said = told(&place, &["run", "small.yaml", "--datasets", "data"], 1);
    insta::assert_snapshot!(said.lines().find(|line| line.starts_with("error: ")).unwrap());
}

#[test]
fn a_data_set_of_which_a_part_is_missing_fails_its_jobs_and_says_which() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("fashion-mnist-10k", "fashion-mnist"));
    place.file("data/fashion-mnist/train-labels-idx1-ubyte", "");
    let said = told(&place, &["run", "small.yaml", "--datasets", "data"], 1);
    insta::assert_snapshot!(said.lines().find(|line| line.starts_with("error: ")).unwrap());
}

/// How many jobs a run has reported finished last.
fn reported(log: &str) -> u64 {
    let count =
        |line: &str| line.split_once(": small: ")?.1.split_once(" jobs finished")?.0.split(' ').next()?.parse().ok();
    log.lines().rev().find_map(count).unwrap_or(0)
}

/// What a run has said until it has reported a result.
fn first_result(run: &mut Daemon) -> String {
    let mut log = String::new();
    while reported(&log) == 0 {
        log += &run.wait_for(" jobs finished");
    }
    log
}

#[test]
fn a_state_directory_that_fills_up_holds_a_run_up_and_keeps_all_that_was_reported() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 6"));
    let Some(mount) = Mount::new(&place, "size=1m") else { return };
    let mut run = place.start(&["run", "small.yaml", "--state", "state", "--slots", "2"]);
    let mut log = first_result(&mut run);
    let filler = Filler::start(&mount.0);
    log += &run.wait_for("no space is left for the store");
    run.signal("KILL");
    drop(run);
    drop(filler);
    let status = place.run(&["status", "--state", "state", "--output", "json"]).good();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let kept = status["sweeps"][0]["jobs"]["finished"].as_u64().unwrap();
    let reported = reported(&log);
    assert!((1..=kept).contains(&reported), "{reported} were reported finished, {kept} were kept");
    place.run(&["run", "small.yaml", "--state", "state"]).good();
}

#[test]
fn a_run_goes_on_by_itself_when_there_is_room_again() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 3"));
    let Some(mount) = Mount::new(&place, "size=1m") else { return };
    let mut run = place.start(&["run", "small.yaml", "--state", "state", "--slots", "1"]);
    first_result(&mut run);
    let filler = Filler::start(&mount.0);
    run.wait_for("no space is left for the store");
    let refused = place.run(&["submit", "small.yaml", "--state", "state"]);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("no space is left for the store"), "{}", refused.stderr);
    drop(filler);
    let (code, log) = run.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_read_only_state_directory_cannot_be_run_on_but_can_be_read() {
    let place = Place::new();
    place.file("small.yaml", SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 1"));
    let Some(mount) = Mount::new(&place, "size=8m") else { return };
    let table = place.run(&["run", "small.yaml", "--state", "state"]).good();
    mount.remount("ro");
    insta::assert_snapshot!(told(&place, &["run", "small.yaml", "--state", "state"], 6));
    assert_eq!(place.run(&["table", "small", "--state", "state"]).good(), table);
}
