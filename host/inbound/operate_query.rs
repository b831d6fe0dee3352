//! What an operator asks for in the query of a call, field by field.

use std::ops::RangeInclusive;

use callgate_store::{Filter, InboxState};

use super::error::Problem;

/// The fields of a query, each given once.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        for (place, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(place).any(|(earlier, _)| earlier == name) {
                return Err(Problem::asked(name, "is given twice"));
            }
            check_text(name, value)?;
        }
        Ok(Self(pairs))
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Nothing may be left: a misspelt field would ask for everything.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Problem::asked(name, "is not known here")),
            None => Ok(()),
        }
    }

    /// Everything that is left is a filter.
    pub(super) fn filter(mut self) -> Result<Filter, Problem> {
        let filter = Filter {
            state: self.state()?,
            channel: self.take("channel"),
            business: self.take("business"),
            event_type: self.take("event_type"),
            reason_code: self.take("reason_code"),
            order_no: self.take("order_no"),
            received_from_ms: number(&mut self, "received_from_ms", 0..=i64::MAX)?,
            received_to_ms: number(&mut self, "received_to_ms", 0..=i64::MAX)?,
        };
        self.end()?;
        check_filter(&filter, "")?;
        Ok(filter)
    }

    fn state(&mut self) -> Result<Option<InboxState>, Problem> {
        let Some(text) = self.take("state") else { return Ok(None) };
        let found = STATES.into_iter().find(|state| state.as_str() == text);
        let names = STATES.map(InboxState::as_str).join(", ");
        found.map(Some).ok_or_else(|| Problem::asked("state", format!("must be one of {names}")))
    }
}

/// Takes a whole number out.
pub(super) fn number(
    asked: &mut Asked,
    name: &str,
    bounds: RangeInclusive<i64>,
) -> Result<Option<i64>, Problem> {
    let Some(text) = asked.take(name) else { return Ok(None) };
    let found = text.parse().ok().filter(|number| bounds.contains(number));
    let (from, to) = (bounds.start(), bounds.end());
    found
        .map(Some)
        .ok_or_else(|| Problem::asked(name, format!("must be a whole number, {from} to {to}")))
}

/// What no filter may say, wherever it comes from; `prefix` names its place.
pub(super) fn check_filter(filter: &Filter, prefix: &str) -> Result<(), Problem> {
    let texts = [
        ("channel", &filter.channel),
        ("business", &filter.business),
        ("event_type", &filter.event_type),
        ("reason_code", &filter.reason_code),
        ("order_no", &filter.order_no),
    ];
    for (name, text) in texts {
        check_text(&format!("{prefix}{name}"), text.as_deref().unwrap_or("-"))?;
    }
    if filter.order_no.is_some() && filter.business.is_none() {
        let rule = "goes with business: order numbers are of one business";
        return Err(Problem::asked(format!("{prefix}order_no"), rule));
    }
    if let (Some(from), Some(to)) = (filter.received_from_ms, filter.received_to_ms)
        && from >= to
    {
        let rule = format!("must be later than received_from_ms, which is {from}");
        return Err(Problem::asked(format!("{prefix}received_to_ms"), rule));
    }
    Ok(())
}

fn check_text(name: &str, text: &str) -> Result<(), Problem> {
    if (1..=TEXT_MAX).contains(&text.chars().count()) && !text.contains('\0') {
        return Ok(());
    }
    Err(Problem::asked(name, format!("must have 1 to {TEXT_MAX} characters")))
}

const STATES: [InboxState; 5] = [
    InboxState::Ready,
    InboxState::Parked,
    InboxState::After,
    InboxState::Done,
    InboxState::Review,
];

/// Characters of one field.
const TEXT_MAX: usize = 256;
