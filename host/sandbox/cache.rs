//! Compiled code, in a folder that is configured or private to this process.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig, Engine};

use crate::engine::SandboxError;
use crate::folder::private_folder;

/// The folder, configured or private.
#[derive(Debug)]
pub(crate) struct CacheDir {
    path: PathBuf,
    /// Removed with the sandbox.
    _private: Option<TempDir>,
}

impl CacheDir {
    /// A folder that was configured; made where it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, SandboxError> {
        let path = private_folder(dir).map_err(|cause| refused(dir, cause))?;
        Ok(Self { path, _private: None })
    }

    /// A folder of this process alone, for as long as it lives.
    pub(crate) fn private() -> Result<Self, SandboxError> {
        let parent = std::env::temp_dir();
        remove_leftovers(&parent);
        let refuse = |error: io::Error| refused(&parent, error.to_string());
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let alone = fs::Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        let private = builder.prefix(&prefix).permissions(alone).tempdir().map_err(refuse)?;
        let path = private.path().canonicalize().map_err(refuse)?;
        Ok(Self { path, _private: Some(private) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The engine's cache in this folder.
    pub(crate) fn cache(&self) -> Result<Cache, SandboxError> {
        let mut config = CacheConfig::new();
        config.with_directory(&self.path);
        Cache::new(config).map_err(|error| refused(&self.path, format!("{error:#}")))
    }
}

fn refused(dir: &Path, cause: String) -> SandboxError {
    SandboxError::Cache { dir: dir.to_owned(), cause }
}

/// A process that was killed left its folder behind.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = process.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let gone = process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists());
        // A link would lead elsewhere; another user's folder refuses by itself.
        if gone
            && Path::new("/proc/self").exists()
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Where it is noted that a component was compiled within the limits by an engine like this.
pub(crate) fn note(dir: &Path, sha256: &str, engine: &Engine) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    dir.join("compiled").join(format!("{sha256}-{:016x}", hasher.finish()))
}

const PREFIX: &str = "callgate-cache-";
