//! From bytes to a plugin, or a refusal in words that its author understands.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::bindings::ProcessorPre;
use crate::bindings::exports::callgate::processor::plugin as wit;
use crate::call::Session;
use crate::compile::compile;
use crate::cpu::watched;
use crate::descriptor::{Claimed, Descriptor, Edge, Route};
use crate::engine::{Rooms, Sandbox};
use crate::fault::Fault;
use crate::grants::Grants;
use crate::inspect::inspect;
use crate::limits::{LOG_LINE_BYTES, Limits};
use crate::plugin::{Names, Plugin};
use crate::state::{RunState, Terms};
use crate::text;

/// A component file and what the host's configuration says about it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The component, as it lies in its file.
    pub bytes: Vec<u8>,
    /// What it may use.
    pub limits: Limits,
    /// What it may touch.
    pub grants: Grants,
    /// What `config.get` answers from; usually an object.
    pub config: serde_json::Value,
}

/// Why a component is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Code `plugin.too-large`.
    #[error("component has {found} bytes, limit is {limit} (component_bytes_max)")]
    TooLarge {
        /// Bytes of the file.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Code `plugin.not-a-component`.
    #[error("{0}")]
    NotAComponent(&'static str),
    /// Code `plugin.invalid`.
    #[error("component is not valid: {0}")]
    Invalid(String),
    /// Code `plugin.slow-compile`.
    #[error("component was not compiled within {limit_ms} ms (compile_ms)")]
    SlowCompile {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// Code `plugin.too-much-to-compile`.
    #[error("component has {found} {what}, limit is {limit}")]
    TooMuchToCompile {
        /// Of what, and the setting.
        what: &'static str,
        /// What it has.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Code `plugin.code-too-large`.
    #[error(
        "component compiles to {} bytes of code, limit is {limit} (sandbox.code_bytes_max)",
        found.map_or_else(|| "more".to_owned(), |found| found.to_string())
    )]
    CodeTooLarge {
        /// What it compiles to, where it came so far.
        found: Option<usize>,
        /// The limit.
        limit: usize,
    },
    /// Code `plugin.compiler-died`.
    #[error(
        "the compiler of this component ended with {how}; most likely it needs more than {limit} \
         bytes of memory (sandbox.compile_memory_bytes)"
    )]
    CompilerDied {
        /// How it ended.
        how: String,
        /// The memory that it may have.
        limit: u64,
    },
    /// Code `plugin.import`.
    #[error("component imports `{name}`: {advice}")]
    Import {
        /// As it stands in the component.
        name: String,
        /// What is wrong with it and what to do.
        advice: String,
    },
    /// Code `plugin.export`.
    #[error(
        "component does not export `{0}`: build it for the world `callgate:processor/processor`"
    )]
    Export(&'static str),
    /// Code `plugin.link`.
    #[error("component does not fit this version of the contract: {0}")]
    Link(String),
    /// Code `plugin.needs-too-much`.
    #[error("component starts with {found} {what}, limit is {limit}")]
    NeedsTooMuch {
        /// Which resource.
        what: &'static str,
        /// What the component starts with.
        found: u64,
        /// What it may have.
        limit: u64,
    },
    /// Code `plugin.limit`.
    #[error("limit `{name}` is {found}, the sandbox allows at most {ceiling}")]
    Limit {
        /// The setting.
        name: &'static str,
        /// As configured for the plugin.
        found: usize,
        /// The most that the sandbox has room for.
        ceiling: usize,
    },
    /// Code `plugin.describe`.
    #[error("`plugin.describe` failed: {0}")]
    Describe(Fault),
    /// Code `plugin.describe-differs`.
    #[error("`plugin.describe` answered differently when it was called again")]
    DescribeDiffers,
    /// Code `plugin.descriptor`.
    #[error("`plugin.describe` answered what is not allowed: {0}")]
    Descriptor(String),
    /// Code `plugin.business`.
    #[error("component claims a route of business `{0}`, which its grants do not name")]
    Business(String),
    /// Code `plugin.host`.
    #[error("the host could not load the component: {0}")]
    Host(String),
}

impl LoadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "plugin.too-large",
            Self::NotAComponent(_) => "plugin.not-a-component",
            Self::Invalid(_) => "plugin.invalid",
            Self::SlowCompile { .. } => "plugin.slow-compile",
            Self::TooMuchToCompile { .. } => "plugin.too-much-to-compile",
            Self::CodeTooLarge { .. } => "plugin.code-too-large",
            Self::CompilerDied { .. } => "plugin.compiler-died",
            Self::Import { .. } => "plugin.import",
            Self::Export(_) => "plugin.export",
            Self::Link(_) => "plugin.link",
            Self::NeedsTooMuch { .. } => "plugin.needs-too-much",
            Self::Limit { .. } => "plugin.limit",
            Self::Describe(_) => "plugin.describe",
            Self::DescribeDiffers => "plugin.describe-differs",
            Self::Descriptor(_) => "plugin.descriptor",
            Self::Business(_) => "plugin.business",
            Self::Host(_) => "plugin.host",
        }
    }
}

