//! `callgate plugin keygen`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use callgate_package::key::PrivateKey;
use callgate_package::signed::Signer;
use clap::Args;

use super::files::{self, Readable};
use crate::cli::print;
use crate::packages::coded;

/// For whom, and where the files go.
#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// The business whose plugins it signs.
    #[arg(long)]
    business: String,
    /// A name for the key, such as main-2026.
    #[arg(long)]
    id: String,
    /// The folder for ID.key (yours alone) and ID.pub (for the platform team).
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    into: PathBuf,
}

impl Keygen {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { business, id, into } = self;
        Signer::new(&business, &id).map_err(coded)?;
        let key = PrivateKey::generate().map_err(coded)?;
        let public = key.public_key().and_then(|key| key.to_pem()).map_err(coded)?;
        std::fs::create_dir_all(&into)
            .with_context(|| format!("{} cannot be made", into.display()))?;
        let (private_file, public_file) =
            (into.join(format!("{id}.key")), into.join(format!("{id}.pub")));
        let private = key.to_pem().map_err(coded)?;
        files::write_new(&private_file, &private, Readable::ByOwner)?;
        files::write_new(&public_file, &public, Readable::ByAll)?;
        let shown = toml::Value::String(public_file.display().to_string());
        print(&format!(
            "private key: {}\npublic key:  {}\n\nFor the host's configuration:\n\n\
             [[businesses.{business}.plugin_keys]]\nid = \"{id}\"\npublic_key_file = {shown}\n",
            private_file.display(),
            public_file.display(),
        ));
        Ok(ExitCode::SUCCESS)
    }
}
