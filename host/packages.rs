//! The plugins of the configuration: what is let in, and on which terms.

use anyhow::{Context, bail};
use callgate_package::policy::Policies;
use callgate_package::{Admitted, Refused, admit};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::load::Source;

use crate::config::plugins::PluginSettings;

/// A plugin that may be loaded.
#[derive(Debug)]
pub struct Package {
    /// The component and its terms.
    pub source: Source,
    /// The verdict on its manifest; `None` where it has none.
    pub admitted: Option<Admitted>,
}

/// Reads one plugin of the configuration and holds it to its manifest and to the policies of its
/// businesses.
///
/// # Errors
/// Which file cannot be read, or which rule the package breaks.
pub async fn read(
    name: &str,
    settings: &PluginSettings,
    policies: &Policies,
) -> anyhow::Result<Package> {
    let file = settings.file.display();
    let bytes = tokio::fs::read(&settings.file)
        .await
        .with_context(|| format!("plugins.{name}.file: {file} cannot be read"))?;
    let Some(manifest) = &settings.manifest else {
        check_unsigned(name, settings, policies)?;
        let businesses = Some(settings.businesses.iter().cloned().collect());
        let grants = Grants { businesses, ..settings.grants.clone() };
        let (limits, config) = (settings.limits.clone(), settings.config.clone());
        return Ok(Package { source: Source { bytes, limits, grants, config }, admitted: None });
    };
    let shown = manifest.display();
    let text = tokio::fs::read(manifest)
        .await
        .with_context(|| format!("plugins.{name}.manifest: {shown} cannot be read"))?;
    let admitted = admit(&text, &bytes, policies)
        .map_err(coded)
        .with_context(|| format!("plugins.{name}.manifest: {shown} is refused"))?;
    let checked = admitted.manifest.check_config(&settings.config).map_err(coded);
    checked.with_context(|| format!("plugins.{name}.config"))?;
    if !admitted.unsigned.is_empty() {
        let businesses = admitted.unsigned.join(", ");
        tracing::warn!(plugin = name, %businesses, "{UNSIGNED}");
    }
    let source = Source {
        bytes,
        limits: admitted.limits.clone(),
        grants: admitted.grants.clone(),
        config: settings.config.clone(),
    };
    Ok(Package { source, admitted: Some(admitted) })
}

/// Without a manifest nobody vouches for a plugin, so each of its businesses must allow that.
fn check_unsigned(
    name: &str,
    settings: &PluginSettings,
    policies: &Policies,
) -> anyhow::Result<()> {
    let allows = |business: &str| policies.get(business).is_some_and(|p| p.allow_unsigned);
    if let Some(business) = settings.businesses.iter().find(|business| !allows(business)) {
        bail!(
            "plugins.{name}: it has no signed manifest (package.unsigned): give it `manifest = \
             \"FILE\"`, or set `businesses.{business}.allow_unsigned = true` on a host where \
             anybody's plugin may run"
        );
    }
    let businesses = settings.businesses.join(", ");
    tracing::warn!(plugin = name, %businesses, "{UNSIGNED}");
    Ok(())
}

/// The refusal with its code, for the log and the command line.
pub(crate) fn coded(refused: Refused) -> anyhow::Error {
    anyhow::anyhow!("{}: {refused}", refused.code())
}

const UNSIGNED: &str = "plugin is not signed; it runs because allow_unsigned is set";
