//! What users see when the world is not as it should be: a clear error and a fixed exit code.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Place, SMALL};
use std::fs;
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
    let said = told(&place, &["worker", "--coordinator", &url, "--patience", "0.3"], 4).replace(&url, "URL");
    insta::assert_snapshot!(said);
}

#[test]
fn a_worker_given_no_url_says_what_one_looks_like() {
    insta::assert_snapshot!(told(&Place::new(), &["worker", "--coordinator", "not a url"], 4));
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
        assert_eq!(said, "error: no sweep is called `smal`; there are small\n", "{command}");
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
fn a_missing_data_set_fails_its_jobs_and_names_the_places_looked_at() {
    let place = Place::new();
    let sweep = SMALL.replace("fashion-mnist-10k", "fashion-mnist");
    place.file("small.yaml", sweep);
    let data = place.path().join("data/fashion-mnist");
    fs::create_dir_all(&data).unwrap();
    // A file of the right name and no content is found before any other place is looked at.
    fs::write(data.join("train-images-idx3-ubyte"), [0, 0, 8, 3, 0, 0, 0, 9]).unwrap();
    let said = told(&place, &["run", "small.yaml", "--datasets", "data"], 1);
    assert!(said.contains("4 jobs failed (user-error)"), "{said}");
}
