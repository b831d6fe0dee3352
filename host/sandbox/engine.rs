//! The engine: compiles and pools memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Cache, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
};

use crate::bindings::Processor;
use crate::cache::{self, CacheDir};
use crate::compile::Compiler;
use crate::limits::Limits;
use crate::state::RunState;
use crate::ticker::Ticker;

/// Settings of the sandbox, the same for all plugins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxSettings {
    /// Runs at once; further ones wait.
    pub slots: u32,
    /// Where compiled code is kept; nowhere where this is not set. What lies there is executed, so
    /// the directory must be writable by the server alone.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of a component file.
    pub component_bytes_max: usize,
    /// How long a component may take to compile, in milliseconds.
    pub compile_ms: u64,
    /// Memory that compiling one component may take, in bytes, where a child process compiles.
    pub compile_memory_bytes: u64,
    /// Bytes of code that a component may be compiled to.
    pub code_bytes_max: usize,
    /// Core modules of a component, and again components inside it.
    pub modules_max: u32,
    /// Functions of a component.
    pub functions_max: u32,
    /// Bytes of one function of a component.
    pub function_bytes_max: u32,
    /// Bytes of one linear memory: no plugin's `memory_bytes` may be above.
    pub memory_bytes_max: usize,
    /// Elements of one table: no plugin's `table_elements` may be above.
    pub table_elements_max: usize,
    /// Bytes of each of its memories that a finished guest has written and the next one in its
    /// place gets back zeroed, instead of new ones from the system: faster, but they stay in use.
    /// There are four such places for each slot.
    pub memory_keep_bytes: usize,
    /// Stack of a guest, in bytes.
    pub stack_bytes: usize,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            slots: 64,
            cache_dir: None,
            component_bytes_max: 32 << 20,
            compile_ms: 120_000,
            compile_memory_bytes: 2 << 30,
            code_bytes_max: 128 << 20,
            modules_max: 64,
            functions_max: 200_000,
            function_bytes_max: 1 << 20,
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            memory_keep_bytes: 1 << 20,
            stack_bytes: 512 << 10,
        }
    }
}

/// Where the memory of guests comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// From a pool that is reserved at the start: an instance costs microseconds.
    Pooled,
    /// From the system for each run: the machine has no address space for a pool.
    OnDemand,
}

/// Loads plugins and gives their runs a place. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) rooms: Arc<Rooms>,
}

/// What loading and running share.
pub(crate) struct Rooms {
    pub(crate) engine: Engine,
    memory: Memory,
    pub(crate) linker: Linker<RunState>,
    pub(crate) settings: SandboxSettings,
    /// One permit for each run that may be under way.
    pub(crate) slots: Semaphore,
    /// Compilation cannot be interrupted: one at a time, so that a bomb costs one thread.
    pub(crate) compiling: Arc<Semaphore>,
    pub(crate) compiler: Compiler,
    cache: Option<Cache>,
    cache_dir: Option<CacheDir>,
    pub(crate) ticker: Ticker,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("settings", &self.rooms.settings).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Builds the engine and starts its ticker.
    ///
    /// Memory is pooled where the machine has the address space for it, else taken on demand.
    ///
    /// # Errors
    /// [`SandboxError`] where neither works, or the cache directory cannot be used.
    pub fn new(settings: SandboxSettings) -> Result<Self, SandboxError> {
        Self::with_compiler(settings, Compiler::Here)
    }

    /// As [`Self::new`], and says where components are compiled. A child process needs a cache: a
    /// private one of this process, where none is configured.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_compiler(
        settings: SandboxSettings,
        compiler: Compiler,
    ) -> Result<Self, SandboxError> {
        let cache_dir = match (&settings.cache_dir, &compiler) {
            (Some(dir), _) => Some(CacheDir::open(dir)?),
            (None, Compiler::Child { .. }) => Some(CacheDir::private()?),
            (None, Compiler::Here) => None,
        };
        let cache = cache_dir.as_ref().map(CacheDir::cache).transpose()?;
        let (engine, memory) = engine(&settings, cache.as_ref())?;
        let mut linker = Linker::new(&engine);
        Processor::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine)?;
        let slots = Semaphore::new(usize_of(settings.slots).clamp(1, Semaphore::MAX_PERMITS));
        let compiling = Arc::new(Semaphore::new(1));
        let rooms = Rooms {
            engine,
            memory,
            linker,
            settings,
            slots,
            compiling,
            compiler,
            cache,
            cache_dir,
            ticker,
        };
        Ok(Self { rooms: Arc::new(rooms) })
    }

    /// Where the memory of guests comes from.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.rooms.memory
    }

    /// Runs that could start now without waiting.
    #[must_use]
    pub fn slots_free(&self) -> usize {
        self.rooms.slots.available_permits()
    }
}

