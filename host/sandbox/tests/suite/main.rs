//! The sandbox from outside: guests as text, obeyed and violated limits, refusals by name.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that is surprised fails"
)]

mod attacks;
mod babble;
mod calls;
mod good;
mod guest;
mod hardening;
mod imports;
mod loading;
mod pairs;
mod random;
mod registry;
mod running;
