//! Asks a component what it is, in a sandbox of its own.

use callgate_package::Manifest;
use callgate_sandbox::descriptor::Descriptor;
use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};

use crate::packages::coded;

/// Loads a component with the limits that it asks for and tells what it says of itself.
///
/// # Errors
/// Why no sandbox would take it, with the code.
pub(super) async fn describe(
    bytes: &[u8],
    manifest: Option<&Manifest>,
) -> anyhow::Result<Descriptor> {
    let limits = manifest.map(Manifest::asked_limits).transpose().map_err(coded)?;
    let limits = limits.unwrap_or_default();
    let usual = SandboxSettings::default();
    // Whether a host has the room is the host's to say.
    let settings = SandboxSettings {
        slots: 1,
        cache_dir: None,
        memory_bytes_max: limits.memory_bytes.max(usual.memory_bytes_max),
        table_elements_max: limits.table_elements.max(usual.table_elements_max),
        ..usual
    };
    let sandbox = Sandbox::new(settings)?;
    let loaded = sandbox.load(source(bytes, limits)).await;
    let plugin = loaded.map_err(|error: LoadError| anyhow::anyhow!("{}: {error}", error.code()))?;
    Ok(plugin.descriptor().clone())
}

fn source(bytes: &[u8], limits: Limits) -> Source {
    let config = serde_json::Value::Object(serde_json::Map::new());
    Source { bytes: bytes.to_vec(), limits, config, ..Source::default() }
}

/// Bytes of a component that the commands read; a host's `sandbox.component_bytes_max` decides.
pub(super) const COMPONENT_BYTES_MAX: usize = 256 << 20;
