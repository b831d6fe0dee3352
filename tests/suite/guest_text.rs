//! Guests from text for real servers: what `tests/hostile` says, for a business of the story.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// A processor of a name for payments of one business, in any state, made of the fields of a
/// core module in text: see `tests/hostile/README.md`. Unless the fields say otherwise it does
/// nothing. It may step from OPEN to PAID.
pub(crate) fn guest(name_and_business: (&str, &str), fields: &str) -> Vec<u8> {
    let text = module(name_and_business, fields);
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("wit")).expect("the contract");
    let world = "package test:guest; world guest { include callgate:processor/processor@0.1.0; }";
    let package = resolve.push_str("guest.wit", world).expect("a world");
    let world = resolve.select_world(&[package], None).expect("the world");
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false)
        .expect("metadata");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).expect("a module");
    encoder.encode().expect("a component")
}

/// Lets `$attack` of a file in `tests/hostile` happen in `check`.
pub(crate) fn attacking(file: &str) -> String {
    let attack = hostile(file);
    format!("{attack}\n(func (export \"check\") (result i32) (call $attack) (i32.const 0))\n")
}

/// Pays the order, and does nothing else.
pub(crate) const PAYING: &str = "(func (export \"next-state\") (result i32) \
    (call $move (i32.const 312) (i32.const 4)))";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hostile(file: &str) -> String {
    let path = root().join("tests/hostile").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn module((name, business): (&str, &str), fields: &str) -> String {
    assert_eq!(name.len(), "test/guest".len(), "there is room for a name of this length");
    assert!(business.len() <= 7, "there is room for seven letters");
    let length = format!("(i32.store (i32.const 516) (i32.const {}))", business.len());
    let prelude = hostile("prelude.wat")
        .replace("\"test/guest\"", &format!("\"{name}\""))
        .replace("\"SHOP\"", &format!("\"{business}\""))
        .replace("(i32.store (i32.const 516) (i32.const 4))", &length);
    let mut all = format!("{fields}\n{prelude}\n");
    for (name, params, answer) in [
        ("describe", "", "call $describe"),
        ("next-state", "", "call $stay"),
        ("prepare", "", "i32.const 0"),
        ("check", "", "i32.const 0"),
        ("action", "", "i32.const 0"),
        ("save", "", "i32.const 0"),
        ("after", "(param i32 i32 i64 i32)", "i32.const 0"),
    ] {
        let interface = if name == "describe" { "plugin" } else { "phases" };
        let full = format!("(export \"callgate:processor/{interface}@0.1.0#{name}\")");
        let short = format!("(export \"{name}\")");
        if !fields.contains(&short) {
            all.push_str(&format!("(func {full} {params} (result i32) ({answer}))\n"));
        }
        all = all.replace(&short, &full);
    }
    format!("(module\n{all})")
}
