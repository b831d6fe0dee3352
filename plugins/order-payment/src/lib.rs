//! The mall: payments of product orders.
//!
//! A payment is booked once per transaction, whatever the order's state: on time it makes the
//! order deliverable, after the close or beside another payment it is noted for someone to give
//! back, and the state stays.
//!
//! Reading order: `notice` is what is known of payment and order, `rules` decides, `records`
//! says what is written and told; this file ties them to the phases.

mod notice;

mod rules;

mod records;

use callgate_processor::{
    Config, Descriptor, DocumentRef, Documents, Draft, Event, Exchange, PhaseError, PhaseResult,
    Preparation, Processor, Route, State, Transition,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use notice::{Notice, Order};
use rules::Booking;

/// The processor.
#[derive(Debug)]
pub struct OrderPayment;

callgate_processor::export!(OrderPayment);

const BUSINESS: &str = "PRODUCT_ORDER";
const SCENES: [&str; 2] = ["WE_CHAT_PAY", "ALI_PAY"];
const PAID_EVENTS: [&str; 2] = ["payment.succeeded", "payment.finished"];
const CLOSED_EVENT: &str = "payment.closed";
const LEDGER: &str = "ledger";

const TO_BE_PAID: State = State::named("TO_BE_PAID");
const TO_BE_DELIVERED: State = State::named("TO_BE_DELIVERED");
const CLOSED: State = State::named("CLOSED");

/// What `check` decided, for the phases after it.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    booking: Booking,
    notice: Notice,
}

/// The part of a plan that chooses the state: the rest is not read for it.
#[derive(Debug, Deserialize)]
struct Chosen {
    booking: Booking,
}

impl Processor for OrderPayment {
    fn describe(_config: &Config) -> Descriptor {
        let mut descriptor = Descriptor::new("mall/order-payment", env!("CARGO_PKG_VERSION"))
            .transition(TO_BE_PAID, TO_BE_DELIVERED)
            .transition(TO_BE_PAID, CLOSED);
        for scene in SCENES {
            let scene = || Route::of(BUSINESS).scene(scene);
            for event in PAID_EVENTS {
                // The last route is for the second payment of an order, wherever that order is.
                descriptor = descriptor
                    .route(scene().event(event).state(&TO_BE_PAID))
                    .route(scene().event(event).state(&CLOSED))
                    .route(scene().event(event));
            }
            descriptor = descriptor.route(scene().event(CLOSED_EVENT).state(&TO_BE_PAID));
        }
        descriptor
    }

    fn prepare(exchange: &Exchange) -> PhaseResult<Preparation> {
        let transaction = exchange.transaction_id();
        Ok(transaction.map_or_else(Preparation::default, |transaction| {
            Preparation::default().preload(DocumentRef::new(LEDGER, transaction))
        }))
    }

    fn check(exchange: &Exchange, documents: &Documents) -> PhaseResult {
        let subject = exchange.order()?;
        let order = Order::read(&subject)?;
        let whole = exchange.order_no().as_deref() == Some(subject.place.key.as_str());
        let notice = Notice::read(exchange, subject.place.key)?;
        let booking = match &notice {
            // One attempt of several, each with a payment number of its own, is not the order.
            Notice::Closed { .. } if !whole => {
                return Err(PhaseError::ignore("one attempt to pay was closed, not the order"));
            }
            Notice::Closed { .. } => Booking::Close,
            Notice::Paid(payment) => {
                let place = DocumentRef::new(LEDGER, payment.transaction_id.as_str());
                let booked = documents.get(&place)?;
                let entry = booked.map(|entry| entry.body()).transpose()?;
                rules::book(payment, &order, entry.as_ref())?
            }
        };
        exchange.set_scratch(&Plan { booking, notice })
    }

    fn next_state(exchange: &Exchange, _documents: &Documents) -> PhaseResult<Transition> {
        Ok(match plan::<Chosen>(exchange)?.booking {
            Booking::Pay => Transition::MoveTo(TO_BE_DELIVERED),
            Booking::Close => Transition::MoveTo(CLOSED),
            Booking::PayAfterClose | Booking::PayTwice => Transition::Stay,
        })
    }

    fn action(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let Plan { booking, notice } = plan(exchange)?;
        if let Notice::Paid(payment) = &notice {
            let place = DocumentRef::new(LEDGER, payment.transaction_id.as_str());
            draft.create(&place, &records::ledger_entry(payment))?;
        }
        let event =
            Event::new(records::topic(booking), notice.order_no(), &records::told(&notice))?;
        draft.emit(&event).map(drop)
    }

    fn save(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let Plan { booking, notice } = plan(exchange)?;
        draft.merge(&exchange.order()?.place, &records::order_patch(booking, &notice))
    }
}

fn plan<T: DeserializeOwned>(exchange: &Exchange) -> PhaseResult<T> {
    exchange.scratch()?.ok_or_else(|| PhaseError::reject("plan-missing", "check left no plan"))
}

#[cfg(test)]
mod tests;
