//! How much room an operation takes: what it carries, in bytes, roughly. Bounds of memory rest on
//! it, so whatever can be large is counted.

use callgate_core::outcome::{Event, Outcome};

use crate::attempt::Spent;
use crate::callback::Arrival;
use crate::calls::CallEnd;
use crate::calls::log::Calling;
use crate::group::Operation;
use crate::retention::removal::{Removal, What};
use crate::settlement::{AfterSettlement, Settlement};
use crate::sinks::Stepping;

impl Operation {
    /// Bytes that it holds in memory, and about as many that it writes.
    pub(crate) fn bytes(&self) -> usize {
        let carried = match self {
            Self::Accept(arrival, _) => of_arrival(arrival),
            Self::Arrive(arriving, _) => {
                sum([of_arrival(&arriving.arrival), of_settlement(&arriving.settling.settlement)])
            }
            Self::Register(registration, _) => registration.bytes(),
            Self::Settle(settling, _) => of_settlement(&settling.settlement),
            Self::Finish(finishing, _) => of_after(&finishing.settlement),
            Self::Step(stepping, _) => of_step(stepping),
            Self::Remove(removal, _) => of_removal(removal),
            Self::Call(calling, _) => of_call(calling),
            Self::Inquire(inquiring, _) => inquiring.bytes(),
            Self::Claim(..)
            | Self::Redeliver(..)
            | Self::Operate(..)
            | Self::Probe(..)
            | Self::Recall(..) => 0,
        };
        carried.saturating_add(FIXED)
    }
}

fn of_arrival(arrival: &Arrival) -> usize {
    let callback = &arrival.callback;
    let parts = callback.verified.notifications();
    // The headers are stored with every part, the callback as it came with the first.
    let texts = parts.iter().map(|part| sum([part.body.len(), callback.headers.len(), FIXED]));
    sum([callback.raw.len(), sum(texts)])
}

fn of_settlement(settlement: &Settlement) -> usize {
    let step = match &settlement.outcome {
        Outcome::Advance(step) => {
            let writes = step.writes().iter().map(|write| write.body.len().saturating_add(FIXED));
            sum([sum(writes), of_events(step.events())])
        }
        Outcome::Keep(reason)
        | Outcome::Park(reason)
        | Outcome::Retry(reason)
        | Outcome::Defer(reason)
        | Outcome::Review(reason) => reason.text.len(),
        Outcome::Hold { reason, .. } => reason.text.len(),
    };
    let scratch = settlement.scratch.as_ref().map_or(0, String::len);
    let reads = settlement.reads.len().saturating_mul(FIXED);
    sum([step, scratch, reads, of_spent(&settlement.spent)])
}

fn of_after(settlement: &AfterSettlement) -> usize {
    of_events(&settlement.events).saturating_add(of_spent(&settlement.spent))
}

fn of_spent(spent: &Spent) -> usize {
    sum([spent.phases.len(), spent.inputs.as_ref().map_or(0, String::len)])
}

fn of_call(calling: &Calling) -> usize {
    match calling {
        Calling::Begin { call, .. } => call.path.len(),
        Calling::End { call, .. } => match &call.end {
            CallEnd::Answered { headers, body, .. } => {
                let headers = headers.iter().map(|(name, value)| sum([name.len(), value.len()]));
                sum([body.len(), sum(headers)])
            }
            CallEnd::TooLarge { .. } | CallEnd::Failed(_) => 0,
        },
    }
}

fn of_events(events: &[Event]) -> usize {
    sum(events.iter().map(|event| {
        let headers = event.headers.iter().map(|(name, value)| sum([name.len(), value.len()]));
        sum([event.payload.len(), event.key.len(), sum(headers), FIXED])
    }))
}

fn of_step(stepping: &Stepping) -> usize {
    let record = stepping.step.record.as_ref();
    let rows = record.map_or(0, |record| record.kept.len().saturating_add(record.delivered.len()));
    rows.saturating_mul(FIXED)
}

fn of_removal(removal: &Removal) -> usize {
    match &removal.what {
        What::Content(rows) | What::Events { rows, .. } => rows.len().saturating_mul(FIXED),
        What::Nothing { .. } | What::Keys { .. } => 0,
    }
}

fn sum(parts: impl IntoIterator<Item = usize>) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

/// What a row takes beside its texts of free length.
const FIXED: usize = 512;
