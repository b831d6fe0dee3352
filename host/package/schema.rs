//! What a plugin's configuration must look like: a part of JSON Schema, all of whose keywords are
//! checked and no other is let in.
//!
//! A schema that says `minlength` for `minLength` is refused, where most validators would pass over
//! it. There are no references, so nothing is fetched, and no patterns, so no text takes long.
//!
//! Reading order: this file (the schema itself), `check` (a configuration against it).

use serde_json::{Map, Number, Value};

use crate::refused::{Refused, shown};

mod check;

/// Tables inside each other in one schema.
pub const DEPTH_MAX: usize = 16;

/// Values of one `enum`.
pub const ENUM_MAX: usize = 256;

/// A schema. Every keyword has passed its checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema(Map<String, Value>);

impl Schema {
    /// Reads a schema that TOML has in a table.
    ///
    /// # Errors
    /// [`Refused::Schema`] with the keyword, what was found and what was expected.
    pub fn from_toml(table: toml::Table) -> Result<Self, Refused> {
        let Value::Object(fields) = json(toml::Value::Table(table), "config_schema")? else {
            return Err(refuse("config_schema", "expected a table"));
        };
        inspect(&fields, "config_schema", DEPTH_MAX)?;
        Ok(Self(fields))
    }

    /// The keywords, as JSON Schema has them.
    #[must_use]
    pub fn keywords(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Holds a configuration to it.
    ///
    /// # Errors
    /// [`Refused::Config`] with the path in the configuration and the rule.
    pub fn check(&self, config: &Value) -> Result<(), Refused> {
        check::check(&self.0, config, "config")
    }
}

/// TOML has dates and infinities, JSON has neither.
fn json(value: toml::Value, path: &str) -> Result<Value, Refused> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::Number(number.into()),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Float(number) => match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => return Err(refuse(path, "found a number that JSON does not have")),
        },
        toml::Value::Datetime(_) => {
            return Err(refuse(path, "found a date, which JSON does not have; write a text"));
        }
        toml::Value::Array(items) => {
            let items = items.into_iter().map(|item| json(item, path));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(fields) => {
            let field = |(key, value): (String, toml::Value)| {
                let value = json(value, &below(path, &key))?;
                Ok((key, value))
            };
            Value::Object(fields.into_iter().map(field).collect::<Result<_, _>>()?)
        }
    })
}

/// Checks every keyword of a schema and of those inside it.
fn inspect(schema: &Map<String, Value>, path: &str, depth: usize) -> Result<(), Refused> {
    let Some(depth) = depth.checked_sub(1) else {
        let problem = format!("schemas inside schemas, limit is {DEPTH_MAX}");
        return Err(refuse(path, &problem));
    };
    for (keyword, value) in schema {
        let path = below(path, keyword);
        match keyword.as_str() {
            "title" | "description" if value.is_string() => {}
            "default" | "examples" | "const" => {}
            "enum"
                if value
                    .as_array()
                    .is_some_and(|values| (1..=ENUM_MAX).contains(&values.len())) => {}
            "type" if is_type(value) => {}
            "required"
                if value.as_array().is_some_and(|names| names.iter().all(Value::is_string)) => {}
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if value.is_number() => {}
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties"
                if value.is_u64() => {}
            "uniqueItems" if value.is_boolean() => {}
            "additionalProperties" if value.is_boolean() => {}
            "items" | "additionalProperties" if value.is_object() => {
                inspect_value(value, &path, depth)?;
            }
            "properties" if value.is_object() => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    inspect_value(schema, &below(&path, name), depth)?;
                }
            }
            known => return Err(refuse(&path, &expected(known, value))),
        }
    }
    Ok(())
}

fn inspect_value(schema: &Value, path: &str, depth: usize) -> Result<(), Refused> {
    match schema.as_object() {
        Some(schema) => inspect(schema, path, depth),
        None => Err(refuse(path, "expected a table with a schema")),
    }
}

fn is_type(value: &Value) -> bool {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    match value.as_array() {
        Some(names) => !names.is_empty() && names.iter().all(known),
        None => known(value),
    }
}

fn expected(keyword: &str, found: &Value) -> String {
    let expected = match keyword {
        "title" | "description" => "a text".to_owned(),
        "enum" => format!("a list of 1 to {ENUM_MAX} values"),
        "type" => format!("one of {}, or a list of them", TYPES.join(", ")),
        "required" => "a list of names".to_owned(),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => "a number".to_owned(),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            "a whole number from 0".to_owned()
        }
        "uniqueItems" => "true or false".to_owned(),
        "additionalProperties" => "true, false or a table with a schema".to_owned(),
        "items" => "a table with a schema".to_owned(),
        "properties" => "a table with a schema for each name".to_owned(),
        _ => {
            let known = KEYWORDS.join(", ");
            return format!("there is no such keyword here, expected one of {known}");
        }
    };
    format!("found {}, expected {expected}", shown(&found.to_string()))
}

/// A path with one more name, safe to print.
fn below(path: &str, name: &str) -> String {
    format!("{path}.{}", shown(name))
}

fn refuse(path: &str, problem: &str) -> Refused {
    Refused::Schema { path: path.to_owned(), problem: problem.to_owned() }
}

const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

const KEYWORDS: [&str; 22] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "title",
    "description",
    "default",
    "examples",
];
