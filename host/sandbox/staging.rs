//! What a run has read and what it has staged: pure, no engine, no store.

use std::collections::BTreeMap;

use crate::outside::{Document, DocumentRef};
use crate::run::{Event, Expect, Read, Write};

/// The run's own view of the documents.
///
/// A document is asked for once; its first answer holds for the whole run, so that a decision is
/// made on one picture. The versions seen are checked at the commit.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    seen: BTreeMap<DocumentRef, Option<Document>>,
    subject: Option<DocumentRef>,
    used: Vec<DocumentRef>,
    writes: Vec<Write>,
    pub(crate) events: Vec<Event>,
}

impl Staging {
    /// Starts with the subject, if there is one, as read.
    pub(crate) fn new(subject: Option<&Document>) -> Self {
        let mut staging = Self::default();
        if let Some(document) = subject {
            staging.subject = Some(document.name.clone());
            staging.learn(document.name.clone(), Some(document.clone()));
        }
        staging
    }

    pub(crate) fn is_subject(&self, name: &DocumentRef) -> bool {
        self.subject.as_ref() == Some(name)
    }

    pub(crate) fn knows(&self, name: &DocumentRef) -> bool {
        self.seen.contains_key(name)
    }

    /// Remembers what the outside answered; the first answer stays.
    pub(crate) fn learn(&mut self, name: DocumentRef, answer: Option<Document>) {
        self.seen.entry(name).or_insert(answer);
    }

    /// Notes that the guest has based something on this document.
    pub(crate) fn mark_used(&mut self, name: &DocumentRef) {
        if !self.is_subject(name) && !self.used.contains(name) {
            self.used.push(name.clone());
        }
    }

    /// The body as the run sees it: staged, else as first read.
    pub(crate) fn body(&self, name: &DocumentRef) -> Option<&str> {
        match self.staged(name) {
            Some(write) => Some(&write.body),
            None => self.first_read(name).map(|document| document.body.as_str()),
        }
    }

    /// The document as the run sees it. A staged one that is not stored yet has version 0.
    pub(crate) fn document(&self, name: &DocumentRef) -> Option<Document> {
        let read = self.first_read(name);
        match self.staged(name) {
            None => read.cloned(),
            Some(write) => Some(Document {
                name: name.clone(),
                version: read.map_or(0, |document| document.version),
                state: read.map(|document| document.state.clone()).unwrap_or_default(),
                body: write.body.clone(),
                updated_at: read.map_or(0, |document| document.updated_at),
            }),
        }
    }

    /// The expectation "as this run first read it".
    pub(crate) fn as_read(&self, name: &DocumentRef) -> Expect {
        match self.first_read(name) {
            Some(document) => Expect::Version(document.version),
            None => Expect::Absent,
        }
    }

    pub(crate) fn staged(&self, name: &DocumentRef) -> Option<&Write> {
        self.writes.iter().find(|write| write.name == *name)
    }

    pub(crate) fn writes_len(&self) -> usize {
        self.writes.len()
    }

    /// The bytes of all staged bodies, but for one document.
    pub(crate) fn written_bytes_besides(&self, name: &DocumentRef) -> usize {
        let others = self.writes.iter().filter(|write| write.name != *name);
        others.fold(0, |sum, write| sum.saturating_add(write.body.len()))
    }

    /// Stages a write. A later one on the same document replaces the body and keeps the first
    /// expectation.
    pub(crate) fn stage(&mut self, write: Write) {
        match self.writes.iter_mut().find(|earlier| earlier.name == write.name) {
            Some(earlier) => earlier.body = write.body,
            None => self.writes.push(write),
        }
    }

    /// What the guest read from outside, in the order of first use.
    pub(crate) fn reads(&self) -> Vec<Read> {
        let read = |name: &DocumentRef| Read {
            name: name.clone(),
            version: self.first_read(name).map(|document| document.version),
        };
        self.used.iter().map(read).collect()
    }

    /// Hands over what the outside answered, by name, the subject apart: the run is over.
    pub(crate) fn answers(&mut self) -> Vec<(DocumentRef, Option<Document>)> {
        let subject = self.subject.as_ref();
        let seen = std::mem::take(&mut self.seen).into_iter();
        seen.filter(|(name, _)| Some(name) != subject).collect()
    }

    /// Hands over everything staged.
    pub(crate) fn take(&mut self) -> (Vec<Write>, Vec<Event>) {
        (std::mem::take(&mut self.writes), std::mem::take(&mut self.events))
    }

    fn first_read(&self, name: &DocumentRef) -> Option<&Document> {
        self.seen.get(name).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> DocumentRef {
        DocumentRef { collection: "ledger".to_owned(), key: key.to_owned() }
    }

    fn document(key: &str, version: u64, body: &str) -> Document {
        Document {
            name: name(key),
            version,
            state: "OPEN".to_owned(),
            body: body.to_owned(),
            updated_at: 5,
        }
    }

    fn write(key: &str, body: &str, expect: Expect) -> Write {
        Write { name: name(key), body: body.to_owned(), expect }
    }

    #[test]
    fn the_first_answer_of_the_outside_holds() {
        let mut staging = Staging::default();
        staging.learn(name("a"), Some(document("a", 1, "1")));
        staging.learn(name("a"), Some(document("a", 2, "2")));
        assert_eq!(staging.document(&name("a")), Some(document("a", 1, "1")));
        assert_eq!(staging.as_read(&name("a")), Expect::Version(1));
    }

    #[test]
    fn a_staged_write_is_seen_by_the_run_with_the_version_read() {
        let mut staging = Staging::default();
        staging.learn(name("a"), Some(document("a", 7, "1")));
        staging.stage(write("a", "2", Expect::Version(7)));
        assert_eq!(staging.document(&name("a")), Some(document("a", 7, "2")));
    }

    #[test]
    fn a_second_write_replaces_the_body_and_keeps_the_first_expectation() {
        let mut staging = Staging::default();
        staging.stage(write("a", "1", Expect::Absent));
        staging.stage(write("b", "10", Expect::Any));
        staging.stage(write("a", "2", Expect::Any));
        assert_eq!(staging.written_bytes_besides(&name("a")), 2);
        let (writes, _) = staging.take();
        assert_eq!(writes, [write("a", "2", Expect::Absent), write("b", "10", Expect::Any)]);
    }

    #[test]
    fn only_what_was_used_is_reported_as_read_and_the_subject_never() {
        let subject = document("subject", 3, "{}");
        let mut staging = Staging::new(Some(&subject));
        staging.learn(name("a"), Some(document("a", 1, "1")));
        staging.learn(name("b"), None);
        staging.mark_used(&name("b"));
        staging.mark_used(&name("b"));
        staging.mark_used(&name("subject"));
        assert_eq!(staging.reads(), [Read { name: name("b"), version: None }]);
    }

    #[test]
    fn what_the_outside_answered_is_handed_over_by_name_without_the_subject() {
        let mut staging = Staging::new(Some(&document("subject", 3, "{}")));
        staging.learn(name("b"), None);
        staging.learn(name("a"), Some(document("a", 1, "1")));
        staging.stage(write("a", "2", Expect::Any));
        let expected = [(name("a"), Some(document("a", 1, "1"))), (name("b"), None)];
        assert_eq!(staging.answers(), expected);
    }
}
