//! What is not let in, and why, in words.

use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};

use crate::guest::{component, file, load, load_source, neighbour_works, run, source};

async fn refused(bytes: Vec<u8>, code: &str, word: &str) {
    refused_source(source(bytes), code, word).await;
}

async fn refused_source(source: Source, code: &str, word: &str) {
    let error = load_source(source).await.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(word), "{error}");
    neighbour_works().await;
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn what_is_no_component_is_refused_for_what_it_is() {
    let code = "plugin.not-a-component";
    refused(wat("(module)"), code, "core WebAssembly module").await;
    refused(b"  (component)".to_vec(), code, "WebAssembly text").await;
    refused(b"#!/bin/sh".to_vec(), code, "not WebAssembly").await;
    refused(Vec::new(), code, "not WebAssembly").await;
    refused(b"\0asm\xff\xff\xff\xff".to_vec(), code, "unknown kind").await;
}

#[tokio::test]
async fn a_component_that_is_cut_off_is_refused() {
    let good = file("good.wat");
    for cut in (8..good.len()).step_by(good.len() / 25) {
        let error = load_source(source(good.get(..cut).unwrap().to_vec())).await.unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_) | LoadError::Export(_)), "{cut}: {error}");
    }
    neighbour_works().await;
}

#[tokio::test]
async fn a_component_within_the_size_is_taken_and_a_larger_one_is_not() {
    let bytes = file("good.wat");
    let with_limit = |component_bytes_max| {
        Sandbox::new(SandboxSettings { slots: 1, component_bytes_max, ..Default::default() })
            .unwrap()
    };
    assert!(with_limit(bytes.len()).load(source(bytes.clone())).await.is_ok());
    let error = with_limit(bytes.len() - 1).load(source(bytes)).await.unwrap_err();
    assert_eq!(error.code(), "plugin.too-large");
}

#[tokio::test]
async fn wasi_is_refused_by_name() {
    let bytes = wat(r#"(component (import "wasi:filesystem/types@0.2.3" (instance
            (export "filesystem-error-code" (func)))))"#);
    refused(bytes.clone(), "plugin.import", "`wasi:filesystem/types@0.2.3`").await;
    refused(bytes, "plugin.import", "no WASI").await;
}

#[tokio::test]
async fn imports_that_the_contract_does_not_have_are_refused_by_name() {
    for (import, word) in [
        ("callgate:processor/sockets@0.1.0", "no such interface"),
        ("callgate:processor/log@0.2.0", "serves version 0.1"),
        ("callgate:processor/log@1.1.0", "serves version 0.1"),
        ("callgate:processor/log", "serves version 0.1"),
        ("evil:processor/log@0.1.0", "not part of the contract"),
        ("callgate:processor-x/log@0.1.0", "not part of the contract"),
    ] {
        let bytes = wat(&format!(r#"(component (import "{import}" (instance)))"#));
        refused(bytes.clone(), "plugin.import", &format!("`{import}`")).await;
        refused(bytes, "plugin.import", word).await;
    }
    let bare = wat(r#"(component (import "exec" (func)))"#);
    refused(bare, "plugin.import", "`exec`").await;
}

#[tokio::test]
async fn an_unknown_function_of_a_known_interface_is_refused_by_name() {
    let bytes = wat(&r#"(component (import "callgate:processor/log@0.1.9" (instance
            (export "write-everything" (func)))) @EXPORTS)"#
        .replace("@EXPORTS", EXPORTS));
    refused(bytes.clone(), "plugin.link", "callgate:processor/log").await;
    refused(bytes, "plugin.link", "write-everything").await;
}

#[tokio::test]
async fn a_known_function_of_another_shape_is_refused() {
    let bytes = wat(&r#"(component (import "callgate:processor/clock@0.1.0" (instance
            (export "now" (func (result string))))) @EXPORTS)"#
        .replace("@EXPORTS", EXPORTS));
    refused(bytes, "plugin.link", "now").await;
}

/// What every component has; empty here, for the imports are looked at first.
const EXPORTS: &str = r#"(instance $none)
    (export "callgate:processor/plugin@0.1.0" (instance $none))
    (export "callgate:processor/phases@0.1.0" (instance $none))"#;

#[tokio::test]
async fn a_component_without_the_exports_is_refused() {
    refused(wat("(component)"), "plugin.export", "callgate:processor/plugin").await;
}

