//! The output of `check`: problems with the lines at fault, and the description of a valid sweep. Which problems a file has is
//! tested in `core/tests/invalid_sweeps.rs`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::Place;

/// A typo, a wide character before it, and a number out of range.
const INVALID: &str = "\
sweep: gce-fashion
seeds: 5
base:
  dataset: fashion-mnist-10k
  model: cnn
  optimizer: {name: adam}
  epochs: 2
grid:
  noise:
    - {kind: uniform, rate: 40}
  loss: [cce, mäe]
";

#[test]
fn problems_are_shown_beside_their_lines_with_exit_code_3() {
    let place = Place::new();
    place.file("invalid.yaml", INVALID);
    let answer = place.run(&["check", "invalid.yaml"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), ""));
    insta::assert_snapshot!(answer.stderr);
}

#[test]
fn problems_are_coloured_only_on_request() {
    let place = Place::new();
    place.file("invalid.yaml", INVALID);
    let output = place.plusminus(&["check", "invalid.yaml"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let coloured = String::from_utf8(output.stderr).unwrap();
    let plain = place.run(&["check", "invalid.yaml"]).stderr;
    assert!(coloured.contains('\u{1b}') && !plain.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn a_good_sweep_file_is_described() {
    let place = Place::new();
    place.file("small.yaml", common::SMALL);
    let description = place.run(&["check", "small.yaml", "--jobs"]).good();
    // Memory and host differ from run to run.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+ MiB", "[N] MiB");
    settings.add_filter(r"on this machine \(.*\)", "on this machine ([DIVISION])");
    settings.bind(|| insta::assert_snapshot!(description));
}
