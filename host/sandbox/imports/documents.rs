//! `documents`: reads of the store and staged writes.

use std::collections::BTreeSet;

use crate::bindings::callgate::processor::documents::{Expectation, Host, StoreError};
use crate::bindings::callgate::processor::types;
use crate::fault::{Halt, Phase};
use crate::imports::Refusal;
use crate::json::{self, Bounds};
use crate::limits::REFS_PER_CALL;
use crate::merge;
use crate::outside::{Document, DocumentRef, OutsideError};
use crate::run::{Expect, Write};
use crate::state::RunState;
use crate::text;

impl Host for RunState {
    async fn get(
        &mut self,
        name: types::DocumentRef,
    ) -> wasmtime::Result<Result<Option<types::Document>, StoreError>> {
        let outcome = self.read("documents.get", vec![name.into()]).await;
        let outcome = outcome.map(|found| found.into_iter().next().flatten().map(Into::into));
        self.answer(outcome)
    }

    async fn get_many(
        &mut self,
        names: Vec<types::DocumentRef>,
    ) -> wasmtime::Result<Result<Vec<Option<types::Document>>, StoreError>> {
        let names = names.into_iter().map(Into::into).collect();
        let outcome = self.read("documents.get-many", names).await;
        let wit = |found: Vec<Option<Document>>| {
            found.into_iter().map(|document| document.map(Into::into)).collect()
        };
        self.answer(outcome.map(wit))
    }

    async fn put(
        &mut self,
        name: types::DocumentRef,
        body: String,
        expect: Expectation,
    ) -> wasmtime::Result<Result<(), StoreError>> {
        let outcome = self.put_document("documents.put", name.into(), body, expect).await;
        self.answer(outcome)
    }

    async fn merge(
        &mut self,
        name: types::DocumentRef,
        patch: String,
        expect: Expectation,
    ) -> wasmtime::Result<Result<(), StoreError>> {
        let outcome = self.merge_document(name.into(), patch, expect).await;
        self.answer(outcome)
    }
}

impl RunState {
    async fn read(
        &mut self,
        import: &'static str,
        names: Vec<DocumentRef>,
    ) -> Result<Vec<Option<Document>>, Refusal> {
        self.admit(names.iter().map(named).fold(0, usize::saturating_add))?;
        self.reading_phase(import)?;
        self.readable(&names)?;
        self.load(&names).await?;
        let run = self.run(import)?;
        let bodies = names.iter().filter_map(|name| run.staging.body(name)).map(str::len);
        let bytes = bodies.fold(0usize, usize::saturating_add);
        let limit = self.terms.limits.answer_bytes;
        if bytes > limit {
            let text = format!("answer has {bytes} bytes, limit is {limit}; ask for fewer");
            return Err(Refusal::Quota(text));
        }
        self.hand_out(bytes)?;
        let run = self.run(import)?;
        names.iter().for_each(|name| run.staging.mark_used(name));
        Ok(names.iter().map(|name| run.staging.document(name)).collect())
    }

