//! The rules that the host holds a run against: routes, codes, declared moves.

use crate::descriptor::{Descriptor, Route};
use crate::document::State;
use crate::error::PhaseError;
use crate::exchange::Exchange;

use super::house::Outcome;

/// A code of another form is itself a breach of the contract.
pub(super) fn stopped(error: PhaseError) -> Outcome {
    let code = match &error {
        PhaseError::Ignore(_) => return Outcome::Stopped(error),
        PhaseError::Reject { code, .. } | PhaseError::Retry { code, .. } => *code,
    };
    let tidy = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = code.starts_with(|c: char| c.is_ascii_lowercase()) && code.chars().all(tidy);
    if good && code.len() <= 63 {
        Outcome::Stopped(error)
    } else {
        Outcome::Refused(format!("code `{code}` does not fit ^[a-z][a-z0-9-]{{0,62}}$"))
    }
}

pub(super) fn fits(route: &Route, exchange: &Exchange) -> bool {
    let event_type = exchange.event_type();
    let event = match route.event_type.strip_suffix('*') {
        Some(prefix) => event_type.starts_with(prefix),
        None => event_type == route.event_type,
    };
    let state = exchange.subject().map(|subject| subject.state);
    let state = match &state {
        None => route.state.is_empty(),
        Some(_) if route.state == "*" => true,
        Some(state) => state.as_ref().is_some_and(|state| state.as_str() == route.state),
    };
    let scene = route.scene == "*" || route.scene == exchange.scene();
    event && state && scene && route.business == exchange.business()
}

pub(super) fn permitted(
    descriptor: &Descriptor,
    exchange: &Exchange,
    moved_to: Option<&State>,
) -> Result<(), String> {
    let Some(to) = moved_to else {
        return Ok(());
    };
    let Some(from) = exchange.subject().and_then(|subject| subject.state) else {
        return Err(format!("the processor chose {to}, but there is no subject"));
    };
    if descriptor.transitions.iter().any(|edge| edge.0 == from && edge.1 == *to) {
        Ok(())
    } else {
        Err(format!("the processor chose {from} to {to}, which it did not declare"))
    }
}
