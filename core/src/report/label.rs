//! The labels of configuration values in tables.

use crate::display_text;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The label of a value that a configuration lacks.
pub(super) const ABSENT: &str = "–";

/// The parameters that a noise always shows after its name, because papers name it by them.
const NOISE_PARAMETERS: &[&str] = &["case", "file", "rate"];

/// Labels the values of one path as briefly as distinguishes them.
///
/// The label of a scalar is the scalar. The label of a method (a map with a `name` or a `kind`) is its name with the parameters that vary
/// among the methods of this name in the sweep: `gce`, or `gce (q=0.3)` and `gce (q=0.7)`. A noise always shows its rate, case and
/// file: `uniform 0.6`, `case 2 0.3`. The label of a parent is its loss with the other settings that vary among the parents. Different
/// values never have the same label.
pub(super) struct Labeller {
    /// The parameters that vary, by name of a method.
    varying: BTreeMap<String, BTreeSet<String>>,
    /// The settings that vary among parents.
    varying_in_parents: BTreeSet<String>,
}

impl Labeller {
    /// `values` are all values of the path in the sweep.
    pub(super) fn new<'v>(values: impl IntoIterator<Item = &'v Value>) -> Labeller {
        let mut first: BTreeMap<&str, &Map<String, Value>> = BTreeMap::new();
        let mut varying: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut first_parent: Option<BTreeMap<&str, &Value>> = None;
        let mut varying_in_parents = BTreeSet::new();
        for value in values {
            if let Some((name, map)) = method(value) {
                let one = *first.entry(name).or_insert(map);
                let differ = one.keys().chain(map.keys()).filter(|key| one.get(*key) != map.get(*key));
                varying.entry(name.to_owned()).or_default().extend(differ.cloned());
            } else if let Some(parts) = parent(value) {
                let one = first_parent.get_or_insert_with(|| parts.clone());
                let differ = one.keys().chain(parts.keys()).filter(|key| one.get(*key) != parts.get(*key));
                varying_in_parents.extend(differ.map(|key| (*key).to_owned()));
            }
        }
        Labeller { varying, varying_in_parents }
    }

    /// The label of one of the values, or of its absence.
    pub(super) fn label(&self, value: Option<&Value>) -> String {
        let Some(value) = value else { return ABSENT.to_owned() };
        if let Some(parts) = parent(value) {
            let others = parts.iter().filter(|(key, _)| **key != "loss" && self.varying_in_parents.contains(**key));
            let others: Vec<_> = others.map(|(key, value)| format!("{key}={}", plain(value))).collect();
            let loss = parts.get("loss").map_or_else(String::new, |loss| plain(loss));
            return if others.is_empty() { loss } else { format!("{loss} ({})", others.join(", ")) };
        }
        let Some((name, map)) = method(value) else { return plain(value) };
        let always = if map.contains_key("kind") { NOISE_PARAMETERS } else { &[] };
        let varies = |key: &str| self.varying.get(name).is_some_and(|keys| keys.contains(key));
        let shown = map.iter().filter(|(key, _)| varies(key) && !always.contains(&key.as_str()));
        let name = if name == "dmi-case" { "case" } else { name };
        let label = always.iter().filter_map(|key| map.get(*key)).map(plain);
        let label = std::iter::once(name.to_owned()).chain(label).collect::<Vec<_>>().join(" ");
        let parameters = parameters(shown);
        if parameters.is_empty() { label } else { format!("{label} ({parameters})") }
    }
}

/// The name of a method, and all of its map.
fn method(value: &Value) -> Option<(&str, &Map<String, Value>)> {
    let map = value.as_object()?;
    let name = map.get("name").or_else(|| map.get("kind"))?.as_str()?;
    Some((name, map))
}

/// The settings of a parent's configuration and the epoch of its weights.
fn parent(value: &Value) -> Option<BTreeMap<&str, &Value>> {
    let (configuration, at) = (value.get("configuration")?.as_object()?, value.get("at")?);
    let parts = configuration.iter().map(|(key, value)| (key.as_str(), value));
    Some(parts.chain([("at", at)]).collect())
}

fn parameters<'v>(entries: impl Iterator<Item = (&'v String, &'v Value)>) -> String {
    let shown = |(key, value): (&String, &Value)| match value {
        Value::Array(pairs) if key == "map" => {
            format!("{key}={}", pairs.iter().map(arrow).collect::<Vec<_>>().join(" "))
        }
        _ => format!("{key}={}", plain(value)),
    };
    entries.map(shown).collect::<Vec<_>>().join(", ")
}

/// An entry of a class map: true class → given class.
fn arrow(pair: &Value) -> String {
    match pair.as_array().map(Vec::as_slice) {
        Some([from, to]) => format!("{}→{}", plain(from), plain(to)),
        _ => plain(pair),
    }
}