    /// Loads what `prepare` named, in one call of the outside.
    pub(crate) async fn preload(&mut self, names: Vec<DocumentRef>) -> Result<(), Halt> {
        let outcome = match self.readable(&names) {
            Ok(()) => self.load(&names).await,
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Refusal::Denied(text) | Refusal::Invalid(text) | Refusal::Quota(text)) => {
                Err(Halt::Contract(format!("preload was refused: {text}")))
            }
            Err(Refusal::Unavailable(text)) => Err(Halt::Host(format!("preload: {text}"))),
            Err(Refusal::Halt(halt)) => Err(halt),
        }
    }

    fn reading_phase(&mut self, import: &'static str) -> Result<(), Refusal> {
        match self.phase {
            Phase::Check | Phase::NextState | Phase::Action | Phase::Save | Phase::After => {
                self.run(import)?;
                Ok(())
            }
            Phase::Start | Phase::Describe | Phase::Prepare => {
                Err(Refusal::Denied(format!("{} may not read documents", self.phase)))
            }
        }
    }

    /// Checks number, syntax and grants of the names that a call reads.
    fn readable(&mut self, names: &[DocumentRef]) -> Result<(), Refusal> {
        if names.len() > REFS_PER_CALL {
            let text = format!("{} documents in one call, limit is {REFS_PER_CALL}", names.len());
            return Err(Refusal::Invalid(text));
        }
        let mut known = BTreeSet::new();
        for name in names {
            well_formed(name)?;
            if !known.insert(name) {
                return Err(Refusal::Invalid("one document is named twice in a call".to_owned()));
            }
            if !self.terms.grants.reads(&name.collection) && !self.is_subject(name) {
                let text = format!("reading collection `{}` is not granted", name.collection);
                return Err(Refusal::Denied(text));
            }
        }
        Ok(())
    }

    fn is_subject(&mut self, name: &DocumentRef) -> bool {
        self.run_if_any().is_some_and(|run| run.staging.is_subject(name))
    }

    /// Asks the outside for what this run has not read yet.
    async fn load(&mut self, names: &[DocumentRef]) -> Result<(), Refusal> {
        let Some(run) = self.run_if_any() else { return Ok(()) };
        let missing: Vec<_> =
            names.iter().filter(|name| !run.staging.knows(name)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.count_reads(missing.len())?;
        let found = match self.ask(&missing).await {
            None => {
                return Err(Refusal::Unavailable("the store did not answer in time".to_owned()));
            }
            Some(Err(OutsideError::Unavailable(text))) => return Err(Refusal::Unavailable(text)),
            Some(Err(OutsideError::Denied(text))) => return Err(Refusal::Denied(text)),
            Some(Ok(found)) => found,
        };
        if found.len() != missing.len() {
            let text = format!("asked for {} documents, got {}", missing.len(), found.len());
            return Err(Halt::Host(text).into());
        }
        self.count_read_bytes(&found)?;
        let Some(run) = self.run_if_any() else { return Ok(()) };
        missing.into_iter().zip(found).for_each(|(name, answer)| run.staging.learn(name, answer));
        Ok(())
    }

    fn count_reads(&mut self, missing: usize) -> Result<(), Refusal> {
        let limit = self.terms.limits.documents_read;
        let read = self.meter.documents_read.saturating_add(missing);
        if read > limit {
            return Err(Refusal::Quota(format!("more than {limit} documents read in this run")));
        }
        self.meter.documents_read = read;
        Ok(())
    }

    fn count_read_bytes(&mut self, found: &[Option<Document>]) -> Result<(), Refusal> {
        let limit = self.terms.limits.documents_read_bytes;
        let bytes = found.iter().flatten().map(|document| document.body.len());
        let read = bytes.fold(self.meter.documents_read_bytes, usize::saturating_add);
        self.meter.documents_read_bytes = read;
        if read > limit {
            let text = format!("more than {limit} bytes of documents read in this run");
            return Err(Refusal::Quota(text));
        }
        Ok(())
    }

    async fn put_document(
        &mut self,
        import: &'static str,
        name: DocumentRef,
        body: String,
        expect: Expectation,
    ) -> Result<(), Refusal> {
        self.admit(named(&name).saturating_add(body.len()))?;
        self.writable(import, &name, expect)?;
        json::check(&body, self.document_bounds())?;
        let expect = self.resolve(&name, expect).await?;
        self.stage(Write { name, body, expect })
    }

    async fn merge_document(
        &mut self,
        name: DocumentRef,
        patch: String,
        expect: Expectation,
    ) -> Result<(), Refusal> {
        self.admit(named(&name).saturating_add(patch.len()))?;
        self.writable("documents.merge", &name, expect)?;
        let bounds = self.document_bounds();
        json::check(&patch, bounds)?;
        self.load(std::slice::from_ref(&name)).await?;
        let expect = self.resolve(&name, expect).await?;
        let run = self.run("documents.merge")?;
        run.staging.mark_used(&name);
        let before = run.staging.body(&name).map_or(0, str::len);
        self.take_in(before)?;
        let run = self.run("documents.merge")?;
        let body = merge::merge(run.staging.body(&name), &patch)?;
        json::check(&body, bounds)?;
        self.stage(Write { name, body, expect })
    }

    /// Checks phase, syntax and grants of a write.
    fn writable(
        &mut self,
        import: &'static str,
        name: &DocumentRef,
        expect: Expectation,
    ) -> Result<(), Refusal> {
        match self.phase {
            Phase::Action | Phase::Save => self.run(import)?,
            Phase::Start
            | Phase::Describe
            | Phase::Prepare
            | Phase::Check
            | Phase::NextState
            | Phase::After => {
                return Err(Refusal::Denied(format!("{} may not stage writes", self.phase)));
            }
        };
        well_formed(name)?;
        if !self.terms.grants.writes(&name.collection) && !self.is_subject(name) {
            let text = format!("writing collection `{}` is not granted", name.collection);
            return Err(Refusal::Denied(text));
        }
        match expect {
            Expectation::Any if !self.terms.grants.blind_writes => {
                Err(Refusal::Denied("expectation `any` needs the grant `blind_writes`".to_owned()))
            }
            Expectation::Any | Expectation::Absent | Expectation::AsRead => Ok(()),
        }
    }

    fn document_bounds(&self) -> Bounds {
        let limits = &self.terms.limits;
        Bounds { bytes: limits.document_bytes, depth: limits.json_depth }
    }

    /// What must hold at the commit, in terms of versions.
    async fn resolve(
        &mut self,
        name: &DocumentRef,
        expect: Expectation,
    ) -> Result<Expect, Refusal> {
        match expect {
            Expectation::Absent => Ok(Expect::Absent),
            Expectation::Any => Ok(Expect::Any),
            Expectation::AsRead => {
                self.load(std::slice::from_ref(name)).await?;
                let run = self.run("documents.put")?;
                run.staging.mark_used(name);
                Ok(run.staging.as_read(name))
            }
        }
    }

    fn stage(&mut self, write: Write) -> Result<(), Refusal> {
        let limits = &self.terms.limits;
        let (count_max, bytes_max) = (limits.documents_written, limits.documents_written_bytes);
        let staging = &mut self.run("documents.put")?.staging;
        if staging.staged(&write.name).is_none() && staging.writes_len() >= count_max {
            let text = format!("more than {count_max} documents written in this run");
            return Err(Refusal::Quota(text));
        }
        let others = staging.written_bytes_besides(&write.name);
        if others.saturating_add(write.body.len()) > bytes_max {
            let text = format!("more than {bytes_max} bytes of documents written in this run");
            return Err(Refusal::Quota(text));
        }
        staging.stage(write);
        Ok(())
    }
}

/// Bytes of a name.
fn named(name: &DocumentRef) -> usize {
    name.collection.len().saturating_add(name.key.len())
}

/// Checks the syntax of a name.
fn well_formed(name: &DocumentRef) -> Result<(), Refusal> {
    if !text::is_collection(&name.collection) {
        let text = "a collection is a lower-case letter, then up to 63 of a-z 0-9 _ -";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    if !text::is_key(&name.key) {
        let text = "a document key is 1 to 256 bytes without control characters";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    Ok(())
}

impl From<types::DocumentRef> for DocumentRef {
    fn from(name: types::DocumentRef) -> Self {
        Self { collection: name.collection, key: name.key }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::Quota(text) => Self::Quota(text),
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Unavailable(text) => Self::Unavailable(text),
            Refusal::Halt(halt) => Self::Denied(halt.to_string()),
        }
    }
}
