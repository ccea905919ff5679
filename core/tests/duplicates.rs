//! A value that a grid gives twice is refused, however it is written.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::sweep_file;

/// A sweep file with this grid.
fn sweep(grid: &str) -> String {
    let base = "dataset: fashion-mnist, model: cnn, loss: cce, optimizer: {name: sgd, lr: 0.01}, epochs: 120";
    format!("sweep: twice\nseeds: 2\nbase: {{{base}}}\ngrid:\n{grid}\n")
}

/// An axis with spellings of the same value, and one of another.
const SPELLINGS: &[(&str, &[&str], &str)] = &[
    ("loss", &["gce", "{name: gce}", "{name: gce, q: 0.7}", "{q: 7e-1, name: gce}", "{name: gce, q: [0.70]}"], "mae"),
    ("loss.name", &["cce", "'cce'"], "mae"),
    ("model", &["cnn", "{name: cnn, dropout: 0.5}", "{dropout: .5, name: cnn}"], "{name: cnn, dropout: 0}"),
    (
        "optimizer",
        &["adam", "{name: adam, lr: 1e-3}", "{name: adam, beta1: 0.9, weight_decay: -0.0}"],
        "{name: sgd, lr: 1}",
    ),
    ("optimizer.weight_decay", &["0", "0.0", "-0.0", "0e0"], "1e-4"),
    ("optimizer.lr", &["0.1", "1e-1", ".1", "0.10"], "1"),
    ("optimizer.nesterov", &["false", "False"], "null"),
    ("schedule", &["constant", "{name: constant}"], "cosine"),
    ("schedule", &["{name: step, milestones: [40]}", "{name: step, gamma: 0.1, milestones: [0x28]}"], "constant"),
    ("noise", &["none", "{kind: none}"], "{kind: uniform, rate: 0}"),
    (
        "noise",
        &[
            "{kind: uniform, rate: 0}",
            "{kind: uniform, rate: -0.0}",
            "{kind: uniform, rate: 0, include_true_class: false}",
        ],
        "none",
    ),
    (
        "noise",
        &[
            "{kind: class-dependent, rate: 0.2, map: [[9, 1], [2, 0]]}",
            "{map: [[2, 0], [9, 1]], kind: class-dependent, rate: 0.2}",
        ],
        "{kind: class-dependent, rate: 0.2, map: [[9, 1]]}",
    ),
    ("validation", &["0", "0.0", "-0.0"], "1"),
    ("validation", &["5000", "0x1388"], "0.5"),
    ("batch_size", &["32", "0x20", "0o40"], "64"),
    ("train_size", &["60000", "null", "~"], "59999"),
    ("test_size", &["10000", "null"], "9999"),
    ("noise_seed", &["7", "0x7"], "null"),
    ("split", &["random", "'random'"], "null"),
    ("normalize", &["channel", "'channel'"], "unit"),
    ("normalize", &["{mean: [0.5], std: [1]}", "{mean: [5e-1], std: [1.0]}"], "unit"),
    ("diagnostics", &["[softmax, rank]", "[rank, softmax]"], "[]"),
    ("initial_weights", &["a.safetensors", "{file: a.safetensors}"], "b.safetensors"),
    (
        "parent",
        &["{set: {loss: mae}}", "{set: {loss: {name: mae}}, at: final}", "{at: final, set: {loss.name: mae}}"],
        "null",
    ),
    ("parent", &["null", "~"], "{set: {loss: mae}}"),
];

#[test]
fn two_spellings_of_one_value_are_refused_with_one_problem() {
    for (axis, spellings, other) in SPELLINGS {
        for (i, first) in spellings.iter().enumerate() {
            for second in &spellings[i + 1..] {
                let text = sweep(&format!("  {axis}:\n    - {first}\n    - {second}"));
                let problems = sweep_file::read(&text, 100).expect_err(&text);
                let titles: Vec<&str> = problems.iter().map(|problem| problem.title.as_str()).collect();
                assert_eq!(titles, ["a value is given twice"], "{text}");
                let label = &problems[0].label;
                assert!(label.contains("in line 6"), "the first place is named: {label}");
                assert_eq!(text[..problems[0].span.start].matches('\n').count() + 1, 7, "the second is shown: {text}");
                // In two axes, and with a value between the two.
                let text = sweep(&format!("  epochs: [120, 130]\n  {axis}: [{first}, {second}]"));
                assert!(sweep_file::read(&text, 100).is_err(), "{text}");
                // A store may hold such a file.
                assert!(sweep_file::read_stored(&text, 100).is_ok(), "{text}");
            }
        }
        if *other != "null" || spellings[0] == "7" {
            let text = sweep(&format!("  {axis}: [{}, {other}]", spellings[0]));
            let sweep = sweep_file::read(&text, 100).unwrap_or_else(|problems| panic!("{text}{problems:#?}"));
            assert_eq!(sweep.cells.len(), 2, "{text}");
        }
    }
}

#[test]
fn a_profile_may_not_give_a_value_twice_either() {
    let text = sweep("  loss: [cce, mae]") + "profiles:\n  p: {grid: {loss: [gce, {name: gce, q: 0.7}]}}\n";
    let problems = sweep_file::read_all(&text, 100).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.title.as_str()).collect::<Vec<_>>(), ["a value is given twice"]);
}
