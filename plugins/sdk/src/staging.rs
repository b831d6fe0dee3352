//! What only some phases are given: reads, and staging.
//!
//! Each phase gets what the contract lets it use and no more, so a write in `check` does not
//! compile.

use std::fmt;
use std::rc::Rc;

use serde::Serialize;

use crate::document::{Document, DocumentRef};
use crate::error::PhaseResult;
use crate::event::Event;
use crate::host::{Expect, Host};
use crate::http::{HttpError, Request, Response};
use crate::json;

/// Reads of the document store, as it was when the run began, plus what the run staged itself.
#[derive(Clone)]
pub struct Documents(pub(crate) Rc<dyn Host>);

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }
}

impl Documents {
    /// One document, or none.
    ///
    /// # Errors
    /// What the host does not allow becomes a rejection, an unreachable store a retry.
    pub fn get(&self, place: &DocumentRef) -> PhaseResult<Option<Document>> {
        Ok(self.0.get(place)?)
    }

    /// Several at once, in the order asked, at most 100.
    ///
    /// # Errors
    /// As for [`Documents::get`].
    pub fn get_many(&self, places: &[DocumentRef]) -> PhaseResult<Vec<Option<Document>>> {
        Ok(self.0.get_many(places)?)
    }
}

/// Where a run stages writes and events. The host commits them with the new state, or not at all.
#[derive(Clone)]
pub struct Draft(pub(crate) Rc<dyn Host>);

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft")
    }
}

impl Draft {
    /// Stages a new document. Where it exists at the commit, the run is dropped and made again.
    ///
    /// # Errors
    /// What the host does not allow becomes a rejection, an unreachable store a retry.
    pub fn create<T: Serialize + ?Sized>(&self, place: &DocumentRef, body: &T) -> PhaseResult {
        self.put(place, body, Expect::Absent)
    }

    /// Stages a whole document in place of the one this run read.
    ///
    /// # Errors
    /// As for [`Draft::create`].
    pub fn replace<T: Serialize + ?Sized>(&self, place: &DocumentRef, body: &T) -> PhaseResult {
        self.put(place, body, Expect::AsRead)
    }

    /// Stages a whole document, whatever is there. Needs the grant `blind_writes`.
    ///
    /// # Errors
    /// As for [`Draft::create`].
    pub fn overwrite<T: Serialize + ?Sized>(&self, place: &DocumentRef, body: &T) -> PhaseResult {
        self.put(place, body, Expect::Any)
    }

    /// Stages a merge patch (RFC 7396) on the document this run read: members of the patch
    /// replace members of the document, `null` removes one, objects merge member by member.
    ///
    /// # Errors
    /// As for [`Draft::create`].
    pub fn merge<T: Serialize + ?Sized>(&self, place: &DocumentRef, patch: &T) -> PhaseResult {
        let text = json::write("document-unwritable", patch)?;
        Ok(self.0.merge(place, &text, Expect::AsRead)?)
    }

    /// Stages an event. Answers its id, which is the same when the run is made again.
    ///
    /// # Errors
    /// What the host does not allow becomes a rejection.
    pub fn emit(&self, event: &Event) -> PhaseResult<String> {
        Ok(self.0.emit(event)?)
    }

    /// Calls an endpoint and waits for its answer; in `action` alone. A run that is made again is
    /// answered from the record.
    ///
    /// # Errors
    /// [`HttpError`]; with `?` what may pass becomes a retry, the rest a rejection.
    pub fn send(&self, request: &Request) -> Result<Response, HttpError> {
        self.0.send(request)
    }

    fn put<T: Serialize + ?Sized>(
        &self,
        place: &DocumentRef,
        body: &T,
        expect: Expect,
    ) -> PhaseResult {
        let text = json::write("document-unwritable", body)?;
        Ok(self.0.put(place, &text, expect)?)
    }
}

/// Where `after` leaves events; they are committed when the phase returns success.
#[derive(Clone)]
pub struct Events(pub(crate) Rc<dyn Host>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Stages an event. Answers its id, which is the same when the phase is run again.
    ///
    /// # Errors
    /// What the host does not allow becomes a rejection.
    pub fn emit(&self, event: &Event) -> PhaseResult<String> {
        Ok(self.0.emit(event)?)
    }

    /// Calls an endpoint and waits for its answer. A phase that is run again is answered from the
    /// record.
    ///
    /// # Errors
    /// As for [`Draft::send`].
    pub fn send(&self, request: &Request) -> Result<Response, HttpError> {
        self.0.send(request)
    }
}
