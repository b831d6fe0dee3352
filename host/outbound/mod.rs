//! Outgoing calls: the one HTTP client, and which addresses it may reach.
//!
//! May call the clock and core. Absent: what is called and why; who calls says that.
//!
//! Reading order: `address` (what is private), `resolve` (names become addresses that were
//! checked), `client`; `circuit` (whether somebody is asked at all), `endpoints` (what processors
//! may call by name),
//! `gateway` (a signed question, to the byte).

pub mod address;

mod resolve;

pub mod client;

pub mod circuit;

pub mod endpoints;

pub mod gateway;
