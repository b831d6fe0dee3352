//! Callgate: takes callbacks from payment gateways, proves who sent them, keeps each one exactly
//! once, and lets sandboxed processors decide what it means for the business.
//!
//! Reading order: [`inbound`] is where bytes come in, [`engine`] is where work is done; both stand
//! on the crates core, store and sandbox. [`config`] gathers the settings, [`cli`] the commands.
//! [`packages`] decides which plugins are let in, [`server`] puts the rooms together, [`files`]
//! raises a limit.

pub mod clock;

pub mod telemetry;

pub mod inbound;

pub mod outbound;

pub mod engine;

pub mod config;

pub mod packages;

pub mod files;

pub mod server;

pub mod reload;

pub mod expiry;

pub mod cli;
