//! A configuration against a schema whose keywords are known to be right.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use callgate_sandbox::text::printable;
use serde_json::{Map, Number, Value};

use crate::refused::{Refused, shown};

use super::below;

/// Checks one value; the first rule that it breaks is told.
pub(super) fn check(schema: &Map<String, Value>, value: &Value, path: &str) -> Result<(), Refused> {
    any(schema, value).map_err(|problem| refuse(path, problem))?;
    match value {
        Value::Object(fields) => object(schema, fields, path),
        Value::Array(items) => array(schema, items, path),
        Value::String(text) => {
            let length = text.chars().count();
            between(schema, ("minLength", "maxLength"), (length, "characters"))
                .map_err(|problem| refuse(path, problem))
        }
        Value::Number(number) => numbers(schema, number).map_err(|problem| refuse(path, problem)),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

/// What holds for values of every type.
fn any(schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let allowed: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !allowed.is_empty() && !allowed.iter().any(|name| is_of(value, name)) {
        return Err(format!("found {}, expected {}", kind(value), allowed.join(" or ")));
    }
    if let Some(only) = schema.get("const").filter(|only| !same(only, value)) {
        return Err(format!("found {}, expected {}", show(value), show(only)));
    }
    let listed = schema.get("enum").and_then(Value::as_array);
    if let Some(listed) = listed.filter(|listed| !listed.iter().any(|one| same(one, value))) {
        let listed: Vec<String> = listed.iter().map(show).collect();
        return Err(format!("found {}, expected one of {}", show(value), list(&listed)));
    }
    Ok(())
}

fn object(
    schema: &Map<String, Value>,
    fields: &Map<String, Value>,
    path: &str,
) -> Result<(), Refused> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(refuse(&below(path, name), "it is missing".to_owned()));
        }
    }
    between(schema, ("minProperties", "maxProperties"), (fields.len(), "fields"))
        .map_err(|problem| refuse(path, problem))?;
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    for (name, value) in fields {
        let path = below(path, name);
        match (properties.and_then(|known| known.get(name)), others) {
            (Some(Value::Object(schema)), _) | (None, Some(Value::Object(schema))) => {
                check(schema, value, &path)?;
            }
            (None, Some(Value::Bool(false))) => {
                let known: Vec<String> =
                    properties.into_iter().flat_map(Map::keys).cloned().collect();
                let problem = format!("there is no such field, expected {}", list(&known));
                return Err(refuse(&path, problem));
            }
            _ => {}
        }
    }
    Ok(())
}

fn array(schema: &Map<String, Value>, items: &[Value], path: &str) -> Result<(), Refused> {
    between(schema, ("minItems", "maxItems"), (items.len(), "items"))
        .map_err(|problem| refuse(path, problem))?;
    let one = |number: usize| format!("{path}[{number}]");
    if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
        let mut known = BTreeSet::new();
        for (number, item) in items.iter().enumerate() {
            if !known.insert(name_of(item)) {
                return Err(refuse(&one(number), "it stands there twice".to_owned()));
            }
        }
    }
    let Some(schema) = schema.get("items").and_then(Value::as_object) else { return Ok(()) };
    items.iter().enumerate().try_for_each(|(number, item)| check(schema, item, &one(number)))
}

fn between(
    schema: &Map<String, Value>,
    (least, most): (&str, &str),
    (found, what): (usize, &str),
) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let found = u64::try_from(found).unwrap_or(u64::MAX);
    if let Some(least) = bound(least).filter(|least| found < *least) {
        return Err(format!("found {found} {what}, expected at least {least}"));
    }
    match bound(most).filter(|most| found > *most) {
        Some(most) => Err(format!("found {found} {what}, expected at most {most}")),
        None => Ok(()),
    }
}

fn numbers(schema: &Map<String, Value>, found: &Number) -> Result<(), String> {
    let broken = |name: &str, holds: fn(Ordering) -> bool| {
        let bound = schema.get(name).and_then(Value::as_number)?;
        (!compare(found, bound).is_some_and(holds)).then_some(bound)
    };
    for (words, bound) in [
        ("at least", broken("minimum", Ordering::is_ge)),
        ("at most", broken("maximum", Ordering::is_le)),
        ("more than", broken("exclusiveMinimum", Ordering::is_gt)),
        ("less than", broken("exclusiveMaximum", Ordering::is_lt)),
    ] {
        if let Some(bound) = bound {
            return Err(format!("found {found}, expected {words} {bound}"));
        }
    }
    Ok(())
}

/// Whole numbers are compared as such: a float would take two large ones for equal.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// A text that is the same for the same values: 1.0 is 1.
fn name_of(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) if number.fract().abs() == 0.0 => format!("{number:.0}"),
        Some(_) | None => value.to_string(),
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => {
            let whole = |number: f64| number.fract().abs() == 0.0;
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
        }
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn list(words: &[String]) -> String {
    printable(&words.join(", "), LIST_BYTES)
}

fn show(value: &Value) -> String {
    shown(&value.to_string())
}

fn refuse(path: &str, problem: String) -> Refused {
    Refused::Config { path: path.to_owned(), problem }
}

/// Bytes of a list in a text; the rest is cut.
const LIST_BYTES: usize = 512;
