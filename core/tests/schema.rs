//! The JSON Schema of sweep files accepts every shipped sweep and rejects the invalid ones.

#![allow(clippy::disallowed_methods, reason = "sweeps, pages and the schema are files")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use boon::{Compiler, SchemaIndex, Schemas};
use plusminus_core::sweep_file;
use std::fs;
use std::path::{Path, PathBuf};

/// The names of the invalid sweeps that the schema accepts: their faults concern several keys, the whole grid, or the text of
/// the file. An editor shows nothing for them, so this list must not grow without a reason.
const ONLY_CHECKED: &str = "core/tests/only-checked.txt";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("sweep.json", sweep_file::schema()).unwrap();
        let index = compiler.compile("sweep.json", &mut schemas).unwrap();
        Validator { schemas, index }
    }

    /// Why `text` is not a sweep file for an editor.
    fn check(&self, text: &str) -> Result<(), String> {
        // By way of YAML's own values, which reject repeated keys.
        let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let json = serde_json::to_value(yaml).map_err(|error| error.to_string())?;
        self.schemas.validate(&json, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// The YAML files in `folder`, by name.
fn yaml_files(folder: &str) -> Vec<(String, String)> {
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn every_shipped_sweep_is_valid_and_names_the_schema() {
    let validator = Validator::new();
    let sweeps = yaml_files("sweeps");
    assert!(sweeps.len() >= 15);
    for (name, text) in sweeps {
        assert_eq!(validator.check(&text), Ok(()), "{name}");
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# yaml-language-server: $schema=schema.json", "{name}: first line");
    }
}

/// `UPDATE_EXPECTED=1` rewrites `sweeps/schema.json`.
#[test]
fn the_shipped_schema_is_the_generated_one() {
    let path = root().join("sweeps/schema.json");
    let generated = format!("{:#}\n", sweep_file::schema());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let shipped = fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == generated, "sweeps/schema.json is out of date: run this test with UPDATE_EXPECTED=1");
}

#[test]
fn every_example_of_the_reference_is_valid() {
    let validator = Validator::new();
    let page = fs::read_to_string(root().join("docs/sweep-file.md")).unwrap();
    let examples: Vec<&str> =
        page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("yaml\n")).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        // Fragments are completed by the keys that every sweep has.
        let mut text = example.to_owned();
        for (key, line) in [("sweep:", "sweep: example\n"), ("seeds:", "seeds: 1\n"), ("base:", "base: {}\n")] {
            if !example.lines().any(|line| line.starts_with(key)) {
                text.push_str(line);
            }
        }
        assert_eq!(validator.check(&text), Ok(()), "{example}");
    }
}

/// `UPDATE_EXPECTED=1` rewrites the list.
#[test]
fn invalid_sweeps_are_rejected_except_for_a_fixed_list() {
    let validator = Validator::new();
    let accepted = |text: &str| validator.check(text).is_ok();
    let names = yaml_files("core/tests/invalid-sweeps").into_iter().filter(|(_, text)| accepted(text));
    let found: String = names.map(|(name, _)| name.replace(".yaml", "\n")).collect();
    let list = root().join(ONLY_CHECKED);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&list, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&list).unwrap_or_default(), "{ONLY_CHECKED} lists other sweeps");
}

#[test]
fn the_schema_accepts_each_way_of_writing_a_value() {
    let validator = Validator::new();
    let base = "sweep: a\nseeds: [7, 3]\nbase: {dataset: mr, epochs: 1, parent: null, train_size: null}\n";
    let accepted = [
        "grid: {noise: [none, {kind: uniform, rate: [0.2, 0.4], draw: exact}], noise.rate: [0.1]}",
        "grid: {noise: [{kind: transition-matrix, matrix: [[[1, 0], [0, 1]], [[0.9, 0.1], [0, 1]]]}]}",
        "grid: {schedule: [{name: step, milestones: [[20], [30, 60]]}], augment: [[], [{crop: 4}, flip]]}",
        "grid: {normalize: [unit, {mean: [0.28], std: [0.35]}], diagnostics: [all, [rank]]}",
        "grid: {initial_weights: [a.safetensors, {file: a.safetensors}, null], loss: [{name: forward, transition: true}]}",
        "overrides: [{when: {loss: [mae, {q: 0.5}]}, set: {parent: {set: {loss: cce}, at: final}}}]",
        "exclude: [{loss: mae, noise.rate: [0.3, 0.4]}]",
        "table: {metric: class_accuracy_9, at: last-5-mean, rows: [noise.kind]}",
        "profiles: {smoke: {seeds: 1, grid: {noise: [none]}, set: {epochs: 1}}}",
    ];
    for more in accepted {
        assert_eq!(validator.check(&format!("{base}{more}\n")), Ok(()), "{more}");
    }
    let rejected = [
        "grid: {}",
        "grid: {noise: none}",
        "grid: {optimizer.beta: [0.9]}",
        "overrides: [{when: {loss: mae}}]",
        "table: {metric: class_accuracy_07}",
        "table: {at: last-0-mean}",
        "select: {over: [optimizer.lr]}",
        "profiles: {smoke: {}}",
        "gird: {loss: [cce]}",
    ];
    for more in rejected {
        assert!(validator.check(&format!("{base}{more}\n")).is_err(), "{more}");
    }
}
