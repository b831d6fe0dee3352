//! HTTPS: certificates, versions of TLS and HTTP, peers that are slow or hostile, proxies.
//!
//! Reading order: `authority` (certificates of the story's own), `client` (how it speaks), then the
//! stories.

pub(crate) mod authority;

pub(crate) mod client;

mod terms;

mod renewal;

mod streams;

mod slow;

mod idle;

mod networks;

mod commands;

mod proxies;
