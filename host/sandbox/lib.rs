//! Callgate's sandbox: loads processors, holds them to their limits, and calls them.
//!
//! It knows no SQL, no sockets and no orders. What a guest may reach it reaches through the trait
//! [`outside::Outside`], and only after phase, grant and quota were checked here. A run gets a
//! fresh store and a fresh instance, and both are dropped whatever happened.
//!
//! Reading order: [`limits`], [`run`], [`outside`], [`fault`] are the words; [`engine`] and
//! [`load`] make a [`plugin::Plugin`], `inspect` looks at it first, [`compile`] and [`child`]
//! compile it into the `cache`; `call` runs it, by the `ticker`'s clock; `imports` is what a guest can ask for;
//! [`registry`] picks the plugin for a notification.

pub mod child;
pub mod compile;
pub mod descriptor;
pub mod engine;
pub mod fault;
pub mod grants;
pub mod http;
pub mod limits;
pub mod load;
pub mod outside;
pub mod plugin;
pub mod registry;
pub mod run;
pub mod text;

mod bindings;
mod cache;
mod call;
mod cpu;
mod folder;
mod imports;
mod inspect;
mod json;
mod merge;
mod meter;
mod path;
mod routes;
mod staging;
mod state;
mod ticker;
