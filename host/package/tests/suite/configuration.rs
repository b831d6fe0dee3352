//! A plugin's configuration against its schema: each keyword kept and broken.

use callgate_package::Refused;
use callgate_package::schema::{DEPTH_MAX, ENUM_MAX, Schema};
use serde_json::{Value, json};

use crate::package::{MANIFEST, Place, and, refused};

fn schema(text: &str) -> Result<Schema, Refused> {
    Schema::from_toml(text.parse().expect("TOML"))
}

/// What a schema says of a value at `v`.
fn verdict(keywords: &str, value: &Value) -> Result<(), Refused> {
    let schema = schema(&format!("properties.v = {{ {keywords} }}")).expect("a schema");
    schema.check(&json!({ "v": value }))
}

#[test]
fn every_keyword_is_kept_and_broken() {
    for (keywords, good, bad, words) in [
        ("type = 'integer'", json!(3), json!(3.5), "integer"),
        ("type = 'integer'", json!(3.0), json!("3"), "found string"),
        ("type = ['string', 'null']", json!(null), json!(1), "string or null"),
        ("type = 'boolean'", json!(true), json!(0), "boolean"),
        ("type = 'number'", json!(0.5), json!([]), "number"),
        ("enum = ['a', 1]", json!(1.0), json!("b"), "one of \"a\", 1"),
        ("const = 'x'", json!("x"), json!("y"), "\"x\""),
        ("minimum = 1", json!(1), json!(0), "at least 1"),
        ("maximum = 1", json!(1), json!(2), "at most 1"),
        ("exclusiveMinimum = 1", json!(1.5), json!(1), "more than 1"),
        ("exclusiveMaximum = 1.5", json!(1), json!(1.5), "less than 1.5"),
        ("minLength = 2", json!("订单"), json!("订"), "at least 2"),
        ("maxLength = 2", json!("订单"), json!("abc"), "at most 2"),
        ("minItems = 1", json!([1]), json!([]), "at least 1"),
        ("maxItems = 1", json!([1]), json!([1, 2]), "at most 1"),
        ("uniqueItems = true", json!([1, 2]), json!([1, 1.0]), "v[1]`: it stands there twice"),
        ("items = { type = 'string' }", json!(["a"]), json!(["a", 1]), "v[1]"),
        ("required = ['a']", json!({"a": 1}), json!({}), "v.a`: it is missing"),
        ("minProperties = 1", json!({"a": 1}), json!({}), "at least 1"),
        ("maxProperties = 0", json!({}), json!({"a": 1}), "at most 0"),
        ("additionalProperties = false", json!({}), json!({"a": 1}), "v.a"),
        ("additionalProperties.type = 'string'", json!({"a": ""}), json!({"a": 1}), "v.a"),
        ("properties.a.type = 'string'", json!({"b": 1}), json!({"a": 1}), "v.a"),
    ] {
        assert_eq!(verdict(keywords, &good), Ok(()), "{keywords}");
        refused(verdict(keywords, &bad), "package.config", &["config.v", words]);
    }
}

#[test]
fn large_whole_numbers_are_compared_exactly() {
    let large = 9_007_199_254_740_993_i64;
    refused(verdict("const = 9007199254740993", &json!(large - 1)), "package.config", &[]);
    assert_eq!(verdict("const = 9007199254740993", &json!(large)), Ok(()));
}

#[test]
fn a_keyword_that_is_not_known_is_refused() {
    for text in
        ["minlength = 1", "'$ref' = 'http://x'", "pattern = 'a+'", "properties.a.requird = []"]
    {
        refused(schema(text), "package.schema", &["no such keyword", "minLength"]);
    }
}

#[test]
fn a_keyword_with_a_wrong_value_is_refused() {
    for text in [
        "type = 'text'",
        "type = []",
        "enum = []",
        "enum = 1",
        "required = [1]",
        "minimum = '1'",
        "minLength = -1",
        "uniqueItems = 1",
        "additionalProperties = 1",
        "items = []",
        "properties = []",
        "properties.a = true",
        "title = 1",
    ] {
        refused(schema(text), "package.schema", &["expected"]);
    }
    refused(schema("default = 2026-01-01"), "package.schema", &["date"]);
    refused(schema("minimum = nan"), "package.schema", &["JSON"]);
}

#[test]
fn a_list_of_values_has_an_end() {
    let list = |many: usize| schema(&format!("enum = [{}]", "1,".repeat(many)));
    assert!(list(ENUM_MAX).is_ok());
    refused(list(257), "package.schema", &["256"]);
}

#[test]
fn many_unique_items_are_told_apart_quickly() {
    let items: Vec<Value> = (0..100_000).map(Value::from).collect();
    assert_eq!(verdict("uniqueItems = true", &items.into()), Ok(()));
}

#[test]
fn schemas_inside_schemas_have_an_end() {
    let inside = |depth: usize| schema(&format!("{}type = 'array'", "items.".repeat(depth)));
    let most = DEPTH_MAX.checked_sub(1).unwrap();
    assert!(inside(most).is_ok());
    refused(inside(DEPTH_MAX), "package.schema", &["16"]);
}

#[test]
fn a_plugin_without_a_schema_takes_no_configuration() {
    let manifest = Place::new().verdict(MANIFEST).unwrap().manifest;
    assert_eq!(manifest.check_config(&json!({})), Ok(()));
    assert_eq!(manifest.check_config(&Value::Null), Ok(()));
    refused(manifest.check_config(&json!({"a": 1})), "package.config", &["no [config_schema]"]);
}

#[test]
fn a_manifest_holds_a_configuration_to_its_schema() {
    let schema = "[config_schema]\ntype = 'object'\nadditionalProperties = false\n\
        [config_schema.properties.most]\ntype = 'integer'\nminimum = 1";
    let manifest = Place::new().verdict(&and(schema)).unwrap().manifest;
    assert_eq!(manifest.check_config(&json!({"most": 5})), Ok(()));
    refused(manifest.check_config(&json!({"most": 0})), "package.config", &["config.most"]);
    refused(manifest.check_config(&json!({"mots": 5})), "package.config", &["config.mots", "most"]);
}
