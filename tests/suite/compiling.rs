//! Compiling in a child process: the real binary compiles for a sandbox of this one, and bombs do
//! not get through.

use std::os::unix::fs::PermissionsExt as _;

use callgate_sandbox::compile::Compiler;
use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};
use callgate_sandbox::plugin::Plugin;
use tempfile::TempDir;

use crate::guest_text::guest;
use crate::house::binary;

/// A folder for compiled code: nobody else's.
fn folder() -> TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a folder")
}

fn settings(cache: &TempDir) -> SandboxSettings {
    let cache_dir = Some(cache.path().to_owned());
    SandboxSettings { slots: 1, cache_dir, ..SandboxSettings::default() }
}

fn compiler() -> Compiler {
    let args = vec!["compile-component".to_owned()];
    Compiler::Child { program: binary().into(), args }
}

async fn load(settings: SandboxSettings, bytes: Vec<u8>) -> Result<Plugin, LoadError> {
    let sandbox = Sandbox::with_compiler(settings, compiler()).expect("a sandbox");
    let (limits, grants) = (Limits::default(), Grants::default());
    sandbox.load(Source { bytes, limits, grants, config: serde_json::Value::Null }).await
}

/// So many functions, each of so many additions.
fn functions(count: u32, additions: u32) -> Vec<u8> {
    let body = "(local.set 0 (i32.add (i32.mul (local.get 0) (local.get 0)) (local.get 0)))\n"
        .repeat(usize::try_from(additions).expect("a few"));
    let function = format!("(func (param i32) (result i32) {body} (local.get 0))\n");
    guest(("test/guest", "SHOP"), &function.repeat(usize::try_from(count).expect("a few")))
}

#[tokio::test]
async fn what_a_child_compiled_is_found_in_the_cache_by_the_server() {
    let cache = folder();
    let bytes = guest(("test/guest", "SHOP"), "");
    let plugin = load(settings(&cache), bytes.clone()).await.expect("it is good");
    assert_eq!(plugin.descriptor().name, "test/guest");
    let notes = || std::fs::read_dir(cache.path().join("compiled")).expect("notes").count();
    assert_eq!(notes(), 1);
    // It comes from the cache again, without a child: there is no such program.
    let nobody = Compiler::Child { program: "/nowhere/callgate".into(), args: Vec::new() };
    let sandbox = Sandbox::with_compiler(settings(&cache), nobody).expect("a sandbox");
    let source = |bytes| Source { bytes, ..Source::default() };
    sandbox.load(source(bytes)).await.expect("it is known");
    let error = sandbox.load(source(functions(1, 1))).await.expect_err("another needs a child");
    assert_eq!(error.code(), "plugin.host", "{error}");
    assert_eq!(notes(), 1);
}

#[tokio::test]
async fn a_bomb_that_compiles_slowly_is_stopped_at_the_limit() {
    let cache = folder();
    let bytes = functions(300, 1_000);
    let limited = SandboxSettings { compile_ms: 700, ..settings(&cache) };
    let error = load(limited, bytes).await.expect_err("it takes longer");
    assert_eq!(error, LoadError::SlowCompile { limit_ms: 700 });
    assert!(!cache.path().join("compiled").exists(), "it is not noted as good");
}

#[tokio::test]
async fn a_bomb_that_needs_much_memory_is_stopped_at_the_limit() {
    let cache = folder();
    // Less than the program itself needs to begin with.
    let limited = SandboxSettings { compile_memory_bytes: 64 << 20, ..settings(&cache) };
    let error = load(limited, functions(200, 200)).await.expect_err("it needs more");
    let died = matches!(error, LoadError::CompilerDied { .. } | LoadError::Host(_));
    assert!(died, "{error}");
}

#[tokio::test]
async fn a_bomb_that_makes_enormous_code_is_refused() {
    let cache = folder();
    let limited = SandboxSettings { code_bytes_max: 200_000, ..settings(&cache) };
    let error = load(limited, functions(200, 200)).await.expect_err("it is larger");
    assert_eq!(error.code(), "plugin.code-too-large", "{error}");
    assert!(error.to_string().contains("limit is 200000 (sandbox.code_bytes_max)"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_good_is_refused_before_anything_is_compiled() {
    // Nothing could be compiled: there is no such program.
    let nobody = Compiler::Child { program: "/nowhere/callgate".into(), args: Vec::new() };
    let settings = SandboxSettings {
        slots: 1,
        functions_max: 100,
        function_bytes_max: 2_000,
        ..SandboxSettings::default()
    };
    let sandbox = Sandbox::with_compiler(settings, nobody).expect("a sandbox");
    let wasi = "(component (import \"wasi:filesystem/types@0.2.0\" (instance)))";
    let unknown = "(component (import \"shop:own/thing@1.0.0\" (instance)))";
    let nested = format!("{}{}", "(component ".repeat(18), ")".repeat(18));
    let modules = format!("(component {})", "(core module)".repeat(65));
    let text = |text: &str| wat::parse_str(text).expect("a component");
    for (bytes, code, words) in [
        (text(wasi), "plugin.import", "no WASI"),
        (text(unknown), "plugin.import", "not part of the contract"),
        (text("(component)"), "plugin.export", "does not export"),
        (text(&nested), "plugin.too-much-to-compile", "levels of nesting"),
        (text(&modules), "plugin.too-much-to-compile", "sandbox.modules_max"),
        (functions(101, 1), "plugin.too-much-to-compile", "sandbox.functions_max"),
        (functions(1, 1_000), "plugin.too-much-to-compile", "sandbox.function_bytes_max"),
    ] {
        let source = Source { bytes, ..Source::default() };
        let error = sandbox.load(source).await.expect_err("it is refused");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_no_cache() {
    let cache = folder();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(cache.path(), open).expect("it is ours");
    let error = Sandbox::with_compiler(settings(&cache), compiler()).expect_err("it is refused");
    assert_eq!(error.code(), "sandbox.cache");
    assert!(error.to_string().contains("mode is 777"), "{error}");
}
