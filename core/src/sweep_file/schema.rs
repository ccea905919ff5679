//! The JSON Schema of sweep files, generated from the declarations that validate them.
//!
//! The schema describes each value for itself. It cannot express rules across keys, which [`read`](super::read) checks. Two
//! deviations follow from that: a required parameter may be absent, because a path such as `optimizer.lr` may supply it;
//! and a value must be valid even where an override replaces it.

use super::paths::Paths;
use super::{configuration, file, profile, rules, seeds, select, table};
use crate::input::declaration::{Declaration, Shape};
use crate::input::fields::{Fields, Record};
use crate::input::json_schema::{Context, definition, list_of, map, one_or_several, value};
use crate::input::node::Key;
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 7) of sweep files.
pub fn schema() -> Value {
    let configuration = configuration::declarations();
    let paths = Paths::new(&configuration);
    let file = keys(|fields| _ = file::read_keys(fields, &paths));
    let profile = keys(|fields| {
        let name = Key::new("profile", 0..0);
        _ = profile::read_keys(fields, &name, &paths);
    });
    let values = PathValues { configuration: &configuration, paths: &paths };
    let seed = json!({"type": "integer", "minimum": 0});
    let mut profile = map(&profile, Context::Value, false);
    profile["minProperties"] = 1.into();
    let rule = keys(|fields| _ = rules::read_override(fields, &paths));
    let mut conditions = values.at_paths(|shape| one_or_several(value(shape, Context::Condition)));
    conditions["minProperties"] = 1.into();
    let mut grid = values.at_paths(|shape| list_of(value(shape, Context::Axis)));
    grid["minProperties"] = 1.into();
    let definitions = json!({
        "seeds": {"description": seeds::EXPECTED, "anyOf": [{"type": "integer", "minimum": 1}, list_of(seed)]},
        "base": map(&configuration, Context::Value, false),
        "grid": grid,
        "path": {"enum": paths.names()},
        "over": list_of(definition("path")),
        "rows": list_of(definition("path")),
        "columns": list_of(definition("path")),
        "when": conditions,
        "set": values.at_paths(|shape| value(shape, Context::Value)),
        "overrides": {"type": "array", "items": map(&rule, Context::Value, true)},
        "exclude": {"type": "array", "items": definition("when")},
        "select": map(&keys(|fields| _ = select::read_keys(fields, &paths)), Context::Value, true),
        "table": map(&keys(|fields| _ = table::read_keys(fields, &paths)), Context::Value, true),
        "profiles": {"type": "object", "additionalProperties": profile},
    });
    let mut schema = map(&file, Context::Value, true);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "plusminus sweep file".into();
    schema["definitions"] = definitions;
    schema
}

fn keys(read: impl FnOnce(&mut Fields<'_>)) -> Vec<Declaration> {
    Record::of(read).keys
}

/// The values at the paths of a configuration.
struct PathValues<'a> {
    configuration: &'a [Declaration],
    paths: &'a Paths,
}

impl PathValues<'_> {
    /// A map from paths to the schemas that `schema` makes of the values there.
    fn at_paths(&self, schema: impl Fn(&Shape) -> Value) -> Value {
        let property = |name: &String| {
            let mut forms: Vec<Value> = Vec::new();
            for form in self.shapes(name).iter().map(&schema) {
                if !forms.contains(&form) {
                    forms.push(form);
                }
            }
            let schema = match forms.len() {
                1 => forms.remove(0),
                _ => json!({"anyOf": forms}),
            };
            (name.clone(), schema)
        };
        let properties: Map<String, Value> = self.paths.names().iter().map(property).collect();
        json!({"type": "object", "additionalProperties": false, "properties": properties})
    }

    /// The shapes of the value at `path`: one for each method that has the parameter.
    fn shapes(&self, path: &str) -> Vec<Shape> {
        let (head, part) = path.split_once('.').map_or((path, None), |(head, part)| (head, Some(part)));
        let Some(Declaration { shape, .. }) = self.configuration.iter().find(|key| key.key == head) else {
            return Vec::new();
        };
        match (part, shape) {
            (None, shape) => vec![shape.clone()],
            (Some(part), Shape::Method { tag, variants }) if part == *tag => {
                vec![Shape::Name { names: variants.iter().map(|variant| variant.name).collect(), pattern: None }]
            }
            (Some(part), Shape::Method { variants, .. }) => {
                let parameters = variants.iter().flat_map(|variant| &variant.parameters);
                parameters.filter(|key| key.key == part).map(|key| key.shape.clone()).collect()
            }
            (Some(part), Shape::Map { keys, .. }) => {
                keys.iter().filter(|key| key.key == part).map(|key| key.shape.clone()).collect()
            }
            _ => Vec::new(),
        }
    }
}
