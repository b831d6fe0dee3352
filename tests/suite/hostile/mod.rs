//! Guests that attack, in a whole server on both databases: after each attack the server works, the
//! neighbour's notification is through, nothing of the attacker's is committed, and memory is back.
//!
//! Reading order: `attacks` (who attacks how, and what becomes of it), `arena` (the server, the
//! neighbour, the looks behind the wall), `refused` (what does not even get in).

#[path = "../../hostile/wrap.rs"]
mod wrap;

mod attacks;

mod arena;

mod refused;
