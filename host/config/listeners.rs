//! Listeners: their limits, their certificates, and which of them believe a proxy.

use std::path::Path;

use super::{ConfigError, files};
use crate::inbound::ListenerSettings;

/// Checks the settings of a listener, every file included, and makes its paths start from a folder.
pub(super) fn check(
    room: &str,
    settings: &mut ListenerSettings,
    folder: &Path,
) -> Result<(), ConfigError> {
    let wrong = |field: &str, problem| ConfigError::new(format!("{room}.{field}"), problem);
    settings.check().map_err(|(field, problem)| wrong(field, problem))?;
    if room != "public" && !settings.trusted_proxies.is_empty() {
        let problem = "only the public listener asks where a request comes from; remove this key";
        return Err(wrong("trusted_proxies", problem.to_owned()));
    }
    let Some(tls) = &mut settings.tls else { return Ok(()) };
    tls.beside(folder);
    for file in tls.files() {
        files::note(&format!("{room}.tls.certificate_file"), &file);
    }
    tls.read()
        .map_err(|error| wrong(&format!("tls.{}", error.field), error.problem).coded(error.code))
}
