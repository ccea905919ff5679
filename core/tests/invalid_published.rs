//! Invalid files of published results: every problem with its place.

use plusminus_core::sweep_file::read_published;
use std::fmt::Write;

/// The problems of `text`, each with the text at fault.
fn problems(text: &str) -> String {
    let problems = read_published(text).expect_err("the file has problems");
    problems.iter().fold(String::new(), |mut listed, problem| {
        let line = text[..problem.span.start].matches('\n').count() + 1;
        let place = text[problem.span.clone()].trim_end();
        let _ = writeln!(listed, "{line} ⟦{place}⟧\n  {}\n  {}", problem.title, problem.label);
        if let Some(help) = &problem.help {
            let _ = writeln!(listed, "  help: {help}");
        }
        listed
    })
}

#[test]
fn every_problem_is_reported_at_once() {
    insta::assert_snapshot!(problems(
        r#"reference: a table
titel: Somebody 2018
unit: per cent
std: sampled
n: 0
base: [cifar-10]
overrides:
  - {when: {dataset: cifar-10}}
columns:
  - {when: {noise: none}, metric: test_accuracy, at: final}
  - {when: {noise: uniform}, mertic: test_accuracy}
rows:
  - {when: {loss: cce}, values: [90 ± 1]}
  - {when: {loss: mae}, values: [90 + 1, ~]}
  - {when: {loss: gce}, values: [{valeu: 90}, ~]}
  - {when: {loss: sce}, values: [90 ± -1, {value: .nan}]}
  - {when: {loss: imae}, values: [~, 90]}
  - {when: {loss: dmi}}
  - cce
"#
    ));
}

#[test]
fn other_files_are_rejected_with_what_is_expected() {
    insta::assert_snapshot!(["", "- 1\n", "reference: a\n", "sweep: a\nbase: {}\n"].map(problems).join("---\n"));
}

#[test]
fn a_valid_file_is_read() {
    let text = "{reference: a, title: A, metric: m, at: final, n: 3, columns: [{}, {n: ~}], rows: [{values: [90 ± 1.50, 91.0]}]}";
    let published = read_published(text).unwrap();
    let [first, second] = published.results.as_slice() else { panic!("{published:?}") };
    assert_eq!((first.mean, first.std, first.n, first.printed.as_str()), (90.0, Some(1.5), Some(3), "90 ± 1.50"));
    assert_eq!((second.mean, second.std, second.n, second.printed.as_str()), (91.0, None, None, "91.0"));
}
