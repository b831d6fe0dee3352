//! What a run was told and read, as it is kept with its attempt: enough to run it again.

use callgate_core::time::Timestamp;
use callgate_sandbox::outside::{Document, DocumentRef, LogLevel};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{Draft, Report, RunInput, RunMode};
use callgate_store::{Job, StoredNotification};
use serde::{Deserialize, Serialize};

use super::calls::Kept;
use super::decision::digest;
use crate::engine::{convert, decide};

/// The inputs of one run, the notification itself apart: that one is in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// The form of this record; members are only ever added.
    form: u32,
    /// The order as the run saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Found>,
    /// Everything that was read, and what was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    documents: Vec<Found>,
    /// Outgoing calls, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    calls: Vec<Kept>,
    attempt: u32,
    now_ms: u64,
    mode: Mode,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    scratch: String,
    /// The lowest level of log lines that were wanted: guests may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<Level>,
    /// Identity of the processor's configuration.
    config: String,
    /// A hash of what the run proposed or why it stopped.
    proposed: String,
}

/// A document by its name, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    collection: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    version: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    state: String,
    body: String,
    updated_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Live,
    Replay,
    DryRun,
}

/// From the most to the fewest lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Inputs {
    /// What a run that just ended was given; takes the answers out of its report.
    pub(crate) fn of(
        job: &Job,
        now: Timestamp,
        plugin: &Plugin,
        report: &mut Report<Draft>,
    ) -> Self {
        let subject = job.subject.as_ref().map(convert::document);
        let answers = std::mem::take(&mut report.answers).into_iter();
        Self {
            form: FORM,
            subject: subject.map(|subject| Found::of(subject.name.clone(), Some(subject))),
            documents: answers.map(|(name, found)| Found::of(name, found)).collect(),
            calls: std::mem::take(&mut report.calls).into_iter().map(Kept::of).collect(),
            attempt: decide::attempts(job),
            now_ms: convert::unsigned(now.as_ms()),
            mode: convert::mode(&job.stored).into(),
            scratch: job.stored.scratch.clone().unwrap_or_default(),
            log: LEVELS.into_iter().find(|(level, _)| level.traced()).map(|(_, level)| level),
            config: plugin.config_revision().to_owned(),
            proposed: digest(&report.result),
        }
    }

    /// As it is stored; `None` where it is longer than it may be.
    pub(crate) fn text(&self, bytes_max: usize) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= bytes_max).then_some(text)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let inputs: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if inputs.form != FORM {
            return Err(format!("its form is {}, this program knows {FORM}", inputs.form));
        }
        Ok(inputs)
    }

    /// The same run again, on the notification that it was for.
    pub(crate) fn again(&self, stored: &StoredNotification) -> RunInput {
        RunInput {
            notification: convert::notification(stored),
            subject: self.subject.as_ref().and_then(Found::document),
            mode: self.mode.into(),
            attempt: self.attempt,
            now_ms: self.now_ms,
            scratch: self.scratch.clone(),
        }
    }

    /// The state of the order; `None` where there was none.
    pub(crate) fn state(&self) -> Option<&str> {
        let content = self.subject.as_ref()?.found.as_ref()?;
        Some(content.state.as_str())
    }

    /// How a document was found; `None` where the run did not read it.
    pub(crate) fn answer(&self, name: &DocumentRef) -> Option<Option<Document>> {
        let fits = |one: &&Found| one.collection == name.collection && one.key == name.key;
        self.documents.iter().find(fits).map(Found::document)
    }

    /// The outgoing calls, in order.
    pub(super) fn calls(&self) -> &[Kept] {
        &self.calls
    }

    /// Whether lines of a level were wanted.
    pub(crate) fn logged(&self, level: LogLevel) -> bool {
        let level = LEVELS.into_iter().find(|(one, _)| *one == level).map(|(_, level)| level);
        level.zip(self.log).is_some_and(|(level, lowest)| level >= lowest)
    }

    /// Identity of the processor's configuration.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// The hash of what the run proposed.
    pub(crate) fn proposed(&self) -> &str {
        &self.proposed
    }
}

