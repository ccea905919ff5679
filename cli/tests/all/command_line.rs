//! Help, completions, man pages and the schema.

use crate::common::Place;
use std::collections::BTreeSet;

/// The help of a command, as a terminal with 100 columns shows it.
fn help(arguments: &[&str]) -> String {
    let place = Place::new();
    let output = place.plusminus(&[arguments, &["--help"]].concat()).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `plusminus --help` lists, apart from `help`.
fn commands() -> BTreeSet<String> {
    let help = help(&[]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn help_of_run() {
    insta::assert_snapshot!(help(&["run"]));
}

#[test]
fn help_of_worker() {
    insta::assert_snapshot!(help(&["worker"]));
}

#[test]
fn help_of_table() {
    insta::assert_snapshot!(help(&["table"]));
}

#[test]
fn the_first_line_of_every_help_fits_into_a_terminal() {
    for command in commands() {
        let help = help(&[&command]);
        let line = help.lines().next().unwrap();
        assert!(!line.is_empty() && line.len() <= 80 && !line.ends_with('.'), "{command}: {line}");
    }
}

#[test]
fn completions_of_every_shell_complete_commands_and_options() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).good();
        assert!(script.contains("run") && script.contains("checkpoint-every"), "{shell}: {script}");
    }
    assert_eq!(place.run(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn every_command_has_a_man_page() {
    let place = Place::new();
    place.run(&["man", "pages"]).good();
    let entries = place.path().join("pages").read_dir().unwrap();
    let pages: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected = commands().into_iter().map(|command| format!("plusminus-{command}.1"));
    assert_eq!(pages, expected.chain(["plusminus.1".to_owned()]).collect());
    let page = std::fs::read_to_string(place.path().join("pages/plusminus-run.1")).unwrap();
    assert!(page.contains(".TH plusminus-run 1") && page.contains("SWEEP"), "{page}");
}

#[test]
fn the_schema_is_valid_json_and_names_its_dialect() {
    let schema: serde_json::Value = serde_json::from_str(&Place::new().run(&["schema"]).good()).unwrap();
    assert!(schema["$schema"].as_str().is_some_and(|dialect| dialect.contains("json-schema.org")), "{schema}");
}
