//! What users see of wrong sweep files.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::Place;
use std::path::Path;

#[test]
fn every_wrong_sweep_file_is_answered_with_its_problems_and_exit_code_3() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/wrong-sweeps");
    let place = Place::new();
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            place.file(name, std::fs::read(&file).unwrap());
            let answer = place.run(&["check", name]);
            assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), ""), "{name}");
            insta::assert_snapshot!(name, answer.stderr);
        }
    });
}

#[test]
fn a_good_sweep_file_is_described() {
    let place = Place::new();
    place.file("small.yaml", common::SMALL);
    let said = place.run(&["check", "small.yaml", "--jobs"]).good();
    // What an engine takes, and what machine this is, is not what this is about.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+ MiB", "[N] MiB");
    settings.add_filter(r"on this machine \(.*\)", "on this machine ([DIVISION])");
    settings.bind(|| insta::assert_snapshot!(said));
}
