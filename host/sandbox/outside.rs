//! What a guest can reach beyond its own run, as a trait that the engine implements.
//!
//! Live runs, replays and dry runs are the same code with another [`Outside`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::fault::Phase;
use crate::http::{CallAnswer, CallError, CallRequest};

/// Names one document of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentRef {
    /// The collection: a lower-case letter, then up to 63 of `a-z 0-9 _ -`.
    pub collection: String,
    /// The key inside the collection: 1 to 256 bytes, no control characters.
    pub key: String,
}

impl fmt::Display for DocumentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.key)
    }
}

/// A document as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: DocumentRef,
    /// Grows by one with each committed write.
    pub version: u64,
    /// The state that the host keeps for it; empty for none.
    pub state: String,
    /// The content, a JSON text.
    pub body: String,
    /// When it was last written, in milliseconds since 1970.
    pub updated_at: u64,
}

/// A future that borrows from an [`Outside`].
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a guest can reach. Phase, grant, syntax and quota were checked before a call gets here.
pub trait Outside: Send {
    /// Reads documents: one answer for each name, in the order asked; `None` where there is none.
    ///
    /// The sandbox remembers the first answer for the rest of the run, so it never asks twice for
    /// one name. It is called again after [`OutsideError::Unavailable`].
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>>;

    /// Calls an endpoint, or answers from the record of an earlier run; ends within
    /// `request.timeout_ms`, the record apart. By default nobody is called.
    fn call<'a>(
        &'a mut self,
        request: &'a CallRequest,
    ) -> Pending<'a, Result<CallAnswer, CallError>> {
        let text = format!("endpoint `{}` is not called in this run", request.endpoint);
        Box::pin(std::future::ready(Err(CallError::Denied(text))))
    }

    /// Takes one log line, already cut and escaped. Must not block. Goes to `tracing` by default.
    fn log(&mut self, line: &LogLine<'_>) {
        line.trace();
    }

    /// Whether lines of a level are wanted. Asks `tracing` by default.
    fn log_enabled(&self, level: LogLevel) -> bool {
        level.traced()
    }
}

/// Why the outside did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideError {
    /// Not now: the guest is told `unavailable`.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Never: the guest is told `denied`.
    #[error("denied: {0}")]
    Denied(String),
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For following every step.
    Trace,
    /// For finding a fault.
    Debug,
    /// The life of a run.
    Info,
    /// Something was odd, and the processor coped.
    Warn,
    /// A person must act.
    Error,
}

impl LogLevel {
    /// Whether `tracing` wants lines of this level: what [`Outside::log_enabled`] answers by
    /// default.
    #[must_use]
    pub fn traced(self) -> bool {
        match self {
            Self::Trace => tracing::enabled!(target: LOG_TARGET, tracing::Level::TRACE),
            Self::Debug => tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG),
            Self::Info => tracing::enabled!(target: LOG_TARGET, tracing::Level::INFO),
            Self::Warn => tracing::enabled!(target: LOG_TARGET, tracing::Level::WARN),
            Self::Error => tracing::enabled!(target: LOG_TARGET, tracing::Level::ERROR),
        }
    }
}

/// One line that a guest logs, with what the host adds.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Name of the plugin; empty while it is being described.
    pub plugin: &'a str,
    /// Version of the plugin; empty while it is being described.
    pub version: &'a str,
    /// Id of the notification; empty where there is no run.
    pub notification: &'a str,
    /// Where the guest is.
    pub phase: Phase,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut and escaped.
    pub message: &'a str,
    /// The guest's own fields, cut and escaped, as one text `name=value name=value`.
    pub fields: &'a str,
}

impl LogLine<'_> {
    /// Hands the line to `tracing`, target `callgate::plugin`.
    pub fn trace(&self) {
        macro_rules! emit {
            ($level:ident) => {
                tracing::event!(
                    target: LOG_TARGET,
                    tracing::Level::$level,
                    plugin = self.plugin,
                    version = self.version,
                    notification.id = self.notification,
                    phase = self.phase.as_str(),
                    fields = self.fields,
                    "{}",
                    self.message
                )
            };
        }
        match self.level {
            LogLevel::Trace => emit!(TRACE),
            LogLevel::Debug => emit!(DEBUG),
            LogLevel::Info => emit!(INFO),
            LogLevel::Warn => emit!(WARN),
            LogLevel::Error => emit!(ERROR),
        }
    }
}

const LOG_TARGET: &str = "callgate::plugin";
