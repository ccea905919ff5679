//! Reading any text terminates quickly, without a panic, and reports only places that exist.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::sweep_file;
use proptest::prelude::*;
use std::fmt::Write;

const VALID: &str = "# ± Größe
sweep: gce-fashion
description: \"Fehlerraten ≥ 10 %, 噪声\"
seeds: [0, 1, 2]
base:
  dataset: fashion-mnist
  model: &m {name: resnet20, shortcut: pad}
  optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1e-4}
  schedule: {name: step, milestones: [40, 80], gamma: 0.1}
  epochs: 120
  validation: 0.1
  augment: [{crop: 4}, flip]
grid:
  noise:
    - none
    - {kind: uniform, rate: [0.2, 0.4]}
    - kind: class-dependent
      rate: [0.1, 0.3]
  loss: [cce, mae, {name: gce, q: 0.7}]
  model: [*m, 'resnet18']
overrides:
  - {when: {loss: gce, noise.rate: [0.2, 0.4]}, set: {epochs: 150, schedule.milestones: [80, 120]}}
exclude:
  - {loss: mae, noise.rate: 0.3}
table:
  rows: [model, loss]
  columns: [noise.kind, noise.rate]
  metric: test_accuracy
  at: best-validation
  bold: 2
";

/// Reads `text` and checks the sweep or the problems.
fn read_is_sound(text: &str) -> Result<(), TestCaseError> {
    match sweep_file::read(text, 1000) {
        Ok(sweep) => prop_assert!(!sweep.cells.is_empty() && !sweep.seeds.is_empty()),
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.span.start <= problem.span.end, "{problem:?}");
                prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?} in {text:?}");
                prop_assert!(!problem.title.is_empty() && !problem.label.is_empty());
            }
        }
    }
    Ok(())
}

/// A character boundary of `text` near the fraction `at` of its length.
fn place(text: &str, at: f64) -> usize {
    (0..=(at * text.len() as f64) as usize).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Text that a typo, or malice, puts into a file.
fn scrap() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,8}",
        proptest::sample::select(vec![
            "\n",
            "  ",
            "\t",
            ": ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "&a ",
            "*a",
            "*m",
            "!t ",
            "<<: ",
            "---\n",
            "? ",
            "|\n",
            "#",
            "~",
            ",",
            "\u{feff}",
            "\0",
            "-1",
            "1e999",
            ".nan",
            "99999999999999999999",
            "é",
            "%YAML 1.2\n",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in "(?s).{0,200}") {
        read_is_sound(&text)?;
    }

    #[test]
    fn any_punctuation_is_read(text in "[-\\[\\]{}:,&*!|>'\"%@?#~ \n\ta<=é]{0,120}") {
        read_is_sound(&text)?;
    }

    #[test]
    fn a_valid_file_with_mistakes_is_read(
        edits in proptest::collection::vec((0.0..1.0f64, 0usize..30, scrap(), 0u8..3), 1..4),
    ) {
        let mut text = VALID.to_owned();
        for (at, length, scrap, kind) in edits {
            let start = place(&text, at);
            let end = place(&text, (start + length) as f64 / text.len().max(1) as f64).max(start);
            let chunk = text[start..end].to_owned();
            match kind {
                0 => text.replace_range(start..end, ""),
                1 => text.insert_str(start, &scrap),
                _ => text.insert_str(end, &chunk),
            }
        }
        read_is_sound(&text)?;
    }
}

#[test]
fn the_valid_file_is_valid() {
    let sweep = sweep_file::read(VALID, 1000).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(sweep.cells.len(), (5 * 3 - 1) * 2);
}

#[test]
fn malicious_files_are_rejected_quickly() {
    let long = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let mut many_keys = String::new();
    (0..49_000).for_each(|i| writeln!(many_keys, "k{i}: {i}").unwrap());
    let mut texts: Vec<_> =
        ["[", "{", "- ", "? ", "a: ", "&a ", "*a ", "\"", "!a ", "[a: ", "{a: [", ", ", "a\n", "- - a\n", "|\n "]
            .map(long)
            .into();
    texts.push(many_keys.clone());
    texts.push(format!("{VALID}{}", many_keys));
    texts.push(format!(
        "sweep: a\nseeds: 9000000000000000000\nbase: {{}}\ngrid: {{loss: [{}]}}",
        "cce, ".repeat(90_000)
    ));
    let axis = format!("[{}]", (0..300).map(|i| format!("{i}, ")).collect::<String>());
    texts.push(format!(
        "sweep: a\nseeds: 1\nbase: {{}}\ngrid: {{noise: [{{kind: {axis}, rate: {axis}, a: {axis}, b: {axis}}}]}}"
    ));
    let deep = format!("{}\"'\"{}", "{a: ".repeat(60), "}".repeat(60));
    texts.push(format!("{VALID}x: {deep}").replace("[*m, 'resnet18']", &format!("[{deep}, {deep}]")));
    for text in texts {
        let problems = sweep_file::read(&text, sweep_file::MAX_JOBS).unwrap_err();
        assert!(!problems.is_empty() && problems.len() <= 100);
    }
}
