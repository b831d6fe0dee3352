//! Compilers that can build guests: rustup's, or the distribution's with its library sources.
//!
//! Guests are compiled for `wasm32-unknown-unknown`. rustup offers its library ready-made; where
//! rustup is missing or cannot reach its server, Debian's compiler builds the library from the
//! packaged sources. That needs the unstable `-Z build-std`, hence `RUSTC_BOOTSTRAP`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::workspace;

/// The machine that guests are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian packages that make up a compiler for guests.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// The oldest compiler that takes the guests' edition and dependencies: major and minor.
const VERSION_MIN: (u32, u32) = (1, 95);

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// What `cargo run` and rustup set for their children. It belongs to the toolchain that runs this
/// program, and would mislead another one; flags for the host's linker would break the guests'.
const FOREIGN_VARIABLES: [&str; 16] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// Which compiler to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// rustup's where it can be had, else the distribution's.
    Auto,
    /// rustup's only.
    Rustup,
    /// The distribution's only.
    Distribution,
}

/// A compiler that is ready to build guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// rustup's, with its ready-made library.
    Rustup {
        /// The folder of `cargo` and `rustc` themselves, not of the proxies.
        bin: PathBuf,
    },
    /// The distribution's, which builds the library from its sources.
    Distribution {
        /// The linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds a compiler, and where one is missing sets it up.
    ///
    /// # Errors
    /// Where none can be had: what was tried, and the command that mends it.
    pub(crate) fn find(choice: Choice) -> anyhow::Result<Self> {
        match choice {
            Choice::Rustup => rustup(),
            Choice::Distribution => distribution(),
            Choice::Auto => rustup().or_else(|refusal| {
                say(&format!("rustup has no {TARGET}: {refusal:#}"));
                distribution().with_context(|| {
                    format!("no compiler for {TARGET}; `rustup target add {TARGET}` gives one too")
                })
            }),
        }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rustup { .. } => "rustup's compiler",
            Self::Distribution { .. } => "the distribution's compiler",
        }
    }

    /// Cargo of this toolchain, in a clean environment.
    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Rustup { bin } => {
                let mut cargo = clean(bin.join("cargo"));
                cargo.env("RUSTC", bin.join("rustc"));
                cargo
            }
            Self::Distribution { linker } => {
                let mut cargo = clean(CARGO);
                cargo
                    .env("RUSTC", RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        }
    }

    /// Whether the first build is long, since it makes the standard library too.
    pub(crate) fn builds_library(&self) -> bool {
        matches!(self, Self::Distribution { .. })
    }

    /// The further arguments of `cargo build`.
    pub(crate) fn build_arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Rustup { .. } => &[],
            Self::Distribution { .. } => &["-Z", "build-std=std,panic_abort"],
        }
    }
}

/// rustup's compiler of this folder, with the target added where it is missing.
fn rustup() -> anyhow::Result<Toolchain> {
    // Here rustup must see what it chose for this run: the guests get the same compiler.
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if !installed.lines().any(|line| line == TARGET) {
        say(&format!("adding {TARGET} to rustup's compiler"));
        output(Command::new("rustup").args(["target", "add", TARGET]))?;
    }
    let cargo = output(Command::new("rustup").args(["which", "cargo"]))?;
    let bin = Path::new(cargo.trim()).parent().context("rustup does not say where cargo is")?;
    Ok(Toolchain::Rustup { bin: bin.to_path_buf() })
}

/// Makes sure that the distribution's compiler is there, with sources and linker.
fn distribution() -> anyhow::Result<Toolchain> {
    let missing = match installed() {
        Ok(linker) => return Ok(Toolchain::Distribution { linker }),
        Err(missing) => missing,
    };
    install()
        .with_context(|| format!("the distribution's compiler is not complete: {missing:#}"))?;
    let linker = installed().context("after the installation")?;
    Ok(Toolchain::Distribution { linker })
}

/// The linker of a complete compiler, or what is missing.
fn installed() -> anyhow::Result<PathBuf> {
    let version = output(clean(RUSTC).arg("--version"))?;
    if !is_recent(&version) {
        let (major, minor) = VERSION_MIN;
        bail!("{RUSTC} is {}, expected {major}.{minor} or later", version.trim());
    }
    let cargo = output(clean(CARGO).arg("--version"))?;
    if !is_recent(&cargo) {
        bail!("{CARGO} is {}, expected one as recent as {RUSTC}", cargo.trim());
    }
    let sysroot = output(clean(RUSTC).args(["--print", "sysroot"]))?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !sources.is_file() {
        bail!("the library's sources are missing, expected {}", sources.display());
    }
    newest_linker()
}

/// Whether `rustc 1.96.0 (…)` or `cargo 1.96.0 (…)` is recent enough.
fn is_recent(version: &str) -> bool {
    let number = version.split_ascii_whitespace().nth(1).unwrap_or_default();
    let mut parts = number.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= VERSION_MIN,
        _ => false,
    }
}

/// `wasm-ld`, or the `wasm-ld-N` with the highest N.
fn newest_linker() -> anyhow::Result<PathBuf> {
    let bin = Path::new("/usr/bin");
    let entries = bin.read_dir().with_context(|| format!("cannot list {}", bin.display()))?;
    let found = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        linker_version(name.to_str()?).map(|version| (version, entry.path()))
    });
    let newest = found.max_by_key(|(version, _)| *version);
    newest.map(|(_, path)| path).context("the linker is missing, expected /usr/bin/wasm-ld-19")
}

fn linker_version(name: &str) -> Option<u32> {
    match name.strip_prefix("wasm-ld")? {
        "" => Some(0),
        rest => rest.strip_prefix('-')?.parse().ok(),
    }
}

/// Installs the packages, where this is root on a system with apt.
fn install() -> anyhow::Result<()> {
    let packages = PACKAGES.join(" ");
    let by_hand = format!("apt-get update && apt-get install -y {packages}");
    if output(Command::new("apt-get").arg("--version")).is_err() {
        bail!("this is no Debian; install rustup and run `rustup target add {TARGET}`");
    }
    if !workspace::is_root() {
        bail!("packages are missing; run `sudo sh -c '{by_hand}'`");
    }
    say(&format!("installing {packages}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q").args(arguments);
        output(&mut command).with_context(|| format!("run `{by_hand}` by hand to see more"))
    };
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(PACKAGES);
    apt(&arguments).map(drop)
}

/// A command that knows nothing of the toolchain that runs this program.
fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// What a command wrote; its last words where it failed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = workspace::show(command);
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&done.stderr);
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    bail!("`{shown}` failed with {}: {}", done.status, last.trim())
}

/// One line of progress.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

#[cfg(test)]
mod tests {
    use super::{is_recent, linker_version};

    #[test]
    fn a_compiler_is_recent_from_the_limit_on() {
        assert!(is_recent("rustc 1.95.0 (59807616e 2026-04-14)"));
        assert!(is_recent("cargo 1.96.0 (30a34c682 2026-05-25) (built from a source tarball)"));
        assert!(is_recent("rustc 2.0.0"));
        assert!(!is_recent("rustc 1.94.9"));
        assert!(!is_recent("rustc unknown"));
        assert!(!is_recent(""));
    }

    #[test]
    fn only_linkers_for_webassembly_are_found() {
        assert_eq!(linker_version("wasm-ld-19"), Some(19));
        assert_eq!(linker_version("wasm-ld"), Some(0));
        assert_eq!(linker_version("ld.lld-19"), None);
        assert_eq!(linker_version("wasm-ld-x"), None);
    }
}
