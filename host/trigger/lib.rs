//! A gateway on your own machine: correctly signed callbacks with throw-away keys.
//!
//! Whom it may call: `callgate-core`, for amounts and times. It is a crate of its own, so that
//! the server cannot borrow a signing key from it.
//! Absent: a clock, a socket, a file, a thread. Times are parameters, randomness is a seeded
//! [`draw::Draw`], so that what one seed made can be made again. Only keys come from the
//! cryptographic generator of the operating system.
//!
//! Reading order: [`channel`] and [`keys`] are the accounts, [`purchase`] what happens at the
//! till, [`message`] how it is told, one file per gateway below it; [`cases`] are the stories
//! worth telling, [`burst`] many at once, [`load`] many with what else comes to a door;
//! [`schedule`] and [`answer`] are how a gateway repeats itself and what it wants to hear.

pub mod channel;

pub mod keys;

mod rsa;

mod certificate;

pub mod draw;

pub mod purchase;

pub mod message;

pub mod wechat_v3;

pub mod wechat_v2;

pub mod alipay;

pub mod cases;

pub mod burst;

pub mod load;

pub mod schedule;

pub mod answer;

#[cfg(test)]
mod proof;
