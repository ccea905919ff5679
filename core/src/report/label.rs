//! How the values of a path are called in a table.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What stands for a value that a configuration does not have.
pub(super) const ABSENT: &str = "–";

/// Names the values of one path, as briefly as tells them apart.
///
/// A scalar is called by itself. A method (a map with a `name` or a `kind`) is called by that and by those parameters that
/// vary among the methods of its name in the sweep: `gce`, or `gce (q=0.3)` and `gce (q=0.7)`. A noise always shows its
/// rate: `uniform 0.6`. Two different values never have the same label.
pub(super) struct Labels {
    /// By name of a method: the parameters that vary.
    varying: BTreeMap<String, BTreeSet<String>>,
}

impl Labels {
    /// Learns from all `values` of the path in the sweep what varies.
    pub(super) fn among<'v>(values: impl IntoIterator<Item = &'v Value>) -> Labels {
        let mut first: BTreeMap<&str, &Map<String, Value>> = BTreeMap::new();
        let mut varying: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, map) in values.into_iter().filter_map(method) {
            let one = *first.entry(name).or_insert(map);
            let differ = one.keys().chain(map.keys()).filter(|key| one.get(*key) != map.get(*key));
            varying.entry(name.to_owned()).or_default().extend(differ.cloned());
        }
        Labels { varying }
    }

    /// The label of one of the values.
    pub(super) fn of(&self, value: Option<&Value>) -> String {
        let Some(value) = value else { return ABSENT.to_owned() };
        let Some((name, map)) = method(value) else { return plain(value) };
        let rate = map.get("rate").filter(|_| map.contains_key("kind")).map(plain);
        let varies = |key: &str| self.varying.get(name).is_some_and(|keys| keys.contains(key));
        let shown = map.iter().filter(|(key, _)| varies(key) && !(rate.is_some() && *key == "rate"));
        let mut label = name.to_owned();
        if let Some(rate) = &rate {
            label = format!("{label} {rate}");
        }
        let parameters = parameters(shown);
        if parameters.is_empty() { label } else { format!("{label} ({parameters})") }
    }
}

/// A method's name and its whole map.
fn method(value: &Value) -> Option<(&str, &Map<String, Value>)> {
    let map = value.as_object()?;
    let name = map.get("name").or_else(|| map.get("kind"))?.as_str()?;
    Some((name, map))
}

fn parameters<'v>(entries: impl Iterator<Item = (&'v String, &'v Value)>) -> String {
    entries.map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(", ")
}

/// A value in full, on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => ABSENT.to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
        }
        Value::String(text) => text.replace(char::is_control, " "),
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
        let labels = Labels::among(&values);
        values.iter().map(|value| labels.of(Some(value))).collect()
    }

    #[test]
    fn scalars_are_called_by_themselves() {
        let values = json!([0.2, 1.0, 120, 1e-7, true, "cifar-10", null]);
        assert_eq!(labels(values), ["0.2", "1", "120", "1e-7", "true", "cifar-10", "–"]);
    }

    #[test]
    fn a_method_shows_the_parameters_that_vary_and_no_others() {
        let values = json!([{"name": "cce"}, {"name": "gce", "q": 0.7}]);
        assert_eq!(labels(values), ["cce", "gce"]);
        let values = json!([{"name": "cce"}, {"name": "gce", "q": 0.3, "k": 1}, {"name": "gce", "q": 0.7, "k": 1}]);
        assert_eq!(labels(values), ["cce", "gce (q=0.3)", "gce (q=0.7)"]);
    }

    #[test]
    fn a_parameter_that_only_some_have_tells_them_apart() {
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
    fn lists_and_nameless_maps_are_shown_whole() {
        let values = json!([[{"crop": 4}, "flip"], {"folder": "images"}, [40, 80], []]);
        assert_eq!(labels(values), ["[crop=4, flip]", "folder=images", "[40, 80]", "[]"]);
    }

    #[test]
    fn a_value_that_is_not_there_is_a_dash() {
        assert_eq!(Labels::among([]).of(None), "–");
    }
}
