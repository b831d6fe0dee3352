//! The house used from outside: raw bytes over real sockets, as a gateway, a business's back end
//! and an operator would.
//!
//! Reading order: `house` (a server of one's own, and its verbs), then the stories.

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what is not there")]

mod house;

mod drill_cluster;

mod cases;

mod many;

mod refuse;

mod orders;

mod park;

mod processed;

mod front_door;

mod start;

mod crash;

mod direct;

mod operate;

mod alerts;

mod monitoring;

mod reconcile;

mod repair;

mod discreet;
mod sinks;

mod packages;

mod versions;

mod fleet;

mod fleet_hosts;

mod canary;

mod deliver;

mod tls;

mod https;

mod together;

mod unreadable;

mod patience;

mod backup;
#[path = "../../host/store/tests/conformance/cluster.rs"]
mod cluster;
mod outage;

mod hosts;

mod standin;

mod market;

mod inquiries;

mod story;

mod cut_off;

mod allowance;

mod load;

mod kill;

mod races;

mod guest_text;

mod bulkhead;

mod compiling;

mod disk;

mod clients;

mod backtest;

mod hostile;

mod shadow;

mod looping;

mod erp;

mod calls;

mod endpoint_tls;

mod front;

mod status;

mod status_tokens;

mod status_crowd;

mod browser;
mod reload;

mod swapped;

mod mistakes;

mod certificates;

mod tidy;
