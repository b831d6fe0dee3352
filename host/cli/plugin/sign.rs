//! `callgate plugin sign`.

use std::path::PathBuf;
use std::process::ExitCode;

use callgate_package::draft::manifest_for;
use callgate_package::signed::{FILE_BYTES_MAX, Signer};
use callgate_package::{Manifest, Refused};
use clap::Args;

use super::{describe, files};
use crate::cli::print;
use crate::packages::coded;

/// What to sign, and with which key.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The manifest: your draft, without first line and hash, or one that another has signed.
    manifest: PathBuf,
    /// The component that it is for.
    #[arg(long, value_name = "FILE")]
    component: PathBuf,
    /// The business that the key belongs to.
    #[arg(long)]
    business: String,
    /// The key's name, as the host's configuration has it.
    #[arg(long)]
    id: String,
    /// The file of the private key, as `callgate plugin keygen` wrote it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the signed manifest goes; else beside the component, with the ending .manifest.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Sign {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let signer = Signer::new(&self.business, &self.id).map_err(coded)?;
        let component = files::read(&self.component, describe::COMPONENT_BYTES_MAX)?;
        let draft = files::read(&self.manifest, FILE_BYTES_MAX)?;
        let in_manifest =
            |refused: Refused| coded(refused).context(self.manifest.display().to_string());
        let mut signed = manifest_for(&draft, &component).map_err(in_manifest)?;
        let manifest = Manifest::parse(signed.body()).map_err(in_manifest)?;
        // A host would refuse it: better the author hears that before it is signed.
        let descriptor = describe::describe(&component, Some(&manifest)).await?;
        manifest.check_descriptor(&descriptor).map_err(in_manifest)?;
        let key = files::read_private_key(&self.key)?;
        signed.sign(signer.clone(), &key).map_err(coded)?;
        let to = self.to.unwrap_or_else(|| self.component.with_extension("manifest"));
        files::replace(&to, &signed.to_bytes())?;
        let Manifest { name, version, .. } = manifest;
        print(&format!("{name} {version}, signed by {signer}: {}\n", to.display()));
        Ok(ExitCode::SUCCESS)
    }
}
