//! The pure room: bytes and a time in, values out.
//!
//! Whom it may call: nobody. It is a crate of its own, so that Cargo keeps it so.
//! Absent: a clock, a socket, a file, a thread, `async`, a log line, randomness, floating point.
//!
//! Reading order: [`request`] and [`notification`] are what comes in and what it means,
//! [`gateway`] leads from one to the other, [`order`] and [`outcome`] judge what a processor
//! proposes, [`bill`] holds what a gateway says a day later against what was heard, [`retry`],
//! [`asking`], [`canary`], [`time`] and [`quantiles`] are arithmetic, [`secret`] keeps keys out of
//! texts.

pub mod request;

pub mod notification;

pub mod gateway;

pub mod bill;

pub mod money;

pub mod order;

pub mod outcome;

pub mod retry;

pub mod asking;

pub mod canary;

pub mod time;

pub mod quantiles;

pub mod secret;
