//! Every file in `invalid-sweeps` is rejected with the diagnostics at its end.
//!
//! A file holds a sweep and, after the line `# expected diagnostics`, the diagnostics as comments: place, the text there,
//! title, label and help. After changing a message run
//! `UPDATE_EXPECTED=1 cargo test --package plusminus-core --test invalid_sweeps` and read the difference.

#![allow(clippy::disallowed_methods, reason = "the invalid sweeps are files")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::input::Problem;
use plusminus_core::sweep_file;
use std::fmt::Write;
use std::path::Path;

/// Separates a sweep from its diagnostics.
const SEPARATOR: &str = "# expected diagnostics\n";

/// The diagnostics as comment lines.
fn rendered(text: &str, problems: &[Problem]) -> String {
    let mut out = String::new();
    for Problem { title, span, label, help } in problems {
        let before = &text[..span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let shown = text[span.clone()].replace('\n', "⏎");
        writeln!(out, "# {line}:{column} ⟦{shown}⟧\n#   {title}\n#   ^ {label}").unwrap();
        if let Some(help) = help {
            writeln!(out, "#   help: {help}").unwrap();
        }
    }
    out
}

#[test]
fn every_invalid_sweep_is_rejected_with_its_diagnostics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid-sweeps");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 91, "no case may be lost");
    let mut different = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (sweep, expected) = text.rsplit_once(SEPARATOR).unwrap_or((&text, ""));
        let problems = sweep_file::read(sweep, sweep_file::MAX_JOBS).expect_err(name);
        assert!(!problems.is_empty(), "{name} is rejected without a reason");
        let found = rendered(sweep, &problems);
        if found != expected && update {
            std::fs::write(&file, format!("{sweep}{SEPARATOR}{found}")).unwrap();
        } else if found != expected {
            different.push(format!("{name}: expected\n{expected}found\n{found}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