/// The whole value on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => ABSENT.to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
        }
        Value::String(text) => display_text::line(text).to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => match method(value) {
            Some((name, _)) => {
                let rest = parameters(map.iter().filter(|(key, _)| *key != "name" && *key != "kind"));
                if rest.is_empty() { name.to_owned() } else { format!("{name} ({rest})") }
            }
            None => parameters(map.iter()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(values: Value) -> Vec<String> {
        let values = values.as_array().unwrap().clone();
        let labeller = Labeller::new(&values);
        values.iter().map(|value| labeller.label(Some(value))).collect()
    }

    #[test]
    fn scalars_are_their_own_labels() {
        let values = json!([0.2, 1.0, 120, 1e-7, true, "cifar-10", null]);
        assert_eq!(labels(values), ["0.2", "1", "120", "1e-7", "true", "cifar-10", "–"]);
    }

    #[test]
    fn a_method_shows_only_the_parameters_that_vary() {
        let values = json!([{"name": "cce"}, {"name": "gce", "q": 0.7}]);
        assert_eq!(labels(values), ["cce", "gce"]);
        let values = json!([{"name": "cce"}, {"name": "gce", "q": 0.3, "k": 1}, {"name": "gce", "q": 0.7, "k": 1}]);
        assert_eq!(labels(values), ["cce", "gce (q=0.3)", "gce (q=0.7)"]);
    }

    #[test]
    fn a_parameter_that_only_some_methods_have_is_shown() {
        let values = json!([{"name": "forward"}, {"name": "forward", "transition": "estimated"}]);
        assert_eq!(labels(values), ["forward", "forward (transition=estimated)"]);
    }

    #[test]
    fn a_noise_always_shows_its_rate() {
        let noise = json!([
            {"kind": "none"},
            {"kind": "uniform", "rate": 0.6, "include_true_class": false},
            {"kind": "class-dependent", "rate": 0.3},
        ]);
        assert_eq!(labels(noise), ["none", "uniform 0.6", "class-dependent 0.3"]);
        let noise = json!([
            {"kind": "uniform", "rate": 0.6, "include_true_class": false},
            {"kind": "uniform", "rate": 0.8, "include_true_class": true},
        ]);
        assert_eq!(labels(noise), ["uniform 0.6 (include_true_class=false)", "uniform 0.8 (include_true_class=true)"]);
    }

    #[test]
    fn a_noise_is_named_as_in_papers() {
        let noise = json!([
            {"kind": "dmi-case", "case": 1, "rate": 0.3},
            {"kind": "dmi-case", "case": 2, "rate": 0.3},
            {"kind": "open-set", "rate": 0.4, "draw": "exact"},
            {"kind": "file", "file": "cifar10n/worst.txt"},
            {"kind": "file", "file": "cifar10n/aggregate.txt"},
            {"kind": "transition-matrix", "matrix": [[0.9, 0.1], [0.0, 1.0]]},
        ]);
        let expected = [
            "case 1 0.3",
            "case 2 0.3",
            "open-set 0.4",
            "file cifar10n/worst.txt",
            "file cifar10n/aggregate.txt",
            "transition-matrix",
        ];
        assert_eq!(labels(noise), expected);
    }

    #[test]
    fn maps_matrices_and_draws_are_shown_if_they_vary() {
        let noise = json!([
            {"kind": "class-dependent", "rate": 0.3},
            {"kind": "class-dependent", "rate": 0.3, "map": [[2, 0], [9, 1]]},
            {"kind": "class-dependent", "rate": 0.3, "draw": "exact"},
            {"kind": "transition-matrix", "matrix": [[0.9, 0.1], [0.0, 1.0]]},
            {"kind": "transition-matrix", "matrix": [[1.0, 0.0], [0.1, 0.9]]},
        ]);
        let expected = [
            "class-dependent 0.3",
            "class-dependent 0.3 (map=2→0 9→1)",
            "class-dependent 0.3 (draw=exact)",
            "transition-matrix (matrix=[[0.9, 0.1], [0, 1]])",
            "transition-matrix (matrix=[[1, 0], [0.1, 0.9]])",
        ];
        assert_eq!(labels(noise), expected);
        assert_eq!(crate::report::latex::escaped("map=2→0"), "map=2$\\to$0");
    }

    #[test]
    fn a_parent_shows_its_loss_and_the_settings_that_vary() {
        let parent = |loss: &str, epochs: u32, at: &str| json!({"configuration": {"loss": {"name": loss}, "epochs": epochs, "batch_size": 64}, "at": at});
        assert_eq!(labels(json!([parent("cce", 20, "final"), parent("mae", 20, "final"), null])), ["cce", "mae", "–"]);
        let values =
            json!([parent("cce", 20, "final"), parent("cce", 40, "final"), parent("cce", 20, "best-validation")]);
        let expected = ["at=final, epochs=20", "at=final, epochs=40", "at=best-validation, epochs=20"];
        assert_eq!(labels(values), expected.map(|parts| format!("cce ({parts})")));
    }

    #[test]
    fn lists_and_maps_without_a_name_are_shown_whole() {
        let values = json!([[{"crop": 4}, "flip"], {"folder": "images"}, [40, 80], []]);
        assert_eq!(labels(values), ["[crop=4, flip]", "folder=images", "[40, 80]", "[]"]);
    }

    #[test]
    fn a_missing_value_is_a_dash() {
        assert_eq!(Labeller::new([]).label(None), "–");
    }
}
