//! In what a configuration is not the published one.

use crate::report::label::plain;
use crate::sweep_file::{Condition, Path};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A part of our configuration that is not as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it stands in a configuration.
    pub path: String,
    /// Our value; nothing where our configuration has none.
    pub ours: Option<String>,
    /// The published value; nothing where that configuration had none.
    pub published: Option<String>,
}

impl Difference {
    /// Of a setting that our configuration, given as its JSON, does not have.
    pub(super) fn of(setting: &Condition, configuration: &Value) -> Difference {
        let said = |value: &Value| (!value.is_null()).then(|| plain(value));
        let ours = setting.path.find(configuration);
        // A method that was published by its name alone is told from ours by its name.
        let ours = match (&setting.value, ours) {
            (Value::String(_), Some(method)) => name(method).map(Value::from).or_else(|| Some(method.clone())),
            (_, ours) => ours.cloned(),
        };
        Difference {
            path: setting.path.to_string(),
            ours: ours.as_ref().and_then(said),
            published: said(&setting.value),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { path, ours, published } = self;
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{path} is {}, published {}", said(ours), said(published))
    }
}

/// The `settings` that our configuration, given as its JSON, does not have: methods of the same name parameter by parameter.
pub(super) fn differences(settings: Vec<&Condition>, configuration: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    settings.into_iter().for_each(|setting| differ(setting, configuration, &mut found));
    found
}

fn differ(setting: &Condition, configuration: &Value, found: &mut Vec<Difference>) {
    if setting.holds(configuration) {
        return;
    }
    match (&setting.value, setting.path.find(configuration)) {
        (Value::Object(asked), Some(Value::Object(ours))) if name(&setting.value) == name(&ours.clone().into()) => {
            for (key, value) in asked {
                let path = Path([setting.path.0.as_slice(), std::slice::from_ref(key)].concat());
                differ(&Condition { path, value: value.clone() }, configuration, found);
            }
        }
        _ => found.push(Difference::of(setting, configuration)),
    }
}

/// The name of a method.
fn name(method: &Value) -> Option<&str> {
    method.get("name").or_else(|| method.get("kind"))?.as_str()
}
