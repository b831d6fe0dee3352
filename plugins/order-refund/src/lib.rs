//! The mall: refunds of product orders.
//!
//! Refunds are counted per payment, each once, in exact minor units: a refund of an extra payment
//! says nothing about the order, and a repeat, under whatever name, counts nothing.
//!
//! Reading order: `notice` is what the gateway tells, `account` what the order knows of payments
//! and refunds, `rules` decides, `records` says what is written and told; this file ties them to
//! the phases.

mod notice;

mod account;

mod rules;

mod records;

use callgate_processor::{
    Config, Descriptor, DocumentRef, Documents, Draft, Event, Exchange, PhaseError, PhaseResult,
    Preparation, Processor, Route, State, Transition,
};
use serde::{Deserialize, Serialize};

use account::Account;
use notice::Notice;
use rules::Finding;

/// The processor.
#[derive(Debug)]
pub struct OrderRefund;

callgate_processor::export!(OrderRefund);

const BUSINESS: &str = "PRODUCT_ORDER";
const SCENES: [&str; 2] = ["WE_CHAT_PAY", "ALI_PAY"];
const LEDGER: &str = "ledger";

const SUCCEEDED_EVENT: &str = "refund.succeeded";
const CLOSED_EVENT: &str = "refund.closed";
const ABNORMAL_EVENT: &str = "refund.abnormal";

const TO_BE_PAID: State = State::named("TO_BE_PAID");
const TO_BE_DELIVERED: State = State::named("TO_BE_DELIVERED");
const CLOSED: State = State::named("CLOSED");
const REFUNDING: State = State::named("REFUNDING");
const REFUNDED: State = State::named("REFUNDED");

/// What `check` decided, for the phases after it.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    finding: Finding,
    notice: Notice,
}

impl Processor for OrderRefund {
    fn describe(_config: &Config) -> Descriptor {
        let mut descriptor = Descriptor::new("mall/order-refund", env!("CARGO_PKG_VERSION"))
            .transition(TO_BE_DELIVERED, REFUNDING)
            .transition(TO_BE_DELIVERED, REFUNDED)
            .transition(REFUNDING, REFUNDED)
            .transition(CLOSED, REFUNDING)
            .transition(CLOSED, REFUNDED);
        for scene in SCENES {
            // Any state: money that went back is booked wherever the order is.
            for event in [SUCCEEDED_EVENT, CLOSED_EVENT, ABNORMAL_EVENT] {
                descriptor = descriptor.route(Route::of(BUSINESS).scene(scene).event(event));
            }
        }
        descriptor
    }

    fn prepare(exchange: &Exchange) -> PhaseResult<Preparation> {
        let notice = Notice::read(exchange)?;
        Ok(match &notice {
            Notice::Succeeded { refund, .. } => Preparation::default().preload(ledger(&refund.key)),
            Notice::Failed { .. } => Preparation::default(),
        })
    }

    fn check(exchange: &Exchange, documents: &Documents) -> PhaseResult {
        let subject = exchange.order()?;
        let Some(state) = subject.state.clone() else {
            return Err(PhaseError::reject("state-missing", "the order has no state"));
        };
        let account: Account = subject.body()?;
        let notice = Notice::read(exchange)?;
        let finding = match &notice {
            Notice::Failed { refund, failure } => {
                Finding::Failure(rules::note_failure(refund, *failure, &account)?)
            }
            Notice::Succeeded { refund, told, paid } => {
                let entry = documents.get(&ledger(&refund.key))?;
                let entry = entry.map(|entry| entry.body()).transpose()?;
                rules::not_booked_before(&subject.place.key, entry.as_ref())?;
                let known = rules::Known { account: &account, state: &state, paid: paid.as_ref() };
                Finding::Refund(rules::book(refund, told, &known)?)
            }
        };
        exchange.set_scratch(&Plan { finding, notice })
    }

    fn next_state(exchange: &Exchange, _documents: &Documents) -> PhaseResult<Transition> {
        let state = exchange.order()?.state;
        Ok(match plan(exchange)?.finding {
            Finding::Failure(_) => Transition::Stay,
            Finding::Refund(booking) => rules::transition(&booking, state.as_ref()),
        })
    }

    fn action(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let Plan { finding, notice } = plan(exchange)?;
        let order_no = exchange.order()?.place.key;
        let refund = notice.refund();
        if let Finding::Refund(booking) = &finding {
            let entry = records::ledger_entry(&order_no, refund, booking);
            draft.create(&ledger(&refund.key), &entry)?;
        }
        let told = records::told(&order_no, refund, &finding);
        draft.emit(&Event::new(records::topic(&finding), order_no, &told)?).map(drop)
    }

    fn save(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let Plan { finding, notice } = plan(exchange)?;
        let subject = exchange.order()?;
        let patch = records::order_patch(notice.refund(), &finding, &subject.body()?);
        draft.merge(&subject.place, &patch)
    }
}

fn ledger(refund_key: &str) -> DocumentRef {
    DocumentRef::new(LEDGER, format!("refund:{refund_key}"))
}

fn plan(exchange: &Exchange) -> PhaseResult<Plan> {
    exchange.scratch()?.ok_or_else(|| PhaseError::reject("plan-missing", "check left no plan"))
}

#[cfg(test)]
mod tests;
