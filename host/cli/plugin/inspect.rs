//! `callgate plugin inspect`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use callgate_package::admit::sha256_text;
use callgate_package::signed::SignedManifest;
use callgate_package::{Manifest, admit};
use callgate_sandbox::descriptor::{Edge, Route};
use callgate_sandbox::grants::Grants;
use clap::Args;

use super::outline::{Outline, outline};
use super::{describe, files};
use crate::cli::print;
use crate::config::{Config, Layers};
use crate::packages::coded;

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A component, a manifest, or both, in any order.
    #[arg(required = true, num_args = 1..=2, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A host's configuration: what would it say?
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A file and what is in it.
type Found = (PathBuf, Vec<u8>);

impl Inspect {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = match self.config {
            Some(file) => Some(Config::load(&Layers::of_process(Some(file), Vec::new()))?),
            None => None,
        };
        let (component, manifest) = sort(self.files)?;
        let mut said = String::new();
        let signed = match &manifest {
            Some((_, bytes)) => Some(SignedManifest::parse(bytes).map_err(coded)?),
            None => None,
        };
        let read = signed.as_ref().map(|signed| Manifest::parse(signed.body()));
        let read = read.transpose().map_err(coded)?;
        let mut good = true;
        if let Some((path, bytes)) = &component {
            good &= show_component(&mut said, (path, bytes), read.as_ref()).await?;
        }
        if let (Some((path, _)), Some(signed), Some(read)) = (&manifest, &signed, &read) {
            show_manifest(&mut said, path, (signed, read), config.as_ref())?;
        }
        if let (Some((_, component)), Some((_, manifest)), Some(config)) =
            (&component, &manifest, &config)
        {
            let verdict = match admit(manifest, component, &config.policies) {
                Ok(admitted) if admitted.unsigned.is_empty() => "let in".to_owned(),
                Ok(admitted) => format!("let in, unsigned for {}", admitted.unsigned.join(", ")),
                Err(refused) => {
                    good = false;
                    format!("refused, {:#}", coded(refused))
                }
            };
            writeln!(said, "host         {verdict}")?;
        }
        print(&said);
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Tells components from manifests by their first bytes.
fn sort(paths: Vec<PathBuf>) -> anyhow::Result<(Option<Found>, Option<Found>)> {
    let (mut component, mut manifest) = (None, None);
    for path in paths {
        let bytes = files::read(&path, describe::COMPONENT_BYTES_MAX)?;
        let place = if bytes.starts_with(b"\0asm") { &mut component } else { &mut manifest };
        if place.is_some() {
            let shown = path.display();
            anyhow::bail!("{shown}: expected one component and one manifest, found two of a kind");
        }
        *place = Some((path, bytes));
    }
    Ok((component, manifest))
}

/// Tells whether a sandbox would take it, and whether it keeps to its manifest.
async fn show_component(
    said: &mut String,
    (path, bytes): (&Path, &[u8]),
    manifest: Option<&Manifest>,
) -> anyhow::Result<bool> {
    let Outline { imports, exports } =
        outline(bytes).with_context(|| format!("{} is no component", path.display()))?;
    writeln!(said, "component    {}", path.display())?;
    writeln!(said, "  size       {} bytes", bytes.len())?;
    writeln!(said, "  sha256     {}", sha256_text(bytes))?;
    list(said, "imports", imports)?;
    list(said, "exports", exports)?;
    let descriptor = match describe::describe(bytes, manifest).await {
        Ok(descriptor) => descriptor,
        Err(error) => {
            writeln!(said, "  refused    {error:#}")?;
            return Ok(false);
        }
    };
    writeln!(said, "  name       {}", descriptor.name)?;
    writeln!(said, "  version    {}", descriptor.version)?;
    list(said, "routes", descriptor.routes.iter().map(Route::to_string))?;
    list(said, "steps", descriptor.transitions.iter().map(step))?;
    writeln!(said, "  after      {}", if descriptor.after { "yes" } else { "no" })?;
    let Some(manifest) = manifest else { return Ok(true) };
    let held = manifest.check_hash(bytes).and_then(|()| manifest.check_descriptor(&descriptor));
    match held {
        Ok(()) => writeln!(said, "  manifest   fits")?,
        Err(ref refused) => writeln!(said, "  manifest   {}: {refused}", refused.code())?,
    }
    Ok(held.is_ok())
}

fn show_manifest(
    said: &mut String,
    path: &Path,
    (signed, manifest): (&SignedManifest, &Manifest),
    config: Option<&Config>,
) -> anyhow::Result<()> {
    writeln!(said, "manifest     {}", path.display())?;
    writeln!(said, "  name       {}", manifest.name)?;
    writeln!(said, "  version    {}", manifest.version)?;
    writeln!(said, "  contract   {}", manifest.contract)?;
    writeln!(said, "  sha256     {}", manifest.sha256)?;
    let held = config.map(|config| signed.verify(&config.policies));
    let signers = signed.claimed_signers().map(|signer| match &held {
        None => format!("{signer} (not checked: no --config)"),
        Some(Err(refused)) => format!("{signer} ({})", refused.code()),
        Some(Ok(held)) if held.contains(signer) => format!("{signer} (holds)"),
        Some(Ok(_)) => format!("{signer} (the host does not know this key)"),
    });
    list(said, "signed by", signers)?;
    list(said, "routes", manifest.routes.iter().map(Route::to_string))?;
    if let Some(transitions) = &manifest.transitions {
        list(said, "steps", transitions.iter().map(step))?;
    }
    list(said, "grants", grants(&manifest.grants))?;
    let limits = manifest.limits.iter().map(|(name, asked)| format!("{name} = {asked}"));
    list(said, "limits", limits)?;
    let schema = if manifest.config_schema.is_some() { "has a schema" } else { "takes none" };
    writeln!(said, "  config     {schema}")?;
    Ok(())
}

fn grants(grants: &Grants) -> Vec<String> {
    let Grants { read, write, topics, endpoints, blind_writes, .. } = grants;
    let kinds = [("read", read), ("write", write), ("topic", topics), ("endpoint", endpoints)];
    let named = kinds
        .into_iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind} {name}")));
    let blind = blind_writes.then(|| "blind writes".to_owned());
    named.chain(blind).collect()
}

fn step(Edge { from, to }: &Edge) -> String {
    format!("{from} to {to}")
}

/// A list under one word, each on a line of its own.
fn list(
    said: &mut String,
    word: &str,
    items: impl IntoIterator<Item = String>,
) -> std::fmt::Result {
    let mut items = items.into_iter();
    let first = items.next().unwrap_or_else(|| "none".to_owned());
    writeln!(said, "  {word:<10} {first}")?;
    items.try_for_each(|item| writeln!(said, "  {:<10} {item}", ""))
}
