//! The other side of compiling in a child: limits itself, compiles into the cache, says how it
//! went in one line.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use serde::{Deserialize, Serialize};
use wasmtime::component::Component;

use crate::compile::code_bytes;
use crate::engine::{SandboxSettings, compiling_engine};

/// What a child is to do: the first line of its standard input; the component follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    cache_dir: PathBuf,
    stack_bytes: usize,
    compile_ms: u64,
    compile_memory_bytes: u64,
    code_bytes_max: usize,
    bytes: usize,
}

impl Order {
    pub(crate) fn new(settings: &SandboxSettings, cache_dir: &Path, bytes: usize) -> Self {
        Self {
            cache_dir: cache_dir.to_owned(),
            stack_bytes: settings.stack_bytes,
            compile_ms: settings.compile_ms,
            compile_memory_bytes: settings.compile_memory_bytes,
            code_bytes_max: settings.code_bytes_max,
            bytes,
        }
    }

    fn settings(&self) -> SandboxSettings {
        SandboxSettings {
            cache_dir: Some(self.cache_dir.clone()),
            stack_bytes: self.stack_bytes,
            code_bytes_max: self.code_bytes_max,
            ..SandboxSettings::default()
        }
    }
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    /// The compiled code is in the cache.
    Done,
    /// The component does not validate.
    Invalid(String),
    /// So many bytes of code were made.
    TooLarge(usize),
    /// The host failed.
    Host(String),
}

/// Compiles the component on the standard input into the cache, as the server that started this
/// process says there, and answers it on the standard output. The whole work of a child process.
///
/// # Errors
/// Where nobody hears the answer.
pub fn compile() -> std::io::Result<()> {
    let said = match work() {
        Ok(said) => said,
        Err(error) => Said::Host(error.to_string()),
    };
    let line = serde_json::to_string(&said).map_err(std::io::Error::other)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

fn work() -> std::io::Result<Said> {
    let mut stdin = std::io::stdin().lock();
    let mut line = String::new();
    stdin.by_ref().take(ORDER_BYTES).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).map_err(std::io::Error::other)?;
    limit(&order)?;
    let mut bytes = vec![0; order.bytes];
    stdin.read_exact(&mut bytes)?;
    drop(stdin);
    end_with_the_server()?;
    let engine = compiling_engine(&order.settings()).map_err(std::io::Error::other)?;
    Ok(match Component::from_binary(&engine, &bytes) {
        Err(error) => Said::Invalid(format!("{error:#}")),
        Ok(component) => match code_bytes(&component) {
            found if found > order.code_bytes_max => Said::TooLarge(found),
            _ => Said::Done,
        },
    })
}

/// No more than this, whatever the component is made of.
fn limit(order: &Order) -> std::io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cores = u64::try_from(cores).unwrap_or(1);
    let seconds = order.compile_ms.div_ceil(1000).saturating_add(1).saturating_mul(cores);
    let files = u64::try_from(order.code_bytes_max).unwrap_or(u64::MAX);
    for (resource, most, last) in [
        (Resource::As, order.compile_memory_bytes, order.compile_memory_bytes),
        // At the first it is told which limit it is, at the last it is killed.
        (Resource::Cpu, seconds, seconds.saturating_add(1)),
        (Resource::Fsize, files, files),
        (Resource::Core, 0, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(last) })?;
    }
    // Compiling can wait; answers to gateways cannot.
    Ok(setpriority_process(None, NICE)?)
}

/// The server holds the other end of the standard input: where that closes, nobody waits for an
/// answer.
fn end_with_the_server() -> std::io::Result<()> {
    let watch = || {
        let mut rest = [0; 1];
        // More input is a mistake; an error or the end is a server that is gone.
        let _ = std::io::stdin().read(&mut rest);
        std::process::abort();
    };
    std::thread::Builder::new().name("compile-watch".to_owned()).spawn(watch).map(drop)
}

/// An order is a short line.
const ORDER_BYTES: u64 = 64 << 10;

/// How much compiling stands back, 0 to 19.
const NICE: i32 = 10;