impl Rooms {
    /// The folder of compiled code; empty where there is none.
    pub(crate) fn cache_dir(&self) -> &Path {
        self.cache_dir.as_ref().map_or_else(|| Path::new(""), CacheDir::path)
    }

    /// The note that a component was compiled within the limits by an engine like this one.
    pub(crate) fn note_of(&self, sha256: &str) -> Option<PathBuf> {
        Some(cache::note(self.cache_dir.as_ref()?.path(), sha256, &self.engine))
    }

    /// How often compiled code was looked for and not found.
    pub(crate) fn cache_misses(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Code `sandbox.engine`.
    #[error("the engine cannot be built: {0}")]
    Engine(String),
    /// Code `sandbox.cache`.
    #[error("the cache directory {dir} cannot be used: {cause}")]
    Cache {
        /// As configured.
        dir: PathBuf,
        /// What went wrong.
        cause: String,
    },
}

impl SandboxError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(_) => "sandbox.engine",
            Self::Cache { .. } => "sandbox.cache",
        }
    }
}

/// Probes for pooled memory and falls back to memory on demand.
fn engine(
    settings: &SandboxSettings,
    cache: Option<&Cache>,
) -> Result<(Engine, Memory), SandboxError> {
    let mut config = config(settings, cache.cloned());
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, Memory::Pooled)),
        Err(error) => {
            tracing::warn!(
                cause = format!("{error:#}"),
                slots = settings.slots,
                "memory of guests cannot be pooled, taking it on demand: runs start slower"
            );
            let config = self::config(settings, cache.cloned());
            let engine = Engine::new(&config);
            let engine = engine.map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
            Ok((engine, Memory::OnDemand))
        }
    }
}

/// An engine that makes the code which the others run. It takes no memory for guests: it runs none.
pub(crate) fn compiling_engine(settings: &SandboxSettings) -> Result<Engine, SandboxError> {
    let cache = settings.cache_dir.as_deref().map(|dir| CacheDir::open(dir)?.cache());
    let config = config(settings, cache.transpose()?);
    Engine::new(&config).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

/// What every store of this engine has in common. The reasons stand with the measurements.
fn config(settings: &SandboxSettings, cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        // Not needed by the contract, slower, and the home of many advisories.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(true)
        // The same bits on every machine, so that a replay decides the same.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // Guests in QuickJS and Python link with several memories.
        .wasm_multi_memory(true)
        .max_wasm_stack(settings.stack_bytes)
        .async_stack_size(settings.stack_bytes.saturating_add(HOST_STACK_BYTES))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .cache(cache);
    config
}

/// A pool that cannot run out: each slot has room for the largest component that is let in.
fn pool(settings: &SandboxSettings) -> PoolingAllocationConfig {
    let slots = settings.slots.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_memories(slots.saturating_mul(MEMORIES_MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .total_tables(slots.saturating_mul(TABLES_MAX))
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .total_core_instances(slots.saturating_mul(INSTANCES_MAX))
        .max_core_instances_per_component(INSTANCES_MAX)
        .table_elements(settings.table_elements_max)
        .max_memory_size(settings.memory_bytes_max)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(settings.memory_keep_bytes)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

impl SandboxSettings {
    /// The largest value that a plugin's limit may have here, where the sandbox has a ceiling.
    pub(crate) fn ceilings(&self, limits: &Limits) -> [(&'static str, usize, usize); 6] {
        [
            ("memory_bytes", limits.memory_bytes, self.memory_bytes_max),
            ("table_elements", limits.table_elements, self.table_elements_max),
            ("memories", limits.memories, usize_of(MEMORIES_MAX)),
            ("tables", limits.tables, usize_of(TABLES_MAX)),
            ("instances", limits.instances, usize_of(INSTANCES_MAX)),
            ("json_depth", limits.json_depth, JSON_DEPTH_MAX),
        ]
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Stack left for host functions beside the guest's own.
const HOST_STACK_BYTES: usize = 1536 << 10;
/// QuickJS has 3.
const MEMORIES_MAX: u32 = 4;
/// What reads JSON goes down with it, on the stack of the host and of who gets it.
const JSON_DEPTH_MAX: usize = 128;
const TABLES_MAX: u32 = 8;
/// Python has about 26.
const INSTANCES_MAX: u32 = 64;