impl Found {
    fn of(name: DocumentRef, found: Option<Document>) -> Self {
        let content = |document: Document| Content {
            version: document.version,
            state: document.state,
            body: document.body,
            updated_at: document.updated_at,
        };
        Self { collection: name.collection, key: name.key, found: found.map(content) }
    }

    fn document(&self) -> Option<Document> {
        let name = DocumentRef { collection: self.collection.clone(), key: self.key.clone() };
        let content = self.found.as_ref()?;
        Some(Document {
            name,
            version: content.version,
            state: content.state.clone(),
            body: content.body.clone(),
            updated_at: content.updated_at,
        })
    }
}

impl From<RunMode> for Mode {
    fn from(mode: RunMode) -> Self {
        match mode {
            RunMode::Live => Self::Live,
            RunMode::Replay => Self::Replay,
            RunMode::DryRun => Self::DryRun,
        }
    }
}

impl From<Mode> for RunMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Live => Self::Live,
            Mode::Replay => Self::Replay,
            Mode::DryRun => Self::DryRun,
        }
    }
}

const LEVELS: [(LogLevel, Level); 5] = [
    (LogLevel::Trace, Level::Trace),
    (LogLevel::Debug, Level::Debug),
    (LogLevel::Info, Level::Info),
    (LogLevel::Warn, Level::Warn),
    (LogLevel::Error, Level::Error),
];

/// The form that this program writes and reads.
const FORM: u32 = 1;

#[cfg(test)]
pub(super) mod tests {
    use callgate_sandbox::outside::{DocumentRef, LogLevel};

    use super::{Content, FORM, Found, Inputs, Level, Mode};

    pub(crate) fn name(key: &str) -> DocumentRef {
        DocumentRef { collection: "ledger".to_owned(), key: key.to_owned() }
    }

    /// A run that read `ledger/there` and found no `ledger/absent`.
    pub(crate) fn inputs() -> Inputs {
        let content = Content {
            version: 3,
            state: String::new(),
            body: r#"{"a": 1.10}"#.to_owned(),
            updated_at: 5,
        };
        let found = |key: &str, found| Found {
            collection: "ledger".to_owned(),
            key: key.to_owned(),
            found,
        };
        Inputs {
            form: FORM,
            subject: None,
            documents: vec![found("there", Some(content)), found("absent", None)],
            calls: Vec::new(),
            attempt: 2,
            now_ms: 7,
            mode: Mode::Replay,
            scratch: String::new(),
            log: Some(Level::Info),
            config: "c".to_owned(),
            proposed: "p".to_owned(),
        }
    }

    /// The same with calls.
    pub(crate) fn with_calls(calls: Vec<super::Kept>) -> Inputs {
        Inputs { calls, ..inputs() }
    }

    #[test]
    fn what_is_stored_reads_back_to_the_byte() {
        let text = inputs().text(1 << 10).unwrap();
        assert_eq!(Inputs::read(&text), Ok(inputs()));
    }

    #[test]
    fn inputs_longer_than_the_bound_are_not_stored() {
        let length = inputs().text(usize::MAX).unwrap().len();
        assert!(inputs().text(length).is_some());
        assert!(inputs().text(length - 1).is_none());
    }

    #[test]
    fn what_was_absent_is_known_apart_from_what_was_not_asked_for() {
        let inputs = inputs();
        assert_eq!(inputs.answer(&name("there")).flatten().map(|one| one.version), Some(3));
        assert_eq!(inputs.answer(&name("absent")), Some(None));
        assert_eq!(inputs.answer(&name("other")), None);
    }

    #[test]
    fn a_guest_hears_of_the_same_log_levels_again() {
        let inputs = inputs();
        assert!(inputs.logged(LogLevel::Info) && inputs.logged(LogLevel::Error));
        assert!(!inputs.logged(LogLevel::Debug));
    }

    #[test]
    fn a_record_of_another_form_is_refused() {
        let text = inputs().text(1 << 10).unwrap().replace("\"form\":1", "\"form\":2");
        assert!(Inputs::read(&text).unwrap_err().contains("form is 2"));
        assert!(Inputs::read("{}").is_err());
    }
}
