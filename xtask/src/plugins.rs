//! `cargo xtask plugins`: guests to components.
//!
//! Cargo compiles each plugin to a core module; the component encoder wraps it by the types that
//! the bindings left in it, and validates the result. A component that imports anything but the
//! contract is refused here, where its author sees it, and not first by the host.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::toolchain::{Choice, TARGET, Toolchain, say};
use crate::workspace;

/// `cargo xtask plugins`.
#[derive(Debug, clap::Args)]
pub(crate) struct Plugins {
    /// The compiler to take.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
}

impl Plugins {
    /// Builds all plugins.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        build_with(self.toolchain).map(drop)
    }
}

/// The finished components.
#[derive(Debug)]
pub(crate) struct Built {
    folder: PathBuf,
}

impl Built {
    /// The folder of the components, one `<package>.wasm` each.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The component of one plugin.
    ///
    /// # Errors
    /// Where no plugin has this name.
    pub(crate) fn component(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{name}.wasm"));
        ensure!(path.is_file(), "{} is missing, expected a plugin `{name}`", path.display());
        Ok(path)
    }
}

/// Builds all plugins with the best compiler at hand.
///
/// # Errors
/// What failed, where, and how to mend it.
pub(crate) fn build() -> anyhow::Result<Built> {
    build_with(Choice::Auto)
}

fn build_with(choice: Choice) -> anyhow::Result<Built> {
    let toolchain = Toolchain::find(choice)?;
    let plugins = plugins(&toolchain)?;
    say(&format!("building {} plugins with {}", plugins.len(), toolchain.name()));
    if toolchain.builds_library() && !modules().join(TARGET).is_dir() {
        say("this builds the standard library first, which takes some minutes, once");
    }
    compile(&toolchain)?;
    let folder = workspace::root().join("target/plugins");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in &plugins {
        finish(name, &folder)?;
    }
    Ok(Built { folder })
}

/// The packages of the guests' workspace that are plugins: those with a `cdylib`.
fn plugins(toolchain: &Toolchain) -> anyhow::Result<Vec<String>> {
    let done = toolchain
        .cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(guests())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        done.status.success(),
        "cannot read plugins/Cargo.toml: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    let metadata: Value = serde_json::from_slice(&done.stdout).context("cargo metadata")?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let names: Vec<_> = packages.into_iter().flatten().filter_map(plugin_name).collect();
    ensure!(!names.is_empty(), "no package of plugins/ has crate-type `cdylib`");
    Ok(names)
}

fn plugin_name(package: &Value) -> Option<String> {
    let list = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let targets = list(package, "targets");
    let is_plugin = targets.iter().flat_map(|one| list(one, "kind")).any(|kind| kind == "cdylib");
    is_plugin.then(|| package.get("name")?.as_str().map(str::to_owned))?
}

fn compile(toolchain: &Toolchain) -> anyhow::Result<()> {
    let status = toolchain
        .cargo()
        .args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"])
        .arg(modules())
        .args(["--config", &nameless_home()?])
        .args(toolchain.build_arguments())
        .current_dir(guests())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the plugins do not compile; the messages above say why");
    Ok(())
}

/// Keeps the builder's home out of the components: panics name the files of dependencies.
fn nameless_home() -> anyhow::Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let flag = format!("--remap-path-prefix={}=/cargo", home.display());
    Ok(format!("target.{TARGET}.rustflags=[{}]", toml::Value::String(flag)))
}

/// The guests' own workspace.
fn guests() -> PathBuf {
    workspace::root().join("plugins")
}

/// Cargo's target directory of the guests.
fn modules() -> PathBuf {
    guests().join("target")
}

/// Makes the component of one plugin, and writes it where it differs from what is there.
fn finish(name: &str, folder: &Path) -> anyhow::Result<()> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let module = modules().join(TARGET).join("release").join(file);
    let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = encode(&bytes).with_context(|| {
        format!("{} cannot become a component; does `{name}` call `export!`?", module.display())
    })?;
    check(&component).with_context(|| format!("plugin `{name}` does not keep the contract"))?;
    let path = folder.join(format!("{name}.wasm"));
    let verb = if fs::read(&path).is_ok_and(|before| before == component) {
        "unchanged"
    } else {
        write(&path, &component)?;
        "built"
    };
    let kib = component.len().div_ceil(1024);
    say(&format!("{verb} target/plugins/{name}.wasm, {kib} KiB"));
    Ok(())
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Refuses a component that imports anything but the contract, or does not export all of it.
fn check(component: &[u8]) -> anyhow::Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("it is a package of interfaces, expected a component");
    };
    let world = resolve.worlds.get(world).context("it has no world")?;
    for key in world.imports.keys() {
        let import = resolve.name_world_key(key);
        ensure!(
            import.starts_with(CONTRACT),
            "it imports `{import}`, expected only `{CONTRACT}…`; look for a dependency that uses \
             files, clocks, random numbers or the network"
        );
    }
    let exports: Vec<_> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    for expected in EXPORTS {
        let is_it = |export: &String| export.split('@').next() == Some(expected);
        ensure!(exports.iter().any(is_it), "it does not export `{expected}`");
    }
    Ok(())
}

/// Writes beside and renames, so that a host that is looking never reads half a component.
fn write(path: &Path, component: &[u8]) -> anyhow::Result<()> {
    let half = path.with_extension("wasm.part");
    fs::write(&half, component).with_context(|| format!("cannot write {}", half.display()))?;
    fs::rename(&half, path).with_context(|| format!("cannot write {}", path.display()))
}

/// The package of the contract.
const CONTRACT: &str = "callgate:processor/";

/// The interfaces that a processor must export.
const EXPORTS: [&str; 2] = ["callgate:processor/plugin", "callgate:processor/phases"];

#[cfg(test)]
mod tests {
    use super::check;

    const EXPORTED: &str = r#"
        (instance $nothing)
        (export "callgate:processor/plugin@0.1.0" (instance $nothing))
        (export "callgate:processor/phases@0.1.0" (instance $nothing))
    "#;

    fn complaint(imports: &str, exports: &str) -> Option<String> {
        let text = format!("(component {imports} {exports})");
        let component = wat::parse_str(text).expect("the text is a component");
        check(&component).err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn the_contract_alone_is_accepted() {
        let clock = r#"(import "callgate:processor/clock@0.1.0" (instance))"#;
        assert_eq!(complaint("", EXPORTED), None);
        assert_eq!(complaint(clock, EXPORTED), None);
    }

    #[test]
    fn any_other_import_is_refused_by_name() {
        for name in ["wasi:cli/environment@0.2.0", "callgate:processors/clock@0.1.0", "clock"] {
            let import = format!(r#"(import "{name}" (instance))"#);
            let complaint = complaint(&import, EXPORTED).expect("a complaint");
            assert!(complaint.contains(&format!("`{name}`")), "{complaint}");
        }
    }

    #[test]
    fn a_missing_export_is_refused_by_name() {
        let plugin = r#"(instance $i) (export "callgate:processor/plugin@0.1.0" (instance $i))"#;
        let complaint = complaint("", plugin).expect("a complaint");
        assert!(complaint.contains("callgate:processor/phases"), "{complaint}");
    }
}
