//! A processor of payments that never comes back from `check`: text, made into a component.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// The component; it calls itself `mall/order-payment` with a number of five characters.
pub(crate) fn component(number: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prelude = root.join("tests/hostile/prelude.wat");
    let prelude = std::fs::read_to_string(prelude).expect("the prelude of guests");
    let mut text = format!("{prelude}\n{TEXTS}\n{PHASES}");
    for (from, to) in [
        ("\"1.0.0\"", format!("\"{number}\"").as_str()),
        (&stores(64, 256, 10), &stores(64, 700, 18)),
        (&stores(512, 280, 4), &stores(512, 720, 13)),
        (&stores(544, 304, 4), &stores(544, 740, 10)),
        (&stores(552, 312, 4), &stores(552, 760, 15)),
        ("(i32.store (i32.const 96) (i32.const 1))", "(i32.store (i32.const 96) (i32.const 0))"),
        (
            "(i32.store (i32.const 520) (i32.const 300))",
            "(i32.store (i32.const 520) (i32.const 780))",
        ),
        ("(i32.store (i32.const 524) (i32.const 1))", "(i32.store (i32.const 524) (i32.const 7))"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let mut module = wat::parse_str(format!("(module\n{text})")).expect("a module");
    let mut resolve = Resolve::default();
    resolve.push_path(root.join("wit")).expect("the contract");
    let world = "package test:guest; world guest { include callgate:processor/processor@0.1.0; }";
    let package = resolve.push_str("guest.wit", world).expect("a world");
    let world = resolve.select_world(&[package], None).expect("a world");
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false)
        .expect("types");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).expect("a module");
    encoder.encode().expect("a component")
}

/// Where a text and its length are kept.
fn stores(at: u32, text: u32, length: u32) -> String {
    let next = at.saturating_add(4);
    format!(
        "(i32.store (i32.const {at}) (i32.const {text})) \
         (i32.store (i32.const {next}) (i32.const {length}))"
    )
}

const TEXTS: &str = r#"
(data (i32.const 700) "mall/order-payment")
(data (i32.const 720) "PRODUCT_ORDER")
(data (i32.const 740) "TO_BE_PAID")
(data (i32.const 760) "TO_BE_DELIVERED")
(data (i32.const 780) "ALI_PAY")
"#;

const PHASES: &str = r#"
(func (export "callgate:processor/plugin@0.1.0#describe") (result i32) (call $describe))
(func (export "callgate:processor/phases@0.1.0#prepare") (result i32) (i32.const 0))
(func (export "callgate:processor/phases@0.1.0#check") (result i32)
  (loop $again (br $again)) (i32.const 0))
(func (export "callgate:processor/phases@0.1.0#next-state") (result i32) (call $stay))
(func (export "callgate:processor/phases@0.1.0#action") (result i32) (i32.const 0))
(func (export "callgate:processor/phases@0.1.0#save") (result i32) (i32.const 0))
(func (export "callgate:processor/phases@0.1.0#after") (param i32 i32 i64 i32) (result i32)
  (i32.const 0))
"#;
