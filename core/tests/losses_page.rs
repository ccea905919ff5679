//! `docs/losses.md` is generated from the declarations of the losses.
//!
//! After changing a loss run `UPDATE_EXPECTED=1 cargo test --package plusminus-core --test losses_page`.

#![allow(clippy::disallowed_methods, reason = "the page is a file")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::input::{Declaration, Presence, Shape};
use plusminus_core::methods::losses::{Loss, LossReference};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "\
# Losses

Every loss is a function of the logits z of a sample and its given label y. p is softmax(z), e_y the one-hot vector of y, and T\\[i\\]\\[j\\]
the probability that noise gives label j to class i. Gradients are with respect to z. Loss and gradient of a batch are means over its
samples, unless the formula names a batch.

A sweep file names a loss alone (`loss: gce`) or with parameters (`loss: {name: gce, q: 0.5}`). Every parameter has a path, such as
`loss.q`, and may vary in `grid`. Job results keep the loss with all its parameters.

<!-- Generated from the declarations of the losses by core/tests/losses_page.rs. -->
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for LossReference { name, title, formula, source, parameters } in Loss::reference() {
        let (value, gradient) = formula.split_once("; gradient").unwrap();
        write!(page, "\n## {name}\n\n{title}.\n\n- loss: {value}\n- gradient:{}\n\n{source}\n", escaped(gradient))
            .unwrap();
        if parameters.is_empty() {
            continue;
        }
        page.push_str("\n| parameter | values | default | meaning |\n|---|---|---|---|\n");
        for parameter in &parameters {
            let Declaration { key, about, .. } = parameter;
            let meaning = escaped(about.unwrap_or_else(|| panic!("`{key}` of `{name}` has no description")));
            writeln!(page, "| `{key}` | {} | {} | {meaning} |", values(&parameter.shape), default(&parameter.presence))
                .unwrap();
        }
    }
    page
}

/// Text whose `|`, `*` and `_` are no markup.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn values(shape: &Shape) -> String {
    match shape {
        Shape::Number(bounds) => format!("a number{bounds}"),
        Shape::Integer { least, most, .. } if *most < i64::MAX as u64 => {
            format!("a whole number from {least} to {most}")
        }
        Shape::Integer { least, .. } => format!("a whole number from {least}"),
        Shape::Name { names, .. } => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        other => panic!("no loss has such a parameter yet: {other:?}"),
    }
}

fn default(presence: &Presence) -> String {
    match presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "none".to_owned(),
        Presence::Default(serde_json::Value::String(name)) => format!("`{name}`"),
        Presence::Default(value) => value.to_string(),
    }
}

#[test]
fn the_page_of_losses_is_generated_from_their_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/losses.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap();
    assert!(shipped == page(), "docs/losses.md is out of date: run this test with UPDATE_EXPECTED=1");
}
