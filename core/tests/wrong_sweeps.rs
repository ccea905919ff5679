//! Every file in `wrong-sweeps` is refused, and says why, where and what to do.

#![allow(clippy::disallowed_methods, reason = "the wrong files are files")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::input::Problem;
use plusminus_core::sweep_file;
use std::fmt::Write;
use std::path::Path;

/// Each problem as `line:column text`, then title, label and help.
fn rendered(text: &str, problems: &[Problem]) -> String {
    let mut out = String::new();
    for Problem { title, span, label, help } in problems {
        let before = &text[..span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let shown = text[span.clone()].replace('\n', "⏎");
        writeln!(out, "{line}:{column} ⟦{shown}⟧\n  {title}\n  ^ {label}").unwrap();
        if let Some(help) = help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    out
}

#[test]
fn every_wrong_sweep_is_refused_with_reasons() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong-sweeps");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let name = file.file_stem().unwrap().to_str().unwrap();
            let problems = sweep_file::read(&text, sweep_file::MAX_JOBS).expect_err(name);
            assert!(!problems.is_empty(), "{name} says why");
            insta::assert_snapshot!(name, rendered(&text, &problems));
        }
    });
}
