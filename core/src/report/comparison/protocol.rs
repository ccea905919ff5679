//! The differences between a cell's configuration and the published protocol.

use crate::report::label::plain;
use crate::sweep_file::{Condition, Path};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A setting that differs from the published protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path in the configuration.
    pub path: String,
    /// The value in the cell's configuration; `None` if it has none.
    pub ours: Option<String>,
    /// The published value; `None` if that configuration has none.
    pub published: Option<String>,
}

impl Difference {
    /// The difference between a published setting and the configuration, given as JSON.
    pub(super) fn of(setting: &Condition, configuration: &Value) -> Difference {
        let text = |value: &Value| (!value.is_null()).then(|| plain(value));
        let ours = setting.path.find(configuration);
        // If only the name of a method was published, only the names are shown.
        let ours = match (&setting.value, ours) {
            (Value::String(_), Some(method)) => name(method).map(Value::from).or_else(|| Some(method.clone())),
            (_, ours) => ours.cloned(),
        };
        Difference {
            path: setting.path.to_string(),
            ours: ours.as_ref().and_then(text),
            published: text(&setting.value),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { path, ours, published } = self;
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{path} is {}, published {}", text(ours), text(published))
    }
}

/// The published `settings` in which the configuration, given as JSON, differs. Methods of the same name are compared parameter by parameter.
pub(super) fn differences(settings: Vec<&Condition>, configuration: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    settings.into_iter().for_each(|setting| collect_differences(setting, configuration, &mut found));
    found
}

fn collect_differences(setting: &Condition, configuration: &Value, found: &mut Vec<Difference>) {
    if setting.holds(configuration) {
        return;
    }
    match (&setting.value, setting.path.find(configuration)) {
        (Value::Object(published), Some(Value::Object(ours))) if name(&setting.value) == name(&ours.clone().into()) => {
            for (key, value) in published {
                let path = Path([setting.path.0.as_slice(), std::slice::from_ref(key)].concat());
                collect_differences(&Condition { path, value: value.clone() }, configuration, found);
            }
        }
        _ => found.push(Difference::of(setting, configuration)),
    }
}

/// The name of a method: its `name` or `kind`.
fn name(method: &Value) -> Option<&str> {
    method.get("name").or_else(|| method.get("kind"))?.as_str()
}
