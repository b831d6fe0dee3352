//! The trait that a business implements.

use crate::descriptor::{Commit, Descriptor, Preparation, Transition};
use crate::error::PhaseResult;
use crate::exchange::{Config, Exchange};
use crate::staging::{Documents, Draft, Events};

/// The business rules for one kind of notification.
///
/// The host calls the phases in the order below. Any of them may be run again, on another
/// machine, under a newer build: nothing may be kept in statics, only in the scratch. There is no
/// `self` for that reason.
pub trait Processor {
    /// Says what the processor is called, what it answers and which moves it may choose. Called
    /// once, when the plugin is loaded.
    fn describe(config: &Config) -> Descriptor;

    /// Parses the body and names the documents that the later phases read. 50 ms.
    ///
    /// # Errors
    /// Stops the run; see [`PhaseError`](crate::PhaseError) for what happens next.
    fn prepare(exchange: &Exchange) -> PhaseResult<Preparation> {
        let _ = exchange;
        Ok(Preparation::default())
    }

    /// Decides whether the notification is right for the subject as it is now. 50 ms.
    ///
    /// # Errors
    /// Stops the run; see [`PhaseError`](crate::PhaseError) for what happens next.
    fn check(exchange: &Exchange, documents: &Documents) -> PhaseResult;

    /// Chooses the state to move to: same inputs, same answer. 50 ms.
    ///
    /// # Errors
    /// Stops the run; see [`PhaseError`](crate::PhaseError) for what happens next.
    fn next_state(exchange: &Exchange, documents: &Documents) -> PhaseResult<Transition>;

    /// Does the business work: computes, stages writes and events. 2,000 ms.
    ///
    /// # Errors
    /// Stops the run; see [`PhaseError`](crate::PhaseError) for what happens next.
    fn action(exchange: &Exchange, documents: &Documents, draft: &Draft) -> PhaseResult;

    /// Stages the last writes and events, the subject's own document among them. The host sets
    /// the chosen state itself, and commits when this returns success. 100 ms.
    ///
    /// # Errors
    /// Stops the run; see [`PhaseError`](crate::PhaseError) for what happens next.
    fn save(exchange: &Exchange, documents: &Documents, draft: &Draft) -> PhaseResult {
        let _ = (exchange, documents, draft);
        Ok(())
    }

    /// Runs after the commit, at least once, where the descriptor asks for it. 2,000 ms.
    ///
    /// # Errors
    /// Never undoes the commit: a retry runs this phase alone again, a rejection raises an alert.
    fn after(
        exchange: &Exchange,
        documents: &Documents,
        events: &Events,
        commit: &Commit,
    ) -> PhaseResult {
        let _ = (exchange, documents, events, commit);
        Ok(())
    }
}
