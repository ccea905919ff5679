//! Paths into a configuration, such as `noise.rate`.

use crate::job::Configuration;
use serde::Serialize;
use serde_json::Value;

/// A dotted path into a configuration's JSON, such as `noise.rate`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<String>);

impl Path {
    /// The path that is written as `name`.
    pub(super) fn dotted(name: &str) -> Path {
        Path(name.split('.').map(str::to_owned).collect())
    }

    /// The value at the path in `tree`.
    pub fn find<'v>(&self, tree: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(tree, |node, key| node.get(key))
    }

    /// Whether one of the two values contains the other.
    pub(super) fn overlaps(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// The value at the path in the canonical form of `configuration`. Only the part in question is serialised.
    pub(super) fn value_in(&self, configuration: &Configuration) -> Option<Value> {
        fn json(part: &impl Serialize) -> Value {
            serde_json::to_value(part).unwrap_or_default()
        }
        let Configuration { dataset, model, initial_weights, .. } = configuration;
        let Configuration { loss, noise, noise_seed, optimizer, schedule, .. } = configuration;
        let Configuration { epochs, batch_size, train_size, test_size, validation, split, augment, normalize, .. } =
            configuration;
        let Configuration { precision, diagnostics, .. } = configuration;
        let (head, rest) = self.0.split_first()?;
        let part = match head.as_str() {
            "dataset" => json(dataset),
            "model" => json(model),
            "initial_weights" => json(initial_weights.as_ref()?),
            "loss" => json(loss),
            "noise" => json(noise),
            "noise_seed" => json(noise_seed),
            "optimizer" => json(optimizer),
            "schedule" => json(schedule),
            "epochs" => json(epochs),
            "batch_size" => json(batch_size),
            "train_size" => json(train_size.as_ref()?),
            "test_size" => json(test_size.as_ref()?),
            "validation" => json(validation),
            "split" if !split.is_default() => json(split),
            "augment" => json(augment),
            "normalize" => json(normalize),
            "precision" if !precision.is_default() => json(precision),
            "diagnostics" => json(diagnostics),
            "parent" => json(configuration.parent.as_ref()?),
            _ => return None,
        };
        rest.iter().try_fold(&part, |node, key| node.get(key)).cloned()
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Removes the value at `path` from `tree`.
pub(super) fn remove(tree: &mut Value, path: &[String]) {
    match (path, tree) {
        ([last], Value::Object(map)) => _ = map.remove(last),
        ([first, rest @ ..], Value::Object(map)) => {
            if let Some(below) = map.get_mut(first) {
                remove(below, rest);
            }
        }
        _ => {}
    }
}
