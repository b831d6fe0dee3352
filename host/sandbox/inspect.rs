//! A look at a component before it is compiled: what it imports and exports, and how much there is
//! to compile. Nothing is believed yet; what is wrong is refused in microseconds.

use wasmparser::{Parser, Payload};

use crate::engine::SandboxSettings;
use crate::load::{LoadError, shown};

/// Holds a component's imports, exports and sizes against the contract and the settings.
///
/// # Errors
/// The first rule that it breaks.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's enum is open")]
pub(crate) fn inspect(bytes: &[u8], settings: &SandboxSettings) -> Result<(), LoadError> {
    let mut sizes = Sizes::default();
    let mut exports = Vec::new();
    // How deep the part that is being read lies in the component.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| invalid(&error))? {
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import.map_err(|error| invalid(&error))?.name.name;
                    check_import(name)
                        .map_err(|advice| LoadError::Import { name: shown(name), advice })?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|error| invalid(&error))?.name.name);
                }
            }
            Payload::ModuleSection { .. } => {
                depth = depth.saturating_add(1);
                sizes.modules = sizes.modules.saturating_add(1);
            }
            Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
                sizes.components = sizes.components.saturating_add(1);
            }
            Payload::CodeSectionStart { count, .. } => {
                sizes.functions = sizes.functions.saturating_add(u64::from(count));
            }
            Payload::CodeSectionEntry(body) => {
                sizes.function_bytes = sizes.function_bytes.max(length(&body.range()));
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        sizes.check(settings, depth)?;
    }
    for name in [PLUGIN, PHASES] {
        if !exports.iter().any(|export| export.starts_with(name)) {
            return Err(LoadError::Export(name));
        }
    }
    Ok(())
}

/// How much there is to compile.
#[derive(Debug, Default)]
struct Sizes {
    modules: u64,
    components: u64,
    functions: u64,
    /// Of the longest function.
    function_bytes: u64,
}

impl Sizes {
    fn check(&self, settings: &SandboxSettings, depth: usize) -> Result<(), LoadError> {
        let modules_max = u64::from(settings.modules_max);
        for (what, found, limit) in [
            ("core modules (sandbox.modules_max)", self.modules, modules_max),
            ("nested components (sandbox.modules_max)", self.components, modules_max),
            ("levels of nesting", u64::try_from(depth).unwrap_or(u64::MAX), DEPTH_MAX),
            (
                "functions (sandbox.functions_max)",
                self.functions,
                u64::from(settings.functions_max),
            ),
            (
                "bytes in one function (sandbox.function_bytes_max)",
                self.function_bytes,
                u64::from(settings.function_bytes_max),
            ),
        ] {
            if found > limit {
                return Err(LoadError::TooMuchToCompile { what, found, limit });
            }
        }
        Ok(())
    }
}

fn length(range: &std::ops::Range<usize>) -> u64 {
    u64::try_from(range.len()).unwrap_or(u64::MAX)
}

fn invalid(error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Invalid(shown(&error.to_string()))
}

/// Compares one import with the contract, by name.
fn check_import(name: &str) -> Result<(), String> {
    let offered = || format!("the contract offers {} of {PACKAGE}@0.1", INTERFACES.join(", "));
    if name.starts_with("wasi:") {
        return Err("a processor gets no WASI (files, sockets, clocks, environment); build it \
                    without (Rust: wasm32-unknown-unknown; QuickJS and Python: --stub-wasi)"
            .to_owned());
    }
    let Some(inside) = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else {
        return Err(format!("this is not part of the contract; {}", offered()));
    };
    let (interface, version) = inside.split_once('@').unwrap_or((inside, ""));
    if !INTERFACES.contains(&interface) {
        return Err(format!("there is no such interface; {}", offered()));
    }
    match semver::Version::parse(version) {
        Ok(version) if (version.major, version.minor) == (0, 1) && version.pre.is_empty() => Ok(()),
        Ok(_) | Err(_) => Err("this host serves version 0.1 of the contract".to_owned()),
    }
}

const PACKAGE: &str = "callgate:processor";
const PLUGIN: &str = "callgate:processor/plugin@0.1.";
const PHASES: &str = "callgate:processor/phases@0.1.";
const INTERFACES: [&str; 8] =
    ["types", "exchange", "documents", "events", "config", "log", "http", "clock"];

/// Components in components in components. Toolchains make two levels.
const DEPTH_MAX: u64 = 16;