#[tokio::test]
async fn what_starts_too_large_is_refused() {
    let with_limits = |fields: &str, limits| Source { limits, ..source(component(fields)) };
    let small = Limits { memory_bytes: 65536, ..Limits::default() };
    refused_source(with_limits("", small), "plugin.needs-too-much", "131072 bytes of memory").await;
    let few = Limits { table_elements: 10, ..Limits::default() };
    let table = "(table 11 funcref)";
    refused_source(with_limits(table, few), "plugin.needs-too-much", "11 table elements").await;
    let one = Limits { memories: 1, ..Limits::default() };
    let memories = "(memory (export \"memory\") 2) (memory 1)";
    refused_source(with_limits(memories, one), "plugin.needs-too-much", "2 memories").await;
}

#[tokio::test]
async fn what_no_sandbox_has_room_for_is_refused() {
    for fields in [
        "(memory (export \"memory\") 65536)".to_owned(),
        "(table 10000000 funcref)".to_owned(),
        format!("(memory (export \"memory\") 2) {}", "(memory 1)".repeat(20)),
        "(table 1 funcref)".repeat(50),
    ] {
        let error = load_source(source(component(&fields))).await.unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_) | LoadError::NeedsTooMuch { .. }), "{error}");
    }
    neighbour_works().await;
}

#[tokio::test]
async fn a_limit_above_the_ceiling_is_refused_by_name() {
    let limits = Limits { memory_bytes: (64 << 20) + 1, ..Limits::default() };
    let source = Source { limits, ..source(file("good.wat")) };
    refused_source(source, "plugin.limit", "memory_bytes").await;
}

#[tokio::test]
async fn a_description_that_is_not_allowed_is_refused() {
    let describe = |address: usize, byte: u8| {
        component(&format!(
            r#"(func (export "describe") (result i32)
                (i32.store8 (i32.const {address}) (i32.const {byte}))
                (call $describe))"#
        ))
    };
    refused(describe(256, b' '), "plugin.descriptor", "name is ` est/guest`").await;
    refused(describe(272, b'x'), "plugin.descriptor", "version is `x.0.0`").await;
    refused(describe(280, b'*'), "plugin.descriptor", "business").await;
    refused(describe(304, b'\n'), "plugin.descriptor", "state of a transition is `\\nPEN`").await;
}

#[tokio::test]
async fn what_a_guest_remembers_does_not_reach_its_next_instance() {
    let plugin = load(file("counter.wat")).await;
    assert_eq!(plugin.descriptor().version.to_string(), "1.0.0");
}

#[tokio::test]
async fn a_business_that_is_not_granted_cannot_be_claimed() {
    let with = |business: &str| {
        let businesses = Some([business.to_owned()].into_iter().collect());
        let grants = Grants { businesses, ..Grants::default() };
        Source { grants, ..source(file("good.wat")) }
    };
    assert!(load_source(with("SHOP")).await.is_ok());
    refused_source(with("BANK"), "plugin.business", "`SHOP`").await;
}

#[tokio::test]
async fn memory_is_pooled_where_there_is_room_and_on_demand_where_there_is_none() {
    use callgate_sandbox::engine::Memory;
    let sandbox = |slots| Sandbox::new(SandboxSettings { slots, ..Default::default() }).unwrap();
    assert_eq!(sandbox(4).memory(), Memory::Pooled);
    let crowded = sandbox(60_000);
    assert_eq!(crowded.memory(), Memory::OnDemand);
    let plugin = crowded.load(source(file("good.wat"))).await.unwrap();
    assert!(run(&plugin).await.result.is_ok());
}

#[tokio::test]
async fn a_component_that_takes_too_long_to_compile_is_refused() {
    let settings = SandboxSettings { slots: 1, compile_ms: 0, ..Default::default() };
    let error = Sandbox::new(settings).unwrap().load(source(file("good.wat"))).await.unwrap_err();
    assert_eq!(error, LoadError::SlowCompile { limit_ms: 0 });
}

#[tokio::test]
async fn compiled_code_is_kept_in_the_cache() {
    let dir = std::env::temp_dir().join(format!("callgate-cache-{}", std::process::id()));
    let settings =
        || SandboxSettings { slots: 1, cache_dir: Some(dir.clone()), ..Default::default() };
    let entries = || walk(&dir);
    Sandbox::new(settings()).unwrap().load(source(file("good.wat"))).await.unwrap();
    assert!(entries() > 0, "nothing was kept in {}", dir.display());
    let plugin = Sandbox::new(settings()).unwrap().load(source(file("good.wat"))).await.unwrap();
    assert!(run(&plugin).await.result.is_ok());
    std::fs::remove_dir_all(&dir).unwrap();
}

fn walk(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_cache_directory_that_is_a_file_stops_the_start() {
    let file = std::env::temp_dir().join(format!("callgate-no-dir-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let settings = SandboxSettings { cache_dir: Some(file.clone()), ..Default::default() };
    let error = Sandbox::new(settings).unwrap_err();
    assert_eq!(error.code(), "sandbox.cache");
    std::fs::remove_file(&file).unwrap();
}
