//! JSON Schema of declared keys.
//!
//! Only keywords of draft 7 are used: editors support it best.

use super::{Bounds, Declaration, Presence, Shape, Variant};
use serde_json::{Map, Value, json};

/// Where a value stands decides in which forms it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// The value itself.
    Value,
    /// A value of an axis: parameters in maps may be lists of values, which multiply.
    Axis,
    /// A value that a rule asks for: maps name only the parameters that must be equal, and lists are alternatives.
    Condition,
}

/// A map with exactly these keys. Absent keys are rejected only if `complete` is set: elsewhere a path may supply them.
pub(crate) fn map(keys: &[Declaration], context: Context, complete: bool) -> Value {
    let property = |key: &Declaration| {
        let mut schema = in_map(&key.shape, context);
        annotate(&mut schema, key);
        (key.key.to_owned(), schema)
    };
    let properties: Map<String, Value> = keys.iter().map(property).collect();
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    let required = keys.iter().filter(|key| key.presence == Presence::Required).map(|key| Value::from(key.key));
    let required: Vec<Value> = required.filter(|_| complete).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// Adds description and default. A reference cannot have neighbours in draft 7, so it is wrapped.
fn annotate(schema: &mut Value, key: &Declaration) {
    let default = match &key.presence {
        Presence::Default(value) => Some(value.clone()),
        _ => None,
    };
    if schema.get("$ref").is_some() && (key.about.is_some() || default.is_some()) {
        *schema = json!({"allOf": [schema.take()]});
    }
    if let Some(about) = key.about {
        schema["description"] = about.into();
    }
    if let Some(default) = default {
        schema["default"] = default;
    }
}

/// A value within a map that itself stands in `context`.
fn in_map(shape: &Shape, context: Context) -> Value {
    match context {
        Context::Value => value(shape, Context::Value),
        Context::Axis => one_or_several(value(shape, Context::Value)),
        Context::Condition => value(shape, Context::Condition),
    }
}

/// `schema`, or a list of such values.
pub(crate) fn one_or_several(schema: Value) -> Value {
    json!({"anyOf": [schema, list_of(schema.clone())]})
}

/// A list of at least one value, no two equal.
pub(crate) fn list_of(schema: Value) -> Value {
    json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": schema})
}

/// A reference to a definition of the file format.
pub(crate) fn definition(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

/// The values of a key.
pub(crate) fn value(shape: &Shape, context: Context) -> Value {
    match shape {
        Shape::Number(bounds) => number(bounds),
        Shape::Integer { least, most, nullable } => integer(*least, *most, *nullable),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Text => json!({"type": "string"}),
        Shape::Name { names, pattern } => name(names, *pattern),
        Shape::Names(names) => {
            let listed = json!({"type": "array", "uniqueItems": true, "items": {"enum": names}});
            json!({"anyOf": [{"enum": ["all"]}, listed]})
        }
        Shape::Increasing => {
            json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": integer(1, u64::from(u32::MAX), false)})
        }
        Shape::Numbers(bounds) => json!({"type": "array", "minItems": 1, "items": number(bounds)}),
        Shape::Stochastic => {
            let row = json!({"type": "array", "minItems": 1, "items": number(&Bounds::between(0.0, 1.0))});
            json!({"type": "array", "minItems": 1, "items": row})
        }
        Shape::ClassMap => {
            let class = json!({"type": "integer", "minimum": 0});
            let pair = json!({"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": true, "items": class});
            json!({"type": ["array", "null"], "minItems": 1, "uniqueItems": true, "items": pair})
        }
        Shape::Method { tag, variants } => method(tag, variants, context),
        Shape::OneOf(variants) => one_of(variants, context),
        Shape::ListOf(variants) => json!({"type": "array", "items": one_of(variants, Context::Value)}),
        Shape::Map { keys, short } => {
            let mut forms = vec![map(keys, context, false), json!({"type": "null"})];
            if let (true, Some(first)) = (short, keys.first()) {
                forms.insert(0, value(&first.shape, context));
            }
            json!({"anyOf": forms})
        }
        Shape::Defined(name) => definition(name),
    }
}

fn number(bounds: &Bounds) -> Value {
    let mut schema = json!({"type": "number"});
    let limits = [
        ("exclusiveMinimum", bounds.above),
        ("minimum", bounds.at_least),
        ("exclusiveMaximum", bounds.below),
        ("maximum", bounds.at_most),
    ];
    for (keyword, limit) in limits.into_iter().filter_map(|(keyword, limit)| Some((keyword, limit?))) {
        schema[keyword] = limit.into();
    }
    schema
}

fn integer(least: u64, most: u64, nullable: bool) -> Value {
    let mut schema =
        json!({"type": if nullable { json!(["integer", "null"]) } else { json!("integer") }, "minimum": least});
    if most < i64::MAX as u64 {
        schema["maximum"] = most.into();
    }
    schema
}

fn name(names: &[&str], pattern: Option<&str>) -> Value {
    // YAML reads these two names as booleans.
    let spellings = names.iter().flat_map(|name| match *name {
        "true" => vec![json!("true"), json!(true)],
        "false" => vec![json!("false"), json!(false)],
        other => vec![json!(other)],
    });
    let fixed = json!({"enum": spellings.collect::<Vec<_>>()});
    match pattern {
        Some(pattern) => json!({"anyOf": [fixed, {"type": "string", "pattern": pattern}]}),
        None => fixed,
    }
}

fn method(tag: &str, variants: &[Variant], context: Context) -> Value {
    let names: Vec<&str> = variants.iter().map(|variant| variant.name).collect();
    let mut forms = vec![json!({"enum": names})];
    for variant in variants {
        let mut form = map(&variant.parameters, context, false);
        form["properties"][tag] = json!({"const": variant.name});
        if context != Context::Condition {
            form["required"] = json!([tag]);
        }
        if let Some(about) = variant.about {
            form["description"] = about.into();
        }
        forms.push(form);
    }
    json!({"anyOf": forms})
}

fn one_of(variants: &[Variant], context: Context) -> Value {
    let needs = |variant: &&Variant| variant.parameters.iter().any(|key| key.presence == Presence::Required);
    let alone: Vec<&str> = variants.iter().filter(|variant| !needs(variant)).map(|variant| variant.name).collect();
    let mut forms = vec![json!({"enum": alone})];
    for variant in variants.iter().filter(needs) {
        let mut form = map(&variant.parameters, context, true);
        if let Some(about) = variant.about {
            form["description"] = about.into();
        }
        forms.push(form);
    }
    json!({"anyOf": forms})
}
