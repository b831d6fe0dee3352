//! Guests that do not get in: the server does not start with them, and says which rule is broken and
//! what to do.

use std::fs;

use callgate_sandbox::fault::Phase;
use tempfile::TempDir;

use super::wrap::{Claim, attacking, component, file, text};
use crate::house::{callgate, write_configuration};

/// A server with this guest must not start; each word must be said.
fn refused(bytes: &[u8], flags: &[&str], words: &[&str]) {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("extra.wasm"), bytes).expect("a file");
    let more = "[plugins.extra]\nfile = \"extra.wasm\"\nbusinesses = [\"PRODUCT_ORDER\"]\n";
    write_configuration(folder.path(), more);
    let configuration = folder.path().join("callgate.toml").to_string_lossy().into_owned();
    let mut args = vec!["serve", "--config", &configuration];
    args.extend(flags.iter().flat_map(|flag| ["--set", flag]));
    let output = callgate(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it started");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listening"), "{said}");
    for word in ["plugins.extra", "extra.wasm"].iter().chain(words) {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component in text")
}

#[test]
fn what_a_guest_imports_beyond_the_contract_is_named() {
    let import = |name: &str| wat(&format!("(component (import \"{name}\" (instance)))"));
    let wasi = ["`wasi:sockets/tcp@0.2.3`", "no WASI", "wasm32-unknown-unknown"];
    refused(&import("wasi:sockets/tcp@0.2.3"), &[], &wasi);
    let other = ["`evil:host/shell@1.0.0`", "not part of the contract", "documents, events"];
    refused(&import("evil:host/shell@1.0.0"), &[], &other);
    let newer = ["`callgate:processor/log@0.2.0`", "serves version 0.1"];
    refused(&import("callgate:processor/log@0.2.0"), &[], &newer);
}

#[test]
fn machines_that_the_host_does_not_have_are_named() {
    let with = |memory: &str| {
        let module = format!("(core module (memory {memory}) (func (export \"f\")))");
        wat(&format!("(component {module} {EXPORTS})"))
    };
    refused(&with("1 2 shared"), &[], &["not valid", "threads"]);
    refused(&with("i64 1"), &[], &["not valid", "memory64"]);
}

#[test]
fn a_start_or_a_description_that_does_not_end_is_refused() {
    for (phase, place) in [(Phase::Start, "in start"), (Phase::Describe, "in describe")] {
        for (attack, code) in [
            ("loop.wat", "sandbox.fuel"),
            ("trap.wat", "sandbox.trap"),
            ("recurse.wat", "call stack exhausted"),
            ("grow_memory.wat", "limit is 67108864"),
            ("attempt.wat", "called exchange.attempt"),
        ] {
            // Out of fuel before out of time, on any machine.
            let flags = ["plugins.extra.limits.start_ms=60000", PATIENT_DESCRIBE];
            refused(&component(&attacking(&text(attack), phase)), &flags, &[code, place]);
        }
    }
}

#[test]
fn a_description_that_claims_what_is_not_its_own_is_refused() {
    let claim = |business: &str, state: &str| {
        component(&Claim { name: "evil/thief", business, state }.describe())
    };
    refused(&claim("OTHER", "OPEN"), &[], &["`OTHER`", "grants do not name"]);
    refused(&claim("NOBODY", "OPEN"), &[], &["`NOBODY`", "grants do not name"]);
    refused(&claim("*", "OPEN"), &[], &["business of a route is `*`", "no wildcard"]);
    refused(&claim("PRODUCT_ORDER", "OP EN"), &[], &["state", "`OP EN`", "A-Z a-z 0-9"]);
}

#[test]
fn a_description_without_measure_is_refused() {
    // The list of routes stands at 80: its length in words, its elements at 8192.
    let routes = |count: u32| {
        component(&format!(
            "(func (export \"describe\") (result i32)\n  (drop (memory.grow (i32.const 200)))\n  \
             (drop (call $describe))\n  (i32.store (i32.const 80) (i32.const 8192))\n  \
             (i32.store (i32.const 84) (i32.const {count}))\n  (i32.const 64))"
        ))
    };
    refused(&routes(201), &[], &["201 routes", "1 to 200"]);
    refused(&routes(300_000), &[], &["too much data", "in describe"]);
    refused(&routes(u32::MAX), &[], &["out of bounds", "in describe"]);
}

#[test]
fn a_component_that_is_too_large_or_too_slow_to_compile_is_refused() {
    let good = file("good.wat");
    let limit = format!("sandbox.component_bytes_max={}", good.len().saturating_sub(1));
    refused(&good, &[&limit], &["component_bytes_max", "bytes, limit is"]);
    let body = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (local.get 0)))";
    let body = body.repeat(2000);
    let functions = format!("(func (param i32) {body})").repeat(40);
    let flags = ["sandbox.compile_ms=1"];
    refused(&component(&functions), &flags, &["was not compiled within 1 ms", "compile_ms"]);
}

#[test]
fn types_that_unfold_to_more_than_memory_holds_are_refused() {
    let mut types = String::from("(type $t0 (tuple string string))");
    for level in 1..40 {
        let before = level - 1;
        types.push_str(&format!("(type $t{level} (tuple $t{before} $t{before}))"));
    }
    refused(&wat(&format!("(component {types} {EXPORTS})")), &[], &["not valid", "type size"]);
}

/// What every component has: it is looked at before anything is compiled.
const EXPORTS: &str = r#"(instance $none)
    (export "callgate:processor/plugin@0.1.0" (instance $none))
    (export "callgate:processor/phases@0.1.0" (instance $none))"#;

/// A flag as long as the line it stands on.
const PATIENT_DESCRIBE: &str = "plugins.extra.limits.describe_ms=60000";
