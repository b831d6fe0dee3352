//! Compiling, away from everything else: a component may be made to compile for ever or to
//! enormous code, and compilation cannot be interrupted.
//!
//! Where a program for it is named, a child process compiles, with bounded time, memory and files,
//! and is killed at the limit. It leaves what it made in the engine's own cache, which the server
//! then reads as it reads any cached code: no code is loaded that the engine did not write and
//! check. What was compiled within the limits once is noted, so that it needs no child again.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use wasmtime::component::Component;

use crate::child::{Order, Said};
use crate::engine::Rooms;
use crate::load::{LoadError, shown};

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, on a thread that cannot be stopped: for tests and tools.
    Here,
    /// In a child process: this program, which calls [`crate::child::compile`].
    Child {
        /// The program.
        program: PathBuf,
        /// What it is called with.
        args: Vec<String>,
    },
}

/// Compiles, or finds what was compiled before.
pub(crate) async fn compile(
    rooms: &Arc<Rooms>,
    sha256: &str,
    bytes: Vec<u8>,
) -> Result<Component, LoadError> {
    if let Compiler::Child { program, args } = &rooms.compiler {
        let note = rooms.note_of(sha256);
        if !note.as_ref().is_some_and(|note| note.exists()) {
            // One at a time: many at once would only share the machine. Waiting for its turn is
            // not a component's fault.
            let turn = rooms.compiling.clone().acquire_owned().await;
            let _turn = turn.map_err(|error| LoadError::Host(error.to_string()))?;
            let mut command = Command::new(program);
            command.args(args);
            in_child(rooms, command, &bytes).await?;
            if let Some(note) = note {
                write_note(&note);
            }
        }
    }
    let misses = rooms.cache_misses();
    let component = here(rooms, bytes).await?;
    if matches!(rooms.compiler, Compiler::Child { .. }) && rooms.cache_misses() > misses {
        tracing::warn!(
            component = sha256,
            "compiled code was not found in the cache and was compiled again in the server"
        );
    }
    let found = code_bytes(&component);
    let limit = rooms.settings.code_bytes_max;
    if found > limit {
        return Err(LoadError::CodeTooLarge { found: Some(found), limit });
    }
    Ok(component)
}

/// Bytes of what was compiled.
pub(crate) fn code_bytes(component: &Component) -> usize {
    let range = component.image_range();
    range.end.addr().saturating_sub(range.start.addr())
}

fn write_note(note: &std::path::Path) {
    let written = note.parent().map_or(Ok(()), std::fs::create_dir_all);
    if let Err(error) = written.and_then(|()| std::fs::write(note, b"")) {
        tracing::warn!(%error, "the cache of compiled code cannot be written; loading stays slow");
    }
}

/// On a blocking thread of this process, one component at a time.
async fn here(rooms: &Arc<Rooms>, bytes: Vec<u8>) -> Result<Component, LoadError> {
    let limit_ms = rooms.settings.compile_ms;
    let (engine, compiling) = (rooms.engine.clone(), rooms.compiling.clone());
    let compile = async move {
        let turn = compiling.acquire_owned().await;
        let turn = turn.map_err(|error| LoadError::Host(error.to_string()))?;
        // The turn goes along: a compilation that is given up still holds it until it ends.
        let compiled = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Component::from_binary(&engine, &bytes)
        });
        let compiled = compiled.await.map_err(|error| LoadError::Host(error.to_string()))?;
        compiled.map_err(|error| LoadError::Invalid(shown(&format!("{error:#}"))))
    };
    let limit = Duration::from_millis(limit_ms);
    let in_time = tokio::time::timeout(limit, compile).await;
    in_time.unwrap_or(Err(LoadError::SlowCompile { limit_ms }))
}

/// In a child, which fills the cache. It inherits no environment and no open file.
async fn in_child(rooms: &Rooms, mut command: Command, bytes: &[u8]) -> Result<(), LoadError> {
    let limit_ms = rooms.settings.compile_ms;
    let order = Order::new(&rooms.settings, rooms.cache_dir(), bytes.len());
    let host = |error: &dyn std::fmt::Display| LoadError::Host(format!("the compiler: {error}"));
    let order = serde_json::to_string(&order).map_err(|error| host(&error))?;
    let mut child = command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| host(&error))?;
    // Its standard input stays open until the end: where it closes, the server is gone.
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(host(&"it has no pipes"));
    };
    let talk = async {
        // How a child ended tells more than a broken pipe does.
        let written = async {
            stdin.write_all(order.as_bytes()).await?;
            stdin.write_all(b"\n").await?;
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        let _: std::io::Result<()> = written.await;
        let mut said = String::new();
        let _ = stdout.take(SAID_BYTES).read_to_string(&mut said).await;
        (said, child.wait().await)
    };
    let Ok((said, status)) = tokio::time::timeout(Duration::from_millis(limit_ms), talk).await
    else {
        // Dropping the child kills it.
        return Err(LoadError::SlowCompile { limit_ms });
    };
    let status = status.map_err(|error| host(&error))?;
    match serde_json::from_str(&said) {
        Ok(Said::Done) => Ok(()),
        Ok(Said::Invalid(text)) => Err(LoadError::Invalid(shown(&text))),
        Ok(Said::TooLarge(found)) => {
            let limit = rooms.settings.code_bytes_max;
            Err(LoadError::CodeTooLarge { found: Some(found), limit })
        }
        Ok(Said::Host(text)) => Err(host(&text)),
        Err(_) => Err(died(rooms, status)),
    }
}

/// What the way in which a compiler died says.
fn died(rooms: &Rooms, status: std::process::ExitStatus) -> LoadError {
    use std::os::unix::process::ExitStatusExt;

    let settings = &rooms.settings;
    match status.signal() {
        Some(SIGXCPU) => LoadError::SlowCompile { limit_ms: settings.compile_ms },
        Some(SIGXFSZ) => LoadError::CodeTooLarge { found: None, limit: settings.code_bytes_max },
        Some(_) | None => LoadError::CompilerDied {
            how: status.to_string(),
            limit: settings.compile_memory_bytes,
        },
    }
}

const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// An answer is one line.
const SAID_BYTES: u64 = 64 << 10;
