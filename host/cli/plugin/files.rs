//! The files of the commands: bounded when read, whole when written, private where they are keys.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, ensure};
use callgate_package::key::PrivateKey;
use zeroize::Zeroizing;

use crate::packages::coded;

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).with_context(|| format!("{shown} cannot be read"))?;
    ensure!(bytes.len() <= bytes_max, "{shown} is longer than {bytes_max} bytes");
    Ok(bytes)
}

/// Reads a private key from a file that only its owner, and at most the group, may read.
pub(super) fn read_private_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
    let mode = file.metadata().with_context(|| format!("{shown} cannot be read"))?.permissions();
    let open = mode.mode() & OPEN_TO_OTHERS;
    ensure!(
        open == 0,
        "{shown} can be read or written by others (mode {:o}): run `chmod 600 {shown}`; if others \
         may have read it, make a new key",
        mode.mode() & 0o777
    );
    let mut text = Zeroizing::new(String::new());
    let read = (&mut file).take(KEY_BYTES_MAX).read_to_string(&mut text);
    read.with_context(|| format!("{shown} cannot be read"))?;
    PrivateKey::from_pem(&text).map_err(coded).with_context(|| shown.to_string())
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, text: &str, readable: Readable) -> anyhow::Result<()> {
    let mode = match readable {
        Readable::ByOwner => 0o600,
        Readable::ByAll => 0o644,
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readable {
    /// For private keys.
    ByOwner,
    /// For public keys.
    ByAll,
}

/// Writes beside and renames, so that nobody reads half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push(".part");
    let written = std::fs::write(&half, bytes).and_then(|()| std::fs::rename(&half, path));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

/// Reading and writing by all others, and writing by the group.
const OPEN_TO_OTHERS: u32 = 0o026;

/// More than a key has.
const KEY_BYTES_MAX: u64 = 4096;
