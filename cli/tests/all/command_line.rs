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

/// Runs a command with environment variables; returns its code and its errors.
fn with_variables(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = place.plusminus(arguments);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    let place = Place::new();
    place.file("small.yaml", crate::common::SMALL);
    let empty =
        ["PLUSMINUS_STATE", "PLUSMINUS_COORDINATOR", "PLUSMINUS_DATASETS", "RUST_LOG"].map(|variable| (variable, ""));
    for arguments in [
        &["status"][..],
        &["table", "small"],
        &["explain", "00"],
        &["watch", "small"],
        &["submit", "small.yaml"],
        &["backup", "copy"],
    ] {
        let unset = with_variables(&place, &[], arguments);
        assert_eq!(with_variables(&place, &empty, arguments), unset, "{arguments:?}");
        assert!(!unset.1.contains("a value is required"), "{}", unset.1);
    }
}

#[test]
fn every_command_about_sweeps_takes_the_coordinator_from_the_environment() {
    let place = Place::new();
    place.file("small.yaml", crate::common::SMALL);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let variable = [("PLUSMINUS_COORDINATOR", &*address)];
    for arguments in [
        &["status"][..],
        &["watch", "small"],
        &["submit", "small.yaml"],
        &["table", "small"],
        &["compare", "small"],
        &["significance", "small"],
        &["explain", "00"],
        &["resume", "small"],
        &["cancel", "small"],
        &["worker", "--patience", "0"],
    ] {
        let (code, text) = with_variables(&place, &variable, arguments);
        assert!(code == Some(4) && text.contains(&address), "{arguments:?}: {text}");
    }
    let (code, text) = with_variables(&place, &variable, &["table", "small", "--state", "mine"]);
    assert!(code == Some(6) && text.contains("mine"), "--state overrides the variable: {text}");
}

#[test]
fn durations_have_one_form_in_every_option() {
    let place = Place::new();
    for (command, options) in [("coordinator", &["--lease"][..]), ("worker", &["--stall", "--grace", "--patience"])] {
        for option in options {
            let (code, text) = with_variables(&place, &[], &[command, option, "1 fortnight"]);
            assert!(
                code == Some(2) && text.contains("expected a time") && text.contains("1m30s") | text.contains("10s"),
                "{text}"
            );
        }
    }
    let worker = ["worker", "--coordinator", ":1", "--stall", "1m30s", "--grace", "1d", "--checkpoint-every", "1.5m"];
    let (code, text) = with_variables(&place, &[], &[&worker[..], &["--patience", "100ms"]].concat());
    assert!(code == Some(4) && text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn the_schema_is_valid_json_and_names_its_dialect() {
    let schema: serde_json::Value = serde_json::from_str(&Place::new().run(&["schema"]).good()).unwrap();
    assert!(schema["$schema"].as_str().is_some_and(|dialect| dialect.contains("json-schema.org")), "{schema}");
}