impl Sandbox {
    /// Compiles, checks and links a component, and asks it to describe itself.
    ///
    /// Compiles where the sandbox was told to, one component at a time; what was compiled before
    /// comes from the cache. Must be called within a tokio runtime that has timer and I/O on.
    ///
    /// # Errors
    /// [`LoadError`] says which rule the component breaks.
    pub async fn load(&self, source: Source) -> Result<Plugin, LoadError> {
        let Source { bytes, limits, grants, config } = source;
        let rooms = &self.rooms;
        check_file(&bytes, rooms.settings.component_bytes_max)?;
        check_ceilings(rooms, &limits)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        inspect(&bytes, &rooms.settings)?;
        let component = compile(rooms, &sha256, bytes).await?;
        check_needs(&component, &limits)?;
        let linked = rooms.linker.instantiate_pre(&component).map_err(|error| link(&error))?;
        let pre = ProcessorPre::new(linked).map_err(|error| link(&error))?;

        let revision = revision(&config);
        let (name, version) = (String::new(), String::new());
        let terms = Terms { name, version, limits, grants, config, revision };
        let terms = Arc::new(terms);
        let descriptor = describe(rooms, &pre, &terms).await?;
        if let Some(route) = descriptor.routes.iter().find(|r| !terms.grants.claims(&r.business)) {
            return Err(LoadError::Business(route.business.clone()));
        }
        let terms = Arc::new(Terms {
            name: descriptor.name.clone(),
            version: descriptor.version.to_string(),
            limits: terms.limits.clone(),
            grants: terms.grants.clone(),
            config: terms.config.clone(),
            revision: terms.revision.clone(),
        });
        let names = Names::of(&descriptor, &sha256, &terms.revision);
        Ok(Plugin { rooms: rooms.clone(), pre, terms, descriptor, sha256, names })
    }
}

/// Tells a component from what people mistake for one, before the compiler sees it.
fn check_file(bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    if bytes.len() > limit {
        return Err(LoadError::TooLarge { found: bytes.len(), limit });
    }
    let refuse = |text| Err(LoadError::NotAComponent(text));
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => refuse(
            "this is a core WebAssembly module, not a component: wrap it with `wasm-tools \
             component new`, or build with a toolchain that makes components",
        ),
        Some([0, b'a', b's', b'm', ..]) => refuse("this is WebAssembly of an unknown kind"),
        Some(_) | None if bytes.trim_ascii_start().starts_with(b"(") => {
            refuse("this is WebAssembly text: turn it into a binary component first")
        }
        Some(_) | None => refuse("this is not WebAssembly: it does not begin with `\\0asm`"),
    }
}

fn check_ceilings(rooms: &Rooms, limits: &Limits) -> Result<(), LoadError> {
    match rooms.settings.ceilings(limits).into_iter().find(|(_, found, most)| found > most) {
        Some((name, found, ceiling)) => Err(LoadError::Limit { name, found, ceiling }),
        None => Ok(()),
    }
}

/// Refuses what could never be instantiated, where the component tells beforehand.
fn check_needs(component: &Component, limits: &Limits) -> Result<(), LoadError> {
    let Some(needs) = component.resources_required() else {
        let text = "it takes whole modules or components as imports";
        return Err(LoadError::Link(text.to_owned()));
    };
    let bytes = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
    let bounds = [
        ("memories", needs.num_memories.into(), limits.memories),
        ("tables", needs.num_tables.into(), limits.tables),
        ("bytes of memory", bytes, limits.memory_bytes),
        ("table elements", needs.max_initial_table_size.unwrap_or(0), limits.table_elements),
    ];
    for (what, found, limit) in bounds {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        if found > limit {
            return Err(LoadError::NeedsTooMuch { what, found, limit });
        }
    }
    Ok(())
}

/// Asks twice, on fresh instances: what a plugin claims must not hang on chance.
async fn describe(
    rooms: &Arc<Rooms>,
    pre: &ProcessorPre<RunState>,
    terms: &Arc<Terms>,
) -> Result<Descriptor, LoadError> {
    let first = describe_once(rooms, pre, terms).await?;
    agreed(first, &describe_once(rooms, pre, terms).await?)
}

fn agreed(first: Claimed, second: &Claimed) -> Result<Descriptor, LoadError> {
    if first != *second {
        return Err(LoadError::DescribeDiffers);
    }
    first.check().map_err(LoadError::Descriptor)
}

async fn describe_once(
    rooms: &Arc<Rooms>,
    pre: &ProcessorPre<RunState>,
    terms: &Arc<Terms>,
) -> Result<Claimed, LoadError> {
    let slot = rooms.slots.acquire().await;
    let _slot = slot.map_err(|error| LoadError::Host(error.to_string()))?;
    let _awake = rooms.ticker.awake();
    let state = RunState::describing(terms.clone());
    let mark = state.mark.clone();
    let mut session = Session::open(&rooms.engine, state);
    let described = watched(mark, session.describe(pre)).await;
    let described = described.map_err(LoadError::Describe)?;
    Ok(described.into())
}

impl From<wit::Descriptor> for Claimed {
    fn from(claimed: wit::Descriptor) -> Self {
        let route = |route: wit::Route| Route {
            business: route.business,
            scene: route.scene,
            event_type: route.event_type,
            state: route.state,
        };
        Self {
            name: claimed.name,
            version: claimed.version,
            routes: claimed.routes.into_iter().map(route).collect(),
            transitions: claimed
                .transitions
                .into_iter()
                .map(|edge| Edge { from: edge.from, to: edge.to })
                .collect(),
            after: claimed.after,
        }
    }
}

fn link(error: &wasmtime::Error) -> LoadError {
    LoadError::Link(shown(&format!("{error:#}")))
}

/// Parts of an error text come from the component.
pub(crate) fn shown(text: &str) -> String {
    text::printable(text, LOG_LINE_BYTES)
}

/// Identity of a configuration.
pub(crate) fn revision(config: &serde_json::Value) -> String {
    let revision = hex(&Sha256::digest(config.to_string().as_bytes()));
    text::cut(&revision, REVISION_BYTES).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const REVISION_BYTES: usize = 16;
const PAGE_BYTES: u64 = 65536;
