//! A host in memory: runs a processor natively, phase by phase, under the contract's rules.
//!
//! ```
//! use callgate_processor::testing::{House, Notification, Outcome};
//! # use callgate_processor::*;
//! # struct Greeter;
//! # impl Processor for Greeter {
//! #     fn describe(_: &Config) -> Descriptor {
//! #         Descriptor::new("docs/greeter", "0.1.0").route(Route::of("GREETING"))
//! #     }
//! #     fn check(_: &Exchange, _: &Documents) -> PhaseResult { Ok(()) }
//! #     fn next_state(_: &Exchange, _: &Documents) -> PhaseResult<Transition> {
//! #         Ok(Transition::Stay)
//! #     }
//! #     fn action(exchange: &Exchange, _: &Documents, draft: &Draft) -> PhaseResult {
//! #         draft.emit(&Event::new("greeted", exchange.order()?.place.key, &1)?).map(drop)
//! #     }
//! # }
//! let mut house = House::new();
//! house.order("1001", "NEW", &serde_json::json!({}));
//! let run = house.run::<Greeter>(&Notification::new("n-1", "greeting.sent", "GREETING").order_no("1001"));
//! assert!(matches!(run.outcome, Outcome::Committed { .. }));
//! assert_eq!(run.events[0].topic, "greeted");
//! ```
//!
//! Reading order: `notification` is what arrives, `house` keeps documents and runs phases,
//! `memory` is the host that one run sees, `endpoints` what it may call, `rules` what it is held
//! against.

mod notification;

mod house;

mod memory;

mod endpoints;

mod rules;

pub use house::{House, Outcome, Run};
pub use notification::Notification;

#[cfg(test)]
mod tests;
