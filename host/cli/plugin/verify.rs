//! `callgate plugin verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use callgate_package::key::PublicKey;
use callgate_package::policy::{Policies, Policy};
use callgate_package::signed::{FILE_BYTES_MAX, SignedManifest, Signer};
use callgate_package::{Manifest, admit};
use clap::Args;

use super::{describe, files};
use crate::cli::print;
use crate::config::{Config, Layers};
use crate::packages::coded;

/// What to check, and against what.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The component.
    component: PathBuf,
    /// Its signed manifest; else the file beside the component with the ending .manifest.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// A host's configuration: would it let the package in?
    #[arg(short, long, value_name = "FILE", required_unless_present = "public_key")]
    config: Option<PathBuf>,
    /// A key that must have signed, as BUSINESS/ID=FILE; may be given more than once.
    #[arg(long, value_name = "BUSINESS/ID=FILE", conflicts_with = "config")]
    public_key: Vec<String>,
}

impl Verify {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let component = files::read(&self.component, describe::COMPONENT_BYTES_MAX)?;
        let path = self.manifest.unwrap_or_else(|| self.component.with_extension("manifest"));
        let file = files::read(&path, FILE_BYTES_MAX)?;
        let verdict = if let Some(config) = self.config {
            let config = Config::load(&Layers::of_process(Some(config), Vec::new()))?;
            let admitted = admit(&file, &component, &config.policies);
            admitted.map(|admitted| (admitted.manifest, admitted.signed_by)).map_err(coded)
        } else {
            against_keys(&file, &component, &self.public_key)
        };
        let (manifest, signed_by) = verdict.with_context(|| path.display().to_string())?;
        let descriptor = describe::describe(&component, Some(&manifest)).await?;
        manifest.check_descriptor(&descriptor).map_err(coded)?;
        let Manifest { name, version, .. } = manifest;
        let signed_by: Vec<String> = signed_by.iter().map(ToString::to_string).collect();
        let signed_by = match signed_by.as_slice() {
            [] => "by nobody (allow_unsigned)".to_owned(),
            signers => format!("by {}", signers.join(", ")),
        };
        print(&format!("good: {name} {version}, signed {signed_by}\n"));
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether all of these keys have signed a manifest for this component.
fn against_keys(
    file: &[u8],
    component: &[u8],
    given: &[String],
) -> anyhow::Result<(Manifest, Vec<Signer>)> {
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    let mut expected = Vec::new();
    for given in given {
        let parts = given.split_once('=').and_then(|(signer, file)| {
            let (business, id) = signer.split_once('/')?;
            Some((business, id, file))
        });
        let (business, id, path) = parts.context("--public-key: expected BUSINESS/ID=FILE")?;
        let signer = Signer::new(business, id).map_err(coded).context("--public-key")?;
        let text = files::read(path.as_ref(), PEM_BYTES_MAX)?;
        let key = PublicKey::from_pem(&String::from_utf8_lossy(&text)).map_err(coded);
        let key = key.with_context(|| path.to_owned())?;
        policies.entry(business.to_owned()).or_default().keys.insert(id.to_owned(), key);
        expected.push(signer);
    }
    let signed = SignedManifest::parse(file).map_err(coded)?;
    let held = signed.verify(&Policies::new(policies)).map_err(coded)?;
    if let Some(missing) = expected.iter().find(|signer| !held.contains(signer)) {
        bail!("package.unsigned: `{missing}` has not signed it");
    }
    let manifest = Manifest::parse(signed.body()).map_err(coded)?;
    manifest.check_hash(component).map_err(coded)?;
    Ok((manifest, held))
}

const PEM_BYTES_MAX: usize = 4096;
